"""One attempt of a job as a unit, as long as we have to do with it, and how it is started and released."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hero_supervisor.errors import HeroError, OperationTimeout, SystemdUnavailable, UnitExists
from hero_supervisor.queue.claims import ERROR, Ended
from hero_supervisor.records import ExitReason
from hero_supervisor.unit import render_job
from hero_supervisor.unit.end import FAILED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from hero_supervisor.job import Job
    from hero_supervisor.ports import ProcessManager
    from hero_supervisor.runner import Runner
    from hero_supervisor.unit import Site, UnitEnd

    from .unit_files import JobFiles
    from .unit_words import LastWords

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Run:
    """An attempt that was given to us and whose end is not in Redis yet."""

    unit: str
    job_id: str
    attempt: int
    #: ``None`` when its record cannot be read; then it has no unit.
    job: Job | None
    #: The definition that it was started with, or that was in force when it was found.
    runner: Runner
    #: Its start has been asked for, and not been answered.
    is_starting: bool = False
    is_stopping: bool = False
    end: UnitEnd | None = None
    #: What it has come to, once that is known.
    ended: Ended | None = None
    #: Sends the signal when its soft timeout is over.
    reminder: asyncio.Task[None] | None = None

    def forget_reminder(self) -> None:
        """Send no signal any more."""
        if self.reminder is not None:
            self.reminder.cancel()


class UnitRuns:
    """Starts, stops and releases runs; it decides nothing."""

    def __init__(self, processes: ProcessManager, site: Site, files: JobFiles, words: LastWords) -> None:
        self._processes = processes
        self._site = site
        self._files = files
        self._words = words

    async def start(self, run: Run, job: Job) -> None:
        """Start the unit of a run. When that is refused, it has ended by that.

        Raises:
            SystemdUnavailable, OperationTimeout: There was no answer; it may run.
            OSError: There is no place for its files; it was not started.
        """
        try:
            await asyncio.to_thread(self._files.prepare, run.unit, job.payload)
            unit = render_job(
                run.runner,
                job,
                self._site,
                attempt=run.attempt,
                payload=self._files.payload(run.unit),
                output=self._files.output(run.unit),
                capabilities=self._processes.capabilities,
            )
            await self._processes.one_shots.launch(unit)
        except UnitExists:
            pass  # an earlier start of ours, of which no answer came
        except (SystemdUnavailable, OperationTimeout):
            raise
        except HeroError as exc:
            run.ended = Ended(run.job_id, run.attempt, ERROR, exc.message, ExitReason.NOT_STARTED.value)

    async def states(self, runner: str) -> dict[str, str]:
        """Return the sub-states of the units of a runner's jobs, by name; raises like ``OneShots.sub_states``."""
        return await self._processes.one_shots.sub_states(self._site.job_units(runner))

    async def ends(self, units: Iterable[str]) -> dict[str, UnitEnd]:
        """Return how units ended; of those only that have. Raises like ``OneShots.end``."""
        found = await asyncio.gather(*(self._end(unit) for unit in units))
        return {unit: end for unit, end in found if end.is_over}

    async def end(self, unit: str) -> UnitEnd:
        """Return how a unit ended, or that it has not; raises like ``OneShots.end``."""
        return await self._processes.one_shots.end(unit)

    async def _end(self, unit: str) -> tuple[str, UnitEnd]:
        return unit, await self.end(unit)

    async def outputs(self, units: Collection[str]) -> dict[str, str]:
        """Return what units wrote to standard output."""

        def read() -> dict[str, str]:
            return {unit: self._files.read_output(unit) for unit in units}

        return await asyncio.to_thread(read) if units else {}

    async def last_words(self, run: Run) -> str:
        """Return the last that a run wrote to standard error, if that is to be had quickly."""
        return await self._words.of(run.unit, run.job_id)

    def remind_in(self, run: Run, seconds: float) -> None:
        """Send a run the signal that asks it to stop, in so many seconds, unless it has ended."""

        async def remind() -> None:
            await asyncio.sleep(seconds)
            with suppress(HeroError):  # its timeout comes in any case
                await self._processes.one_shots.signal(run.unit, signal.Signals[run.runner.stop_signal].value)

        if run.end is None and run.ended is None:
            run.reminder = asyncio.create_task(remind(), name=f"remind unit {run.unit}")

    async def stop(self, run: Run, on_stopped: Callable[[str], None]) -> None:
        """Stop a run with all its processes, and tell when it has ended."""
        try:
            await self._processes.one_shots.stop(run.unit, timeout_s=run.runner.stop_timeout_s)
        except HeroError as exc:
            run.is_stopping = False  # who wants it stopped finds that it is not
            logger.debug("cannot stop unit %s: %s", run.unit, exc)
        on_stopped(run.unit)

    async def release(self, unit: str, *, stop_timeout_s: float, has_failed: bool) -> None:
        """Have the unit of a run unloaded, with all its processes, and remove its files."""
        try:
            await self._processes.one_shots.release(unit, has_failed=has_failed, timeout_s=stop_timeout_s)
        except HeroError as exc:
            logger.debug("cannot release unit %s, which a later look finds: %s", unit, exc)
            return
        await asyncio.to_thread(self._files.remove, unit)

    async def sweep(self, runner: str, in_use: Collection[str]) -> None:
        """Remove the files of a runner's jobs that are of no use any more."""
        prefix = self._site.job_units(runner).partition("*")[0]
        await asyncio.to_thread(self._files.sweep, prefix, in_use)


def has_failed(run: Run) -> bool:
    """Whether the unit of a run that has ended is a failed one."""
    return run.end is not None and run.end.sub_state == FAILED
