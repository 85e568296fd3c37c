"""Changes of a runner's definition, and what becomes of one that was broken off.

::

    the new definition is written down, with the old one beside it  ──►  what runs is brought in line  ──►  the old one
                                                                                                            is dropped

As long as the old definition is there, instances may run that are not what the new one says: started with the old one,
with its limits, or more than there should be. When the supervisor dies, or loses systemd, in between, the next look
settles that: a change that needs no restart is made anew, one that does is undone. That way leads to a definition that
ran before, where the new one was never seen to start on all instances, and whoever asked for it got no answer.

Rejected: a mark in every unit of what it was started with. It has to be read back for each, and cannot tell limits.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hero_supervisor.errors import Conflict, HeroError, SystemdUnavailable
from hero_supervisor.records import ChangeEffect, PlanAction
from hero_supervisor.state import Desired
from hero_supervisor.unit import limit_properties

from .plan import plan

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hero_supervisor.ports import ProcessManager
    from hero_supervisor.records import RunnerPlan
    from hero_supervisor.runner import Runner

    from .instances import Instances
    from .reconcile import Reconciler
    from .registry import Registry

logger = logging.getLogger(__name__)


class Changes:
    """Gives runners other definitions. Its methods are for holders of the runner's lock."""

    def __init__(
        self, registry: Registry, instances: Instances, processes: ProcessManager, reconciler: Reconciler
    ) -> None:
        self._registry = registry
        self._instances = instances
        self._processes = processes
        self._reconciler = reconciler

    async def make(self, after: Runner, *, at_once: int = 1) -> RunnerPlan:
        """Put a definition in the place of the present one, and bring what runs in line with it.

        Args:
            after: The new definition of a runner that exists.
            at_once: How many instances are restarted at a time, if they have to be.

        Returns:
            What was changed.

        Raises:
            SystemdUnavailable: The manager cannot be reached; the next look settles it.
            Conflict: A stop came in between; it settles it.
            HeroError: As ``Reconciler.roll`` and ``start``. After a restart the old definition is in force again.
        """
        await self.settle(after.id)
        before = self._registry.get(after.id).definition
        change = plan(before, after)
        await self._registry.replace(after, replaces=before)
        try:
            await self._bring_in_line(change, before, after, at_once=at_once)
        except (SystemdUnavailable, Conflict):
            raise  # it is settled when systemd can be reached again, or by the stop that came in between
        except HeroError:
            await self._give_up(change, before, after)
            raise
        await self._registry.replace(after)
        return change

    async def settle(self, runner: str) -> None:
        """Finish or undo a change of a runner that was broken off, if there is one.

        Raises:
            SystemdUnavailable: The manager cannot be reached; it is not settled.
            Conflict: A stop came in between, and settles it.
        """
        stored = self._registry.get(runner)
        before, after = stored.replaces, stored.definition
        if before is None:
            return
        change = plan(before, after)
        logger.info("settling a change of runner %s that was broken off", runner, extra={"runner": runner})
        if change.action is PlanAction.RESTART:
            await self._go_back(before, after)
        else:
            await self._done_or_tried(self._bring_in_line(change, before, after), after)
            await self._registry.replace(after)

    async def _bring_in_line(self, change: RunnerPlan, before: Runner, after: Runner, *, at_once: int = 1) -> None:
        await self._reconciler.trim(before, after)
        if self._registry.get(after.id).desired is not Desired.RUNNING:
            return
        if change.action is PlanAction.RESTART:
            await self._reconciler.roll(after, at_once=at_once)
        else:
            await self._change_limits(change, after)
            await self._reconciler.start(after)

    async def _give_up(self, change: RunnerPlan, before: Runner, after: Runner) -> None:
        if change.action is PlanAction.RESTART:
            await self._go_back(before, after)
        else:
            await self._registry.replace(after)

    async def _go_back(self, before: Runner, after: Runner) -> None:
        """Restart all instances with the old definition, and only then forget the new one."""
        logger.warning("runner %s goes back to its old definition", after.id, extra={"runner": after.id})
        await self._done_or_tried(self._reconciler.trim(after, before), after)
        if self._registry.get(after.id).desired is Desired.RUNNING:
            await self._done_or_tried(self._reconciler.roll(before, at_once=before.processes or 1), after)
        await self._registry.replace(before)

    async def _done_or_tried(self, work: Coroutine[Any, Any, None], runner: Runner) -> None:
        """Do a part of settling. What fails in it is tried again like any start, unless nothing can be done now."""
        try:
            await work
        except (SystemdUnavailable, Conflict):
            raise
        except HeroError as exc:
            logger.warning("%s", exc, extra={"runner": runner.id})

    async def _change_limits(self, change: RunnerPlan, runner: Runner) -> None:
        fields = [each.field for each in change.changes if each.effect is ChangeEffect.LIVE]
        if not any(field.startswith("limits.") for field in fields):
            return
        properties = limit_properties(runner.limits)
        for name in self._instances.names(runner):
            if (await self._processes.status(name)).is_running:
                await self._processes.set_properties(name, properties)
