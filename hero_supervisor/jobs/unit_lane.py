"""A runner's queue, executed as units: the loop between Redis, which says what to do, and systemd, which does it.

::

    exchange ──► jobs ──► files, StartTransientUnit ──► main process ends ──► read the end ──► exchange ──► release
     (Redis)                 (systemd)                      (signal)            (systemd)      (Redis)    (systemd)

One task makes turns: it reads the ends of which there is news, writes them into Redis and takes further jobs in the
same call. Starts and releases go on beside it. What can come in between:

- **We die anywhere.** Jobs are held in Redis by a holder whose name stays the same; ends are kept by the units. The
  next supervisor asks both: what is held and has a unit goes on, what is held and has none is given back, uncounted; a
  unit whose job is not held is stopped.
- **A call to Redis is not answered**: it may have been carried out. So with the next one we ask what is held.
- **A call to systemd is not answered**: whether the unit is there tells its list, which systemd answers after it.
- **News is lost**: every five seconds all units of the queue are listed, in one call.
- **There is no place for a job's files**: it is given back, uncounted, and none is taken for five seconds.
- **A stop**, by a word of ``cancel.lua``, an operator or the supervisor: the unit is gone, or has left ``active``
  before its process ended. The job is given back, and Redis knows whether it was cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from hero_supervisor.errors import HeroError, HolderFenced
from hero_supervisor.queue.claims import ERROR, FAILED, RELEASED, Ended
from hero_supervisor.records import ExitReason
from hero_supervisor.runner import Runner
from hero_supervisor.systemd.start_failures import EXITED as CLD_EXITED
from hero_supervisor.unit import UnitEnd, executor_fault
from hero_supervisor.unit.end import DEAD
from hero_supervisor.unit.end import FAILED as SUB_FAILED

from .unit_holder import UnitHolder
from .unit_outcome import outcome_of, with_last_words
from .unit_run import Run, has_failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping

    from hero_supervisor.client import JobClient
    from hero_supervisor.job import Job
    from hero_supervisor.queue.claims import Claim, Claims
    from hero_supervisor.unit import Site

    from .execution import Host
    from .unit_run import UnitRuns

logger = logging.getLogger(__name__)

#: Seconds between two looks at all units, and until a step that failed is made again.
CHECK_S: Final = 5.0
FAILURE_PAUSE_S: Final = 0.5
#: Least seconds until more work is asked for that Redis has told the time of.
MIN_PAUSE_S: Final = 0.02
#: Seconds that a word to stop a job is kept that we have not been given yet.
WORD_S: Final = 10.0
#: Most ends that are read in a turn: each may have a megabyte of output.
READS_PER_TURN: Final = 64
#: Most ends, and characters of their texts, that are written in one call.
ENDS_PER_CALL: Final = 100
CHARACTERS_PER_CALL: Final = 4 * 1024 * 1024


class Lane:
    """Executes the jobs of one runner while ``run`` runs."""

    def __init__(
        self,
        runner: str,
        wanted: Callable[[], tuple[Runner | None, bool]],
        jobs: JobClient,
        runs: UnitRuns,
        site: Site,
        host: Host,
    ) -> None:
        """Prepare.

        Args:
            runner: Its id.
            wanted: Returns its definition, ``None`` if its jobs are to stop, and whether it takes jobs.
            jobs: The jobs in Redis.
            runs: What starts and releases units.
            site: What they have in common.
            host: Where we are.
        """
        self._runner = runner
        self._wanted = wanted
        self._units = runs
        self._site = site
        self._holder = UnitHolder(runner, jobs, host)
        self._tasks = asyncio.TaskGroup()
        #: By unit name, what we hold.
        self._runs: dict[str, Run] = {}
        self._releasing: set[str] = set()
        #: Units that may have ended.
        self._news: set[str] = set()
        #: Jobs that are to stop and that we do not have, and since when.
        self._early_words: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._may_have_work = True
        #: Whether what is held, and which units there are, may be otherwise than we think.
        self._must_ask_redis = True
        self._must_ask_systemd = True
        #: When all units are looked at next, on the clock of ``time.monotonic``.
        self._check_at_s = 0.0
        #: Until when no jobs are taken, on the same clock.
        self._rests_until_s = 0.0
        #: When there is more to do, in seconds since the epoch, if Redis told.
        self._again_at: float | None = None

    # -- news ----------------------------------------------------------------------------------------------------

    def on_ended(self, unit: str) -> None:
        """Read the end of a unit, if it is ours."""
        if unit in self._runs:
            self._news.add(unit)
            self._changed.set()

    def on_doubt(self) -> None:
        """Look at all units."""
        self._must_ask_systemd = True
        self._changed.set()

    def look(self) -> None:
        """See whether something else is wanted."""
        self._may_have_work = True
        self._changed.set()

    def stop(self, job_ids: Iterable[str]) -> None:
        """Stop jobs."""
        runs = {run.job_id: run for run in self._runs.values()}
        now = time.monotonic()
        self._early_words = {job_id: since for job_id, since in self._early_words.items() if since > now - WORD_S}
        for job_id in job_ids:
            if job_id in runs:
                self._stop(runs[job_id])
            else:
                self._early_words[job_id] = now

    @property
    def units(self) -> list[str]:
        """Names of the units that may run."""
        return list(self._runs)

    # -- tasks ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Execute jobs until cancelled, or until nothing is wanted and nothing is left to do."""
        try:
            async with self._tasks:
                beside = [
                    self._tasks.create_task(self._for_ever(step), name=f"{step.__name__}-{self._runner}")
                    for step in (self._hear, self._await_work)
                ]
                while not self._is_done():
                    await self._tried(self._turn)
                for task in beside:
                    task.cancel()
        finally:
            for run in self._runs.values():
                run.forget_reminder()
            await self._holder.aclose()

    async def _for_ever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._tried(step)

    async def _tried(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except HolderFenced:
            self._start_anew()
        except HeroError as exc:
            logger.debug("cannot go on with the jobs of runner %s: %s", self._runner, exc)
            await asyncio.sleep(FAILURE_PAUSE_S)
        except Exception:
            logger.exception("cannot go on with the jobs of runner %s", self._runner, extra={"runner": self._runner})
            await asyncio.sleep(FAILURE_PAUSE_S)

    def _is_done(self) -> bool:
        return not self._must_ask_redis and self._wanted()[0] is None and not self._runs and not self._releasing

    async def _hear(self) -> None:
        """Take words for us."""
        word = await (await self._holder.claims()).wait_for_word(block_s=CHECK_S)
        verb, _, job_id = (word or "").partition(" ")
        if verb == "cancel":
            self.stop([job_id])

    async def _await_work(self) -> None:
        """Hear that there is work, while there is room for it."""
        await self._has_room.wait()
        await (await self._holder.claims()).wait_for_work(block_s=CHECK_S)
        self.look()

    async def _turn(self) -> None:
        claims = await self._holder.claims()
        if self._must_ask_systemd or self._must_ask_redis or time.monotonic() >= self._check_at_s:
            await self._compare(claims)
        await self._read_ends()
        self._see_what_is_wanted()
        await self._exchange(claims)
        await self._until_news()

    async def _until_news(self) -> None:
        is_resting = self._rests_until_s > time.monotonic()
        until_s = min(self._check_at_s, self._rests_until_s) if is_resting else self._check_at_s
        if self._again_at is not None:  # by Redis's clock, which may be behind ours
            until_s = min(until_s, time.monotonic() + max(MIN_PAUSE_S, self._again_at - time.time()))
        try:
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                await self._changed.wait()
        except TimeoutError:
            self._may_have_work, self._again_at = True, None
        self._changed.clear()

    def _start_anew(self) -> None:
        """Stop all: what we had was given to others."""
        logger.warning("jobs of runner %s have been given to others", self._runner, extra={"runner": self._runner})
        self._beside(self._holder.aclose(), name=f"close the connections of the jobs of {self._runner}")
        for run in list(self._runs.values()):
            self._let_go(run)
        self._must_ask_redis = True

    # -- bringing together what is held and what runs ------------------------------------------------------------

    async def _compare(self, claims: Claims) -> None:
        settled = {unit for unit, run in self._runs.items() if not run.is_starting}
        states = await self._units.states(self._runner)
        self._must_ask_systemd, self._check_at_s = False, time.monotonic() + CHECK_S
        if self._must_ask_redis:
            held = (await claims.exchange([], want=0, is_again=True)).claims
            self._must_ask_redis, self._may_have_work = False, True
            await self._compare_held({self._name_of(claim): claim for claim in held}, states, settled)
        for unit in settled & self._runs.keys():
            if unit not in states:
                self._end(self._runs[unit], UnitEnd(DEAD))
            elif UnitEnd(states[unit]).is_over:
                self._news.add(unit)
        for unit in states.keys() - self._runs.keys() - self._releasing:
            self._release(unit, self._definition(), has_failed=states[unit] == SUB_FAILED)
        await self._units.sweep(self._runner, {*self._runs, *self._releasing})

    async def _compare_held(self, held: Mapping[str, Claim], states: Mapping[str, str], settled: set[str]) -> None:
        for unit in settled - held.keys():
            self._let_go(self._runs[unit])
        for unit, claim in held.items():
            if unit in self._runs:
                continue
            run = self._take(claim)
            if unit not in states:  # never started, or stopped while nobody looked
                self._end(run, UnitEnd(DEAD))
            elif run.job is not None:
                extra = {"runner": self._runner, "job_id": run.job_id, "unit": unit}
                logger.info("adopted job %s: unit %s is '%s'", run.job_id, unit, states[unit], extra=extra)
                self._news.add(unit)
                await self._remind_adopted(run)

    async def _remind_adopted(self, run: Run) -> None:
        """See to the soft timeout of a run that was started before our time."""
        if run.job is not None and run.job.soft_timeout is not None:
            with suppress(HeroError):
                started_usec = (await self._units.end(run.unit)).started_usec
                self._units.remind_in(run, run.job.soft_timeout + started_usec / 1e6 - time.monotonic())

    def _name_of(self, claim: Claim) -> str:
        return self._site.job_unit_name(self._runner, claim.job_id, claim.attempt)

    # -- one turn ------------------------------------------------------------------------------------------------

    async def _read_ends(self) -> None:
        self._news = {unit for unit in self._news if unit in self._runs and self._runs[unit].end is None}
        units = set(islice(self._news, READS_PER_TURN))
        self._news -= units
        try:
            ends = await self._units.ends(units)
        except HeroError:
            self._must_ask_systemd = True
            raise
        outputs = await self._units.outputs([unit for unit, end in ends.items() if not end.exec_main_status])
        for unit, end in ends.items():
            if unit in self._runs and not (self._runs[unit].is_starting and end.sub_state == DEAD):
                self._end(self._runs[unit], end, outputs.get(unit, ""))

    def _see_what_is_wanted(self) -> None:
        runner, _ = self._wanted()
        for run in self._runs.values() if runner is None else ():
            self._stop(run)

    async def _exchange(self, claims: Claims) -> None:
        """Write ends into Redis, and take as many jobs as there is room for."""
        ended = self._ended_now()
        runner, takes = self._wanted()
        room = self._room(runner if takes else None)
        want = max(0, room) if self._may_have_work or ended else 0
        if ended or want:
            self._must_ask_redis = True  # unless it is answered
            # Before we ask: who tells of work while we wait for the answer may tell of what is not in it.
            self._may_have_work = False
            answer = await claims.exchange([run.ended for run in ended if run.ended], want=want)
            self._must_ask_redis = False
            self._again_at = answer.again_at
            if len(answer.claims) == want:  # there may be more, also when none was asked for
                self._may_have_work = True
            for run in ended:
                self._let_go(run)
            for claim in answer.claims:
                self._begin(claim)
            room = self._room(runner if takes else None)
        self._has_room.set() if room > 0 else self._has_room.clear()
        if self._news or any(run.ended for run in self._runs.values()):
            self._changed.set()

    def _ended_now(self) -> list[Run]:
        """Return runs whose end is to be written, not too much at once."""
        found, size = [], 0
        for run in self._runs.values():
            if run.ended is not None and not run.is_starting and size < CHARACTERS_PER_CALL:
                found.append(run)
                size += len(run.ended.text)
        return found[:ENDS_PER_CALL]

    def _room(self, runner: Runner | None) -> int:
        if runner is None or self._rests_until_s > time.monotonic():
            return 0
        return runner.concurrency - sum(run.ended is None for run in self._runs.values())

    # -- one run -------------------------------------------------------------------------------------------------

    def _take(self, claim: Claim) -> Run:
        run = Run(self._name_of(claim), claim.job_id, claim.attempt, claim.job, self._definition())
        self._runs[run.unit] = run
        if claim.job is None:
            run.ended = Ended(run.job_id, run.attempt, FAILED, claim.fault)
        return run

    def _definition(self) -> Runner:
        """Return the definition in force; one with the usual values when there is none any more."""
        return self._wanted()[0] or Runner(id=self._runner, command=("/bin/true",))

    def _begin(self, claim: Claim) -> None:
        run = self._take(claim)
        fault = "" if run.job is None else executor_fault(run.runner, run.job)
        is_unwanted = self._wanted()[0] is None or self._early_words.pop(run.job_id, 0) > time.monotonic() - WORD_S
        if is_unwanted:
            self._end(run, UnitEnd(DEAD))
        elif fault:
            run.ended = Ended(run.job_id, run.attempt, FAILED, fault)
        elif run.job is not None:
            run.is_starting = True
            self._beside(self._start(run, run.job), name=f"start unit {run.unit}")
            return
        self._changed.set()

    async def _start(self, run: Run, job: Job) -> None:
        try:
            await self._units.start(run, job)
        except HeroError:
            self._must_ask_systemd = True
        except OSError as exc:
            run.ended = Ended(run.job_id, run.attempt, RELEASED, reason=ExitReason.NOT_STARTED.value)
            self._rest(exc)
        finally:
            run.is_starting = False
        if job.soft_timeout is not None:
            self._units.remind_in(run, job.soft_timeout)
        if run.is_stopping:
            run.is_stopping = False
            self._stop(run)
        if run.ended is not None or run.unit in self._news or self._must_ask_systemd:
            self._changed.set()

    def _rest(self, exc: OSError) -> None:
        """Take no jobs for a while: their files cannot be written."""
        if self._rests_until_s <= time.monotonic():
            text = "jobs of runner %s wait for %g s: cannot write their files: %s (see: df, and docs/operations.md)"
            logger.warning(text, self._runner, CHECK_S, exc.strerror, extra={"runner": self._runner})
        self._rests_until_s = time.monotonic() + CHECK_S

    def _stop(self, run: Run) -> None:
        if run.is_stopping or run.end is not None or run.ended is not None:
            return
        run.is_stopping = True
        if not run.is_starting:  # else it is stopped when it has been started
            self._beside(self._units.stop(run, self.on_ended), name=f"stop unit {run.unit}")

    def _end(self, run: Run, end: UnitEnd, output: str = "") -> None:
        """Take down how a run ended."""
        if run.ended is not None or run.end is not None:
            return
        run.end = end
        run.forget_reminder()
        ended = Ended(run.job_id, run.attempt, RELEASED, reason=ExitReason.OPERATOR.value)
        if run.job is not None and end.sub_state != DEAD:
            ended = outcome_of(end, run.job, run.runner, attempt=run.attempt, output=output)
        if ended.outcome == ERROR and end.exec_main_code == CLD_EXITED:
            self._beside(self._add_last_words(run, ended), name=f"read the last words of unit {run.unit}")
        else:
            run.ended = ended
        self._changed.set()

    async def _add_last_words(self, run: Run, ended: Ended) -> None:
        run.ended = with_last_words(ended, await self._units.last_words(run))
        self._changed.set()

    def _let_go(self, run: Run) -> None:
        """Have no more to do with a run: its end is in Redis, or it is not ours any more."""
        run.forget_reminder()
        self._runs.pop(run.unit, None)
        self._release(run.unit, run.runner, has_failed=has_failed(run))

    def _release(self, unit: str, runner: Runner, *, has_failed: bool) -> None:
        def released(_: object) -> None:
            self._releasing.discard(unit)
            if not self._releasing and not self._runs:
                self._changed.set()

        self._releasing.add(unit)
        work = self._units.release(unit, stop_timeout_s=runner.stop_timeout_s, has_failed=has_failed)
        self._beside(work, name=f"release unit {unit}").add_done_callback(released)

    def _beside(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Do some work beside the turns; a fault of ours in it is logged."""

        async def logged() -> None:
            try:
                await work
            except Exception:
                logger.exception("cannot %s", name, extra={"runner": self._runner})

        return self._tasks.create_task(logged(), name=name)
