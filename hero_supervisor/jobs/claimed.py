"""Jobs of runners whose processes claim them: recovered when a process is no more, and stopped when they must be.

A holder is one run of a unit, known by its invocation id; it is over when systemd has another one, or none, and all its
processes have ended. Nobody decides by the clock that such a process is dead.

Of the processes of external runners, and of those that do not say which unit they are, no systemd tells us anything.
They are over when they are silent for ``SILENT_S``, and for ``DOUBT_S`` more while we look: after an outage of Redis
all are. One that lives all the same learns with its next word to Redis that it is taken for dead; that is also how
they are made to end.

A job that is to stop has been told so through its holder (``cancel.lua``). If it has not ended after ``STOP_GRACE_S``
the whole unit is killed, and what else it had goes to others without being counted as a crash.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import Conflict, HeroError, JobNotFound
from hero_supervisor.queue.ledger import Death

from .death import DISOBEDIENT, REBOOT, SILENT, UNCOUNTED, UNKNOWN, death_of, is_over
from .execution import OVERDUE_GRACE_S, STOP_GRACE_S
from .stopping import kill_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hero_supervisor.client import JobClient
    from hero_supervisor.ports import ExitSource, ProcessManager
    from hero_supervisor.queue.claims import HolderRecord
    from hero_supervisor.queue.ledger import QueueLook
    from hero_supervisor.state import StoredRunner

    from .execution import Host

logger = logging.getLogger(__name__)

#: How many of the last exits of an instance are searched for the one of a run.
EXITS_LOOKED_AT: Final = 20
#: Seconds until a unit is looked at again whose processes are being ended: systemd does not tell when they are.
ENDING_PAUSE_S: Final = 0.02
#: Seconds that a silent process is looked at before it is taken for dead.
DOUBT_S: Final = 10.0


class ClaimedJobs:
    """Sees to jobs of the ``claim`` protocol. An ``Execution``."""

    def __init__(
        self, jobs: Callable[[], JobClient], processes: ProcessManager, exits: ExitSource, host: Callable[[], Host]
    ) -> None:
        """Args: the jobs in Redis, who runs units, who records their ends, and where we are, known once open."""
        self._jobs = jobs
        self._processes = processes
        self._exits = exits
        self._host = host
        #: By runner and job, since when it is being stopped, as far as we have seen.
        self._stopping: dict[str, dict[str, float]] = {}
        #: By runner and holder that nobody watches, since when it is silent, as far as we have seen.
        self._silent: dict[str, dict[str, float]] = {}

    async def look(self, stored: StoredRunner) -> float | None:
        """Recover from holders that are no more, and stop jobs that are late or not wanted."""
        runner = stored.definition.id
        look = await self._jobs().ledger.look(runner, grace_s=OVERDUE_GRACE_S)
        pauses = [await self.see_to(stored, holder, record) for holder, record in self._own(look)]
        pauses.append(await self._recover_silent(stored, look))
        for job_id in look.overdue:
            with suppress(JobNotFound, Conflict):
                await self._jobs().stop_overdue(job_id)
        pauses.append(await self._stop(stored, look))
        return min((pause for pause in pauses if pause is not None), default=None)

    async def aclose(self) -> None:
        """Do nothing."""

    def _own(self, look: QueueLook) -> Iterable[tuple[str, HolderRecord]]:
        # One without a unit is the supervisor itself (``units.py``).
        own = self._host().node
        return [(holder, record) for holder, record in look.holders.items() if record.node == own and record.unit]

    async def see_to(self, stored: StoredRunner, holder: str, record: HolderRecord) -> float | None:
        """Recover from a holder if it is no more."""
        unit = await self._processes.status(record.unit)
        over = is_over(unit, holder)
        if not over:
            return ENDING_PAUSE_S if over is None else None
        cause = self._exits.cause(holder)
        death = death_of(unit, holder, desired=stored.desired, cause=cause)
        if record.boot_id not in {"", self._host().boot_id}:
            death = REBOOT
        elif death is UNKNOWN:
            death = await self._recorded(stored.definition.id, holder, record) or UNKNOWN
        await self._recover(stored.definition.id, holder, death)
        return None

    async def _recorded(self, runner: str, holder: str, record: HolderRecord) -> Death | None:
        """Return why a run is no more, if that is on record already; its unit has been started again meanwhile."""
        for end in await self._exits.exits(runner, instance=record.instance, limit=EXITS_LOOKED_AT):
            if end.invocation_id == holder:
                return Death(
                    end.reason.value, f"its runner ended: {end.explanation}", is_counted=end.reason not in UNCOUNTED
                )
        return None

    async def _recover_silent(self, stored: StoredRunner, look: QueueLook) -> float | None:
        """Recover from holders that are silent and that nobody watches; return when the next one's time is over."""
        now_s, runner = time.monotonic(), stored.definition.id
        known = self._silent.get(runner, {})
        unwatched = [holder for holder in look.silent if _is_unwatched(stored, look.holders.get(holder))]
        self._silent[runner] = silent = {holder: known.get(holder, now_s) for holder in unwatched}
        for holder, since_s in silent.items():
            if now_s - since_s >= DOUBT_S:
                await self._recover(runner, holder, SILENT)
        left_s = [since_s + DOUBT_S - now_s for since_s in silent.values()]
        return min((pause_s for pause_s in left_s if pause_s > 0), default=None)

    async def _recover(self, runner: str, holder: str, death: Death) -> None:
        outcomes = await self._jobs().ledger.recover(runner, holder, death)
        for job_id, status in outcomes.items():
            extra = {"runner": runner, "job_id": job_id}
            logger.warning("job %s is '%s' now: %s", job_id, status, death.text, extra=extra)

    async def _stop(self, stored: StoredRunner, look: QueueLook) -> float | None:
        """Kill the units of jobs that do not stop by themselves; return when the next one's time is over."""
        now_s, runner = time.monotonic(), stored.definition.id
        known = self._stopping.get(runner, {})
        stopping = {job_id: known.get(job_id, now_s) for job_id in (*look.overdue, *look.stopping)}
        self._stopping[runner] = stopping
        for job_id, since_s in stopping.items():
            if now_s - since_s >= STOP_GRACE_S:
                await self._kill_holder_of(stored, job_id, look)
        left_s = [since_s + STOP_GRACE_S - now_s for since_s in stopping.values()]
        return min((pause_s for pause_s in left_s if pause_s > 0), default=None)

    async def _kill_holder_of(self, stored: StoredRunner, job_id: str, look: QueueLook) -> None:
        with suppress(HeroError):  # the next sweep tries again
            holder = (await self._jobs().get_job_state(job_id)).holder
            record = look.holders.get(holder)
            if _is_unwatched(stored, record):
                await self._recover(stored.definition.id, holder, DISOBEDIENT)
                return
            if record is None or record.node != self._host().node:
                return
            await kill_unit(self._processes, self._exits, record.unit, holder, job_id=job_id)


def _is_unwatched(stored: StoredRunner, record: HolderRecord | None) -> bool:
    """Whether a holder is one that no supervisor watches through systemd."""
    return record is not None and (stored.definition.external or not (record.node and record.unit))
