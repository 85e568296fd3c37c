"""``JobKeeper``: the loop that sees to the jobs of all runners.

It is level-triggered, like the reconciler's: whatever makes it look at a runner's queue, it reads what is so, in Redis
and in systemd, and acts on that. What makes it look:

- a main process ended, or news of systemd may have been missed (``UnitWatcher``);
- an operation changed a queue, or an execution was told of something (``look_at``);
- a time that an execution has set itself has come;
- a sweep every five seconds, in case news was lost.

What is done at a look are *cares*, of which none waits for another: executing jobs, which must be quick, scaling, which
waits for processes to start, and asking idle runners.

While Redis or systemd is away looks fail, and are made again; nothing is lost by that, because what was handed out is
written down in Redis and goes from there only when it has ended.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from hero_supervisor.engine.agenda import Agenda
from hero_supervisor.errors import HeroError, RedisUnavailable, RunnerNotFound, SystemdUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hero_supervisor.engine.registry import Registry
    from hero_supervisor.state import StoredRunner
    from hero_supervisor.unit import Site

    #: Looks at a runner's jobs and does something about them; returns the seconds until it wants to look again,
    #: ``None`` for: with the next sweep, or news. It may be broken off anywhere.
    Care = Callable[[StoredRunner], Awaitable[float | None]]

logger = logging.getLogger(__name__)

#: Seconds between two sweeps over all queues, and until a look that failed is made again.
SWEEP_S: Final = 5.0
FAILURE_PAUSE_S: Final = 1.0


class JobKeeper:
    """Sees to the jobs of the runners of a registry, while ``run`` runs. It is a ``UnitWatcher``."""

    def __init__(self, registry: Registry, site: Site, *cares: Care) -> None:
        """Args: the runners, the names of their units, and what is done at each look; none waits for another."""
        self._registry = registry
        self._site = site
        self._cares = [(care, Agenda()) for care in cares]

    # -- news ----------------------------------------------------------------------------------------------------

    def on_ended(self, unit_name: str) -> None:
        """Look at the jobs of a unit's runner."""
        self.look_at(self._site.runner_id(unit_name))

    def on_doubt(self) -> None:
        """Look at all jobs."""
        for runner in self._registry:
            self.look_at(runner)

    def look_at(self, runner: str) -> None:
        """Look at a runner's jobs now."""
        if runner in self._registry:
            for _, agenda in self._cares:
                agenda.add(runner)

    def on_queued(self, runner: str) -> None:
        """Look at a runner's jobs now if a new one may ask for instances; all else hears of jobs by itself."""
        if runner in self._registry and self._registry.get(runner).definition.demand is not None:
            self.look_at(runner)

    # -- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at queues when it is time to, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for care, agenda in self._cares:
                tasks.create_task(self._run(care, agenda))
            while True:
                self.on_doubt()
                await asyncio.sleep(SWEEP_S)

    async def _run(self, care: Care, agenda: Agenda) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                for runner in agenda.take_due():
                    tasks.create_task(self._look(runner, care, agenda), name=f"look-at-jobs-of-{runner}")
                await agenda.until_due()

    async def _look(self, runner: str, care: Care, agenda: Agenda) -> None:
        with agenda.looking(runner):
            try:
                again_s = await care(self._registry.get(runner))
            except (RedisUnavailable, SystemdUnavailable, RunnerNotFound):
                again_s = FAILURE_PAUSE_S  # readiness tells of it; or it was removed
            except HeroError as exc:
                logger.warning("cannot see to the jobs of runner %s: %s", runner, exc, extra={"runner": runner})
                again_s = FAILURE_PAUSE_S
            except Exception:
                logger.exception("cannot see to the jobs of runner %s", runner, extra={"runner": runner})
                again_s = FAILURE_PAUSE_S
            if again_s is not None and runner in self._registry:
                agenda.add(runner, in_s=again_s)
