"""``JobKeeper``: the loop that sees to the jobs of all runners.

It is level-triggered, like the reconciler's: whatever makes it look at a runner's queue, it reads what is so, in Redis
and in systemd, and acts on that. What makes it look:

- a main process ended, or news of systemd may have been missed (``UnitWatcher``);
- an operation changed a queue, or an execution was told of something (``look_at``);
- a time that an execution has set itself has come;
- a sweep every five seconds, in case news was lost: over queues that hold anything, which one call tells, or did at the
  last sweep; and every five minutes over all.

What is done at a look are *cares*, of which none waits for another: executing jobs, which must be quick, scaling, which
waits for processes to start, and asking idle runners.

While Redis or systemd is away looks fail, and are made again; nothing is lost by that, because what was handed out is
written down in Redis and goes from there only when it has ended.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import count
from typing import TYPE_CHECKING, Final

from hero_supervisor.engine.agenda import Agenda
from hero_supervisor.errors import HeroError, RedisUnavailable, RunnerNotFound, SystemdUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hero_supervisor.engine.registry import Registry
    from hero_supervisor.runner import Runner
    from hero_supervisor.state import StoredRunner
    from hero_supervisor.unit import Site

    #: Looks at a runner's jobs and does something about them; returns the seconds until it wants to look again,
    #: ``None`` for: with the next sweep, or news. It may be broken off anywhere.
    Care = Callable[[StoredRunner], Awaitable[float | None]]
    Stirring = Callable[[Sequence[Runner]], Awaitable[set[str]]]

logger = logging.getLogger(__name__)

#: Seconds between two sweeps over all queues, and until a look that failed is made again.
SWEEP_S: Final = 5.0
#: How many sweeps there are for one over all queues, those that hold nothing included.
SWEEPS_TO_ALL: Final = 60
FAILURE_PAUSE_S: Final = 1.0


class JobKeeper:
    """Sees to the jobs of the runners of a registry, while ``run`` runs. It is a ``UnitWatcher``."""

    def __init__(self, registry: Registry, site: Site, stirring: Stirring, *cares: Care) -> None:
        """Prepare.

        Args:
            registry: The runners.
            site: The names of their units.
            stirring: Returns those of some runners whose queues hold anything.
            cares: What is done at each look; none waits for another.
        """
        self._registry = registry
        self._site = site
        self._stirring = stirring
        self._stirred: set[str] = set()
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
            for sweep in count():
                await self._sweep(is_over_all=sweep % SWEEPS_TO_ALL == 0)
                await asyncio.sleep(SWEEP_S)

    async def _sweep(self, *, is_over_all: bool) -> None:
        stored = [self._registry.get(runner) for runner in self._registry]
        before = self._stirred
        try:
            self._stirred = await self._stirring([each.definition for each in stored])
        except HeroError:
            is_over_all = True  # each look finds the same, and is made again
        for each in stored:
            runner = each.definition
            # Scaling down and pings are due when nothing happens.
            if is_over_all or runner.demand or runner.idle_ping or runner.id in before | self._stirred:
                self.look_at(runner.id)

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
