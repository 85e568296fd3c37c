"""``JobKeeper``: the loop that sees to the jobs of all runners.

It is level-triggered, like the reconciler's: whatever makes it look at a runner's queue, it reads what is so, in Redis
and in systemd, and acts on that. What makes it look:

- a main process ended, or news of systemd may have been missed (``UnitWatcher``);
- an operation changed a queue, or an execution was told of something (``look_at``);
- a time that an execution has set itself has come;
- a sweep every five seconds, in case news was lost.

While Redis or systemd is away looks fail, and are made again; nothing is lost by that, because what was handed out is
written down in Redis and goes from there only when it has ended.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from hero_supervisor.engine.agenda import Agenda
from hero_supervisor.errors import HeroError, RedisUnavailable, SystemdUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hero_supervisor.engine.registry import Registry
    from hero_supervisor.runner import JobProtocol
    from hero_supervisor.unit import Site

    from .execution import Execution

logger = logging.getLogger(__name__)

#: Seconds between two sweeps over all queues, and until a look that failed is made again.
SWEEP_S: Final = 5.0
FAILURE_PAUSE_S: Final = 1.0


class JobKeeper:
    """Sees to the jobs of the runners of a registry, while ``run`` runs. It is a ``UnitWatcher``."""

    def __init__(self, registry: Registry, site: Site, executions: Mapping[JobProtocol, Execution]) -> None:
        self._registry = registry
        self._site = site
        self._executions = executions
        self._agenda = Agenda()

    # -- news ----------------------------------------------------------------------------------------------------

    def on_ended(self, unit_name: str) -> None:
        """Look at the jobs of a unit's runner."""
        self.look_at(self._site.runner_id(unit_name))

    def on_doubt(self) -> None:
        """Look at all jobs."""
        for runner in self._registry:
            self._agenda.add(runner)

    def look_at(self, runner: str) -> None:
        """Look at a runner's jobs now."""
        if runner in self._registry:
            self._agenda.add(runner)

    # -- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at queues when it is time to, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sweep(), name="job-sweep")
                while True:
                    for runner in self._agenda.take_due():
                        tasks.create_task(self._look(runner), name=f"look-at-jobs-of-{runner}")
                    await self._agenda.until_due()
        finally:
            for execution in self._executions.values():
                await execution.aclose()

    async def _sweep(self) -> None:
        while True:
            self.on_doubt()
            await asyncio.sleep(SWEEP_S)

    async def _look(self, runner: str) -> None:
        with self._agenda.looking(runner):
            try:
                stored = self._registry.get(runner)
                execution = self._executions.get(stored.definition.job_protocol)
                again_s = await execution.look(stored) if execution else None
            except (RedisUnavailable, SystemdUnavailable):
                again_s = FAILURE_PAUSE_S  # readiness tells of it
            except HeroError as exc:
                logger.warning("cannot see to the jobs of runner %s: %s", runner, exc, extra={"runner": runner})
                again_s = FAILURE_PAUSE_S
            except Exception:
                logger.exception("cannot see to the jobs of runner %s", runner, extra={"runner": runner})
                again_s = FAILURE_PAUSE_S
            if again_s is not None and runner in self._registry:
                self._agenda.add(runner, in_s=again_s)
