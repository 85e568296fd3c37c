"""Jobs of runners without processes: each is a transient unit of its own, which the supervisor starts.

For each such runner there is a lane (``unit_lane.py``), in a task. A look only sees to it that there is one, and passes
on what it finds in Redis, in case a word to the lane was lost.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from hero_supervisor.runner import JobProtocol
from hero_supervisor.state import Desired

from .execution import OVERDUE_GRACE_S
from .unit_files import JobFiles
from .unit_lane import Lane
from .unit_run import UnitRuns
from .unit_words import LastWords

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hero_supervisor.client import JobClient
    from hero_supervisor.engine.registry import Registry
    from hero_supervisor.ports import LogSource, ProcessManager
    from hero_supervisor.runner import Runner
    from hero_supervisor.state import StoredRunner
    from hero_supervisor.unit import Site

    from .execution import Host

logger = logging.getLogger(__name__)

#: Seconds until more is taken of what foreign clients have pushed.
ADOPT_PAUSE_S: Final = 0.05
#: Seconds between two looks at how large outputs have become.
BOUND_S: Final = 1.0


class UnitJobs:
    """Sees to jobs of the ``unit`` protocol. An ``Execution``, and a ``UnitWatcher``."""

    def __init__(
        self,
        jobs: Callable[[], JobClient],
        registry: Registry,
        processes: ProcessManager,
        logs: LogSource,
        site: Site,
        directory: Path,
        host: Callable[[], Host],
    ) -> None:
        """Prepare.

        Args:
            jobs: Returns the jobs in Redis, once open.
            registry: What is wanted of runners.
            processes: Who runs units.
            logs: Where they log.
            site: What they have in common.
            directory: For payloads and outputs.
            host: Returns where we are, once open.
        """
        self._jobs = jobs
        self._registry = registry
        self._processes = processes
        self._site = site
        self._files = JobFiles(directory)
        self._runs = UnitRuns(processes, site, self._files, LastWords(logs))
        self._host = host
        self._lanes: dict[str, Lane] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._bounding: asyncio.Task[None] | None = None

    # -- news ----------------------------------------------------------------------------------------------------

    def on_ended(self, unit_name: str) -> None:
        """Tell the lane of a job's unit."""
        found = self._site.job_unit(unit_name)
        if found is not None and found.runner in self._lanes:
            self._lanes[found.runner].on_ended(unit_name)

    def on_doubt(self) -> None:
        """Tell all lanes."""
        for lane in self._lanes.values():
            lane.on_doubt()

    # -- execution -----------------------------------------------------------------------------------------------

    async def look(self, stored: StoredRunner) -> float | None:
        """See to it that a runner's jobs are executed, foreign ones too, and that those stop that are to."""
        runner, jobs = stored.definition.id, self._jobs()
        if self._bounding is None:
            self._bounding = asyncio.create_task(self._bound_outputs(), name="bound-outputs-of-jobs")
            await self._find_orphans()
        lane = self._lane(runner)
        left = await jobs.ledger.adopt(runner, stored.definition.queue or jobs.keys.work_queue(runner))
        found = await jobs.ledger.look(runner, grace_s=OVERDUE_GRACE_S)
        lane.stop(found.stopping)
        lane.look()
        return ADOPT_PAUSE_S if left else None

    async def aclose(self) -> None:
        """End all lanes; units run on."""
        tasks = [*self._tasks.values(), *([self._bounding] if self._bounding else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- inside --------------------------------------------------------------------------------------------------

    def _lane(self, runner: str) -> Lane:
        if runner not in self._lanes:
            lane = Lane(runner, lambda: self._wanted(runner), self._jobs(), self._runs, self._site, self._host())
            self._lanes[runner] = lane
            self._tasks[runner] = asyncio.create_task(self._run(runner, lane), name=f"jobs-of-{runner}")
        return self._lanes[runner]

    async def _run(self, runner: str, lane: Lane) -> None:
        try:
            await lane.run()
        finally:
            del self._lanes[runner], self._tasks[runner]

    def _wanted(self, runner: str) -> tuple[Runner | None, bool]:
        """Return the definition of a runner, ``None`` if its jobs are to stop, and whether it takes jobs."""
        stored = self._registry.get(runner) if runner in self._registry else None
        is_ours = stored is not None and stored.definition.job_protocol is JobProtocol.UNIT
        if stored is None or not is_ours or stored.desired not in {Desired.RUNNING, Desired.DRAINED}:
            return None, False
        return stored.definition, stored.desired is Desired.RUNNING

    async def _find_orphans(self) -> None:
        """See to the units of runners that were removed, or changed, while we were away."""
        for name in await self._processes.one_shots.sub_states(self._site.job_units("*")):
            found = self._site.job_unit(name)
            if found is not None:
                self._lane(found.runner)

    async def _bound_outputs(self) -> None:
        while True:
            await asyncio.sleep(BOUND_S)
            if units := [unit for lane in self._lanes.values() for unit in lane.units]:
                await asyncio.to_thread(self._files.bound, units)
