"""Jobs of runners whose processes take ids from a Redis list with BLPOP, and write into the jobs' hashes themselves.

Nobody asks such a process anything. A few ids are put into its list (``lists.py``); what becomes of them is seen in the
list, in the hashes, and in systemd (``settle.lua``). One call settles what has ended and fills the list again; it is
made whenever Redis tells of a change (``list_news.py``), systemd of an end, and at each sweep.

**A process that dies** has lost the ids that it has taken and not ended. Which are these? BLPOP takes an id before it
is delivered, and systemd may have started the next run already.

- Nothing runs: the ids that were out of the list *before* systemd was asked, and said so, are lost. In between a new
  run may take one; it keeps it. So no job is given away that somebody has.
- The next run is there already. Ids that the run before was seen to have (``run`` in their hashes) are lost. One that
  was taken in the moment between, unseen, is taken for the new run's: it is found lost when that takes another one,
  or a ping that is put into its list if there is none, when it ends, or at the job's deadline, which runs from when it
  was seen out of the list. Pings are of use only to who executes one job at a time.

Rejected: asking Redis which clients wait in BLPOP (CLIENT LIST does not tell for which list, nor whose a connection
is); taking an unseen id for lost (a job would be executed twice although its process is well).

**Processes that share a list**: nobody knows which of them has an id. What one of them loses is found when none of them
runs, or at the deadline. To stop a job, all are killed. Had one of them ended since the job was put into the list, it
is tried again after its deadline: it may have been lost, and not late.

**Processes of an external runner** share a list, too, and nobody here knows when one ends, nor can end it. What one of
them loses is found at the deadline. A job that is to be stopped ends at once, whatever they make of it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hero_supervisor.engine.agenda import Agenda
from hero_supervisor.errors import Conflict, HeroError, JobNotFound, RunnerNotFound
from hero_supervisor.queue.ledger import ListPlace
from hero_supervisor.runner import JobProtocol
from hero_supervisor.state import Desired
from hero_supervisor.together import together

from .claimed import ENDING_PAUSE_S
from .death import KILLED, REBOOT, UNKNOWN, death_of, is_over
from .execution import OVERDUE_GRACE_S
from .list_news import ListNews
from .lists import PREFIX, is_shared, list_of, places_of, window_of
from .stopping import kill_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hero_supervisor.client import JobClient
    from hero_supervisor.engine.instances import Instances
    from hero_supervisor.engine.registry import Registry
    from hero_supervisor.ports import ExitSource, ProcessManager
    from hero_supervisor.queue.claims import HolderRecord
    from hero_supervisor.queue.ledger import Death, QueueLook, Settlement
    from hero_supervisor.runner import Runner
    from hero_supervisor.state import StoredRunner
    from hero_supervisor.unit import UnitStatus

    from .claimed import ClaimedJobs
    from .execution import Host

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    """What was last seen of who takes from a list."""

    #: The run of its unit, and the boot of the host that it belonged to.
    run: str = ""
    boot_id: str = ""


@dataclass(slots=True)
class _Killing:
    """Runs that are ended because one of them has a job that is to be stopped, none knows which.

    When they are over, so is what they had, though the next runs may be there already.
    """

    #: By unit, the runs; and those that have been killed.
    runs: dict[str, str]
    #: What was executed when that began.
    jobs: tuple[str, ...]
    killed: set[str] = field(default_factory=set)

    def is_over(self, units: Sequence[UnitStatus]) -> bool:
        """Whether none of the runs is under way."""
        return all(is_over(unit, self.runs[unit.name]) for unit in units if unit.name in self.runs)


class ListedJobs:
    """Sees to jobs of the ``list`` protocol. An ``Execution``."""

    def __init__(
        self,
        jobs: Callable[[], JobClient],
        processes: ProcessManager,
        exits: ExitSource,
        host: Callable[[], Host],
        registry: Registry,
        instances: Instances,
        claimed: ClaimedJobs,
    ) -> None:
        """Args: as ``ClaimedJobs``, then the runners, their units, and who sees to holders that claim jobs."""
        self._jobs = jobs
        self._processes = processes
        self._exits = exits
        self._host = host
        self._registry = registry
        self._instances = instances
        self._claimed = claimed
        self._seen: dict[tuple[str, str], _Seen] = {}
        #: By runner and holder.
        self._killings: dict[tuple[str, str], _Killing] = {}
        #: Runners of whose processes it is known what an earlier supervisor knew.
        self._looked: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}
        #: The runners whose lists are followed.
        self._followed: dict[str, Runner] = {}
        self._agenda = Agenda()
        self._news = ListNews(jobs, self._agenda.add)
        self._task: asyncio.Task[None] | None = None

    # -- when to look --------------------------------------------------------------------------------------------

    async def look(self, stored: StoredRunner) -> float | None:
        """Stop jobs that are late, settle what has ended or was lost, and fill the lists."""
        self._follow(stored)
        runner = stored.definition
        if runner.id not in self._looked:
            self._remember(runner.id, await self._jobs().ledger.look(runner.id, grace_s=OVERDUE_GRACE_S))
        async with self._lock(runner.id):
            pause_s = await self._tend(stored)  # first: a process may just have ended
            look = await self._jobs().ledger.look(runner.id, grace_s=OVERDUE_GRACE_S)
            await self._clear_former(stored, look)
            for job_id in look.overdue:
                with suppress(JobNotFound, Conflict):
                    await self._jobs().stop_overdue(job_id)
            return await self._tend(stored) if look.overdue else pause_s

    async def adopt(self, stored: StoredRunner) -> None:
        """Take into the queue what others have pushed to the list of a runner that takes its jobs otherwise.

        Raises:
            HeroError: Redis cannot be asked; it is called again later.
        """
        runner = stored.definition
        self._follow(stored)
        if runner.job_protocol is not JobProtocol.LIST:
            while await self._jobs().ledger.adopt(runner.id, list_of(runner, 1, self._jobs().keys)):
                pass

    async def aclose(self) -> None:
        """End what is done beside looks."""
        await self._news.aclose()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _follow(self, stored: StoredRunner) -> None:
        """Follow the lists of all runners, also after a change of this one."""
        if self._followed.get(stored.definition.id) is not stored.definition:
            self._followed = {runner: self._registry.get(runner).definition for runner in self._registry}
            self._news.follow(self._followed.values())
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="listed-jobs")

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                for runner in self._agenda.take_due():
                    tasks.create_task(self._look_at_news(runner), name=f"settle-jobs-of-{runner}")
                await self._agenda.until_due()

    async def _look_at_news(self, runner: str) -> None:
        with self._agenda.looking(runner):
            try:
                stored = self._registry.get(runner)
                if stored.definition.job_protocol is not JobProtocol.LIST:
                    await self.adopt(stored)
                    return
                async with self._lock(runner):
                    pause_s = await self._tend(stored)
            except (HeroError, RunnerNotFound):
                return  # the next sweep meets the same trouble, and tells of it
            except Exception:
                logger.exception("cannot settle the jobs of runner %s", runner, extra={"runner": runner})
                return
            if pause_s is not None:
                self._agenda.add(runner, in_s=pause_s)

    def _lock(self, runner: str) -> asyncio.Lock:
        return self._locks.setdefault(runner, asyncio.Lock())

    # -- what is done at a look ----------------------------------------------------------------------------------

    async def _tend(self, stored: StoredRunner) -> float | None:
        """Settle and fill all lists of a runner; return the seconds until the next look."""
        runner = stored.definition
        [units] = await self._instances.look_at_all([runner])
        places = places_of(runner, [unit.name for unit in units], self._jobs().keys, self._host())
        await self._notice(stored, [place for place, _ in places])
        is_wanted = stored.desired is Desired.RUNNING and runner.instances > 0
        settling = []
        for place, indexes in places:
            own = [units[index] for index in indexes]
            # What is in the only list cannot be had by another one, so it may lie there until the process starts.
            has_taker = len(places) == 1 or any(is_over(unit, unit.invocation_id) is False for unit in own)
            window = window_of(runner) if is_wanted and has_taker else 0
            settling.append(self._settle(stored, place, own, window=window))
        pauses = await together(settling)
        return min((pause_s for pause_s in pauses if pause_s is not None), default=None)

    async def _settle(
        self, stored: StoredRunner, place: ListPlace, units: Sequence[UnitStatus], *, window: int
    ) -> float | None:
        is_external = stored.definition.external
        over = [False] if is_external else [is_over(unit, unit.invocation_id) for unit in units]
        settlement = await self._settle_once(stored, place, units, window=window)
        if settlement.stopping and is_external:
            await self._settle_once(stored, place, units, window=window, over=settlement.stopping)
        elif settlement.stopping:
            killing = await self._kill(stored.definition.id, place, units, settlement)
            if killing.is_over(units):
                del self._killings[stored.definition.id, place.holder]
                jobs = [job_id for job_id in killing.jobs if job_id in settlement.executing]
                await self._settle_once(stored, place, units, window=window, over=jobs, death=KILLED)
                return 0.0
        if all(over) and settlement.executing:
            again = [await self._processes.status(unit.name) for unit in units]
            if not all(is_over(unit, unit.invocation_id) for unit in again):
                return 0.0
            await self._settle_once(stored, place, again, window=window, over=settlement.executing)
        if settlement.left:
            return 0.0
        pause_s = ENDING_PAUSE_S if None in over else None
        if settlement.again_at is not None:
            again_s = max(0.0, (settlement.again_at - datetime.now(UTC)).total_seconds())
            pause_s = again_s if pause_s is None else min(pause_s, again_s)
        return pause_s

    async def _settle_once(
        self,
        stored: StoredRunner,
        place: ListPlace,
        units: Sequence[UnitStatus],
        *,
        window: int,
        over: Sequence[str] = (),
        death: Death | None = None,
    ) -> Settlement:
        runner = stored.definition
        seen = self._seen.setdefault((runner.id, place.holder), _Seen())
        run = "" if len(units) > 1 or is_over(units[0], units[0].invocation_id) else units[0].invocation_id
        settlement = await self._jobs().ledger.settle(
            runner.id,
            place,
            run=run,
            coming=run or _coming(units),
            born=f"+{units[0].restarts}",
            executes=None if is_shared(runner) else runner.concurrency,
            window=window,
            death=death or self._death_of(stored, seen, units[0]),
            over=over,
        )
        seen.run, seen.boot_id = run or seen.run, self._host().boot_id
        self._news.forget((*settlement.ended, *settlement.lost))
        self._news.has(runner.id, settlement.held)
        for job_id in settlement.lost:
            extra = {"runner": runner.id, "job_id": job_id, "unit": units[0].name}
            logger.warning("runner %s has lost job %s", runner.id, job_id, extra=extra)
        return settlement

    def _death_of(self, stored: StoredRunner, seen: _Seen, unit: UnitStatus) -> Death:
        """Return why the last run of a process ended."""
        if seen.boot_id not in {"", self._host().boot_id}:
            return REBOOT
        is_next = is_over(unit, unit.invocation_id) is False
        if is_next and seen.run in {"", unit.invocation_id}:
            return UNKNOWN  # it ended unseen
        run = seen.run if is_next else unit.invocation_id or seen.run
        return death_of(unit, run, desired=stored.desired, cause=self._exits.cause(run))

    async def _kill(
        self, runner: str, place: ListPlace, units: Sequence[UnitStatus], settlement: Settlement
    ) -> _Killing:
        """Kill who has a job that is to be stopped: the runs that were under way when that was seen first."""
        runs = {unit.name: unit.invocation_id for unit in units if not is_over(unit, unit.invocation_id)}
        killing = self._killings.setdefault((runner, place.holder), _Killing(runs, settlement.executing))
        for unit in units:
            run = killing.runs.get(unit.name)
            if run == unit.invocation_id and run not in killing.killed and is_over(unit, run) is False:
                await kill_unit(self._processes, self._exits, unit.name, run, job_id=settlement.stopping[0])
                killing.killed.add(run)
        return killing

    async def _notice(self, stored: StoredRunner, places: Sequence[ListPlace]) -> None:
        """Find jobs of others that a process took from its list before we saw them there."""
        if len(places) == 1 and (unknown := self._news.take_unknown()):
            ledger = self._jobs().ledger
            await ledger.notice(stored.definition.id, places[0], unknown, is_only=self._news.is_only)

    # -- processes that are no part of the runner any more -------------------------------------------------------

    def _remember(self, runner: str, look: QueueLook) -> None:
        """Know of which boot of the host processes were that this supervisor has not seen yet."""
        self._looked.add(runner)
        for holder, record in look.holders.items():
            self._seen.setdefault((runner, holder), _Seen(boot_id=record.boot_id))

    async def _clear_former(self, stored: StoredRunner, look: QueueLook) -> None:
        """Take back the jobs of holders that the runner has no more: it has other instances, or another protocol."""
        names = self._instances.names(stored.definition)
        places = places_of(stored.definition, names, self._jobs().keys, self._host())
        known = {place.holder for place, _ in places}
        for holder, record in look.holders.items():
            if record.node != self._host().node or holder in known:
                continue
            if holder.startswith(PREFIX):
                await self._clear(stored, holder, record)
            else:
                await self._claimed.see_to(stored, holder, record)

    async def _clear(self, stored: StoredRunner, holder: str, record: HolderRecord) -> None:
        unit = await self._processes.status(record.unit)
        place = ListPlace(record.queue, holder, record)
        await self._settle(stored, place, [unit], window=0)


def _coming(units: Sequence[UnitStatus]) -> str:
    """Return what is known of who takes what is put into a list now: all that share it, or a next run."""
    if len(units) > 1:
        return " ".join(unit.invocation_id[:8] for unit in units if not is_over(unit, unit.invocation_id))
    [unit] = units
    return f"+{unit.restarts + 1}" if unit.sub_state.startswith("auto-restart") else "+0"
