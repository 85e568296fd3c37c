"""New definitions for runners that exist, and what they change."""

from __future__ import annotations

import logging
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from hero_supervisor.engine.plan import plan
from hero_supervisor.errors import HeroError
from hero_supervisor.records import ChangeEffect, PlanAction, RunnerPlan, RunnerStatus
from hero_supervisor.runner import Runner, RunnerId
from hero_supervisor.state import Desired
from hero_supervisor.unit import limit_properties

from .lifecycle import AtOnce, LifecycleOperations

logger = logging.getLogger(__name__)

InstanceCount = Annotated[int, Meta(ge=0, le=64, description="Number of instances, from 0 to 64.")]


class ChangeOperations(LifecycleOperations):
    """Changing the definition of one runner."""

    async def scale_runner(self, runner: RunnerId, instances: InstanceCount) -> RunnerStatus:
        """Change how many instances a runner has; only the difference is started or stopped.

        Returns:
            Its status afterwards.

        Raises:
            RunnerNotFound: No runner has this id.
            UnitFailed: A new instance could not be started; it is tried again.
            OperationTimeout: An instance was not ready, or not stopped, in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        async with self._registry.known(runner) as stored:
            await self._replace(stored.definition, replace(stored.definition, instances=instances))
        return await self.get_runner_status(runner)

    async def plan_runner(self, runner: Runner) -> RunnerPlan:
        """Say what a definition would change, and whether the runner would be restarted for it. Changes nothing.

        Raises:
            InvalidRunner: The definition has faults; all are listed.
        """
        checked = await self._checked(runner)
        before = self._registry.get(runner.id).definition if runner.id in self._registry else None
        return plan(before, checked)

    async def update_runner(self, runner: Runner, at_once: AtOnce = 1) -> RunnerPlan:
        """Give a runner a new definition, and make it take effect on what runs.

        Changes that can be made live are. For others the instances are restarted, some at a time, the next ones only
        when those are ready; when one cannot be started, all go back to the old definition.

        Args:
            runner: The new definition; its id says which runner.
            at_once: How many instances are restarted at a time.

        Returns:
            What was changed.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidRunner: The definition has faults; all are listed.
            UnitFailed: It could not be started so; the old definition is in force again.
            OperationTimeout: It was not ready, or not stopped, in time; the old definition is in force again.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        checked = await self._checked(runner)
        async with self._registry.known(runner.id) as stored:
            change = plan(stored.definition, checked)
            await self._replace(stored.definition, checked, at_once=at_once)
            logger.info("updated runner %s: %s", runner.id, change.action, extra={"runner": runner.id})
            return change

    # -- inside --------------------------------------------------------------------------------------------------

    async def _replace(self, before: Runner, after: Runner, *, at_once: int = 1) -> None:
        """Put a definition in another's place, and bring what runs in line with it."""
        await self._registry.replace(after)
        await self._reconciler.trim(before, after)
        if self._registry.get(after.id).desired is not Desired.RUNNING:
            return
        change = plan(before, after)
        try:
            if change.action is PlanAction.RESTART:
                await self._reconciler.roll(after, at_once=at_once)
            else:
                await self._change_limits(change, after)
                await self._reconciler.start(after)
        except HeroError:
            if change.action is PlanAction.RESTART:
                await self._go_back(before, after)
            raise

    async def _go_back(self, before: Runner, after: Runner) -> None:
        logger.warning("runner %s goes back to its old definition", after.id, extra={"runner": after.id})
        await self._registry.replace(before)
        await self._reconciler.trim(after, before)
        await self._reconciler.roll(before, at_once=before.instances or 1)

    async def _change_limits(self, change: RunnerPlan, runner: Runner) -> None:
        fields = [each.field for each in change.changes if each.effect is ChangeEffect.LIVE]
        if not any(field.startswith("limits.") for field in fields):
            return
        properties = limit_properties(runner.limits)
        for name in self._instances.names(runner):
            if (await self._processes.status(name)).is_running:
                await self._processes.set_properties(name, properties)
