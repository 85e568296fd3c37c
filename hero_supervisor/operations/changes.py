"""Definitions of runners: the present ones, new ones and what they change, and the units they make."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import replace

from hero_supervisor.engine.plan import plan
from hero_supervisor.errors import Conflict, Fault, InvalidRunner
from hero_supervisor.records import RenderedProperty, RenderedUnit, RunnerPlan, RunnerStatus
from hero_supervisor.runner import Runner, RunnerId
from hero_supervisor.unit import systemd_run_line, unsayable

from .lifecycle import AtOnce, LifecycleOperations

logger = logging.getLogger(__name__)

InstanceNumber = Annotated[int, Meta(ge=1, le=64, description="Which of its instances, from 1 to 64.")]
InstanceCount = Annotated[int, Meta(ge=0, le=64, description="Number of instances, from 0 to 64.")]


class ChangeOperations(LifecycleOperations):
    """Looking at the definition of one runner, and changing it."""

    async def get_runner(self, runner: RunnerId) -> Runner:
        """Return the definition of a runner, with the default of every field that it does not say.

        Raises:
            RunnerNotFound: No runner has this id.
        """
        return self._registry.get(runner).definition

    async def render_runner(self, runner: Runner, instance: InstanceNumber = 1) -> RenderedUnit:
        """Return the unit that a definition makes here, as it would be started. Changes nothing.

        Args:
            runner: The definition; no runner needs to have its id.
            instance: Which instance.

        Raises:
            InvalidRunner: The definition has faults, or cannot be carried out here; all are listed.
        """
        checked = await self._checked(runner)
        if checked.external:
            raise InvalidRunner([Fault("external", "makes no unit: its processes are started by others")])
        unit = self._instances.unit(checked, instance)
        return RenderedUnit(
            name=unit.name,
            properties=tuple(
                RenderedProperty(name=prop.name, signature=prop.signature, value=_plain(prop.value))
                for prop in unit.properties
            ),
            command_line=systemd_run_line(unit, is_user=self._processes.capabilities.is_user),
            unsayable=unsayable(unit),
            left_out=unit.left_out,
        )

    async def scale_runner(self, runner: RunnerId, instances: InstanceCount) -> RunnerStatus:
        """Change how many instances a runner has; only the difference is started or stopped.

        Returns:
            Its status afterwards.

        Raises:
            RunnerNotFound: No runner has this id.
            Conflict: It is external: its processes are started by others.
            UnitFailed: A new instance could not be started; it is tried again.
            OperationTimeout: An instance was not ready, or not stopped, in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        async with self._registry.known(runner) as stored:
            if stored.definition.external:
                text = f"cannot scale runner '{runner}': it is external, its processes are started by others"
                raise Conflict(text, runner=runner)
            await self._reconciler.changes.settle(runner)  # it may lead back to another definition
            await self._reconciler.changes.make(replace(self._registry.get(runner).definition, instances=instances))
            self._keeper.look_at(runner)
        return await self.get_runner_status(runner)

    async def plan_runner(self, runner: Runner) -> RunnerPlan:
        """Say what a definition would change, and whether the runner would be restarted for it. Changes nothing.

        Args:
            runner: The new definition; its id says which runner.

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
        async with self._registry.known(runner.id):
            change = await self._reconciler.changes.make(checked, at_once=at_once)
            self._keeper.look_at(runner.id)
            logger.info("updated runner %s: %s", runner.id, change.action, extra={"runner": runner.id})
            return change


def _plain(value: object) -> Any:
    """Return a property's value ready for JSON: fields of log entries are bytes on D-Bus."""
    if isinstance(value, bytes):
        return value.decode()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
