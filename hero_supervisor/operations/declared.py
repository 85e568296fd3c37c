"""Runners as a set that is declared, in the configuration or by a client: what is to be there, and the way to it.

Applying a set touches only what differs. A runner that the set does not have stays, unless pruning is asked for; then
those go that came by an earlier set. Runners that were added one by one are never touched.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hero_supervisor.engine.order import stages
from hero_supervisor.engine.plan import plan
from hero_supervisor.errors import Fault, InvalidRunner
from hero_supervisor.records import Operation, PlanAction, RunnerPlan, RunnerState, Verb
from hero_supervisor.runner import Runner

from .fleet import FleetOperations

Definitions = Annotated[tuple[Runner, ...], Meta(max_length=1000, description="Definitions of runners.")]


class DeclaredOperations(FleetOperations):
    """What can be done with a declared set of runners."""

    async def plan_runners(self, runners: Definitions, prune: bool = False) -> list[RunnerPlan]:  # noqa: FBT001, FBT002  # an argument's name on the wire
        """Say what applying a set would do. Changes nothing.

        Args:
            runners: The set.
            prune: Whether runners of earlier sets that this one does not have would be removed.

        Raises:
            InvalidRunner: A definition has faults; those of all are listed.
        """
        checked = await self._checked_set(runners)
        plans = [plan(self._known_definition(runner.id), runner) for runner in checked]
        surplus = [RunnerPlan(id=id, action=PlanAction.REMOVE, changes=()) for id in self._surplus(checked)]
        return [*plans, *surplus] if prune else plans

    async def apply_runners(
        self,
        runners: Definitions,
        prune: bool = False,  # noqa: FBT001, FBT002  # arguments' names on the wire
        wait: bool = True,  # noqa: FBT001, FBT002
    ) -> Operation:
        """Make runners as a set declares them: add what is missing, change what differs, restart what has to be.

        A runner that is new is started if its ``autostart`` says so.

        Args:
            runners: The set.
            prune: Also remove runners of earlier sets that this one does not have.
            wait: Return when all is done, and not at once.

        Returns:
            The operation, with an outcome for each runner that is touched.

        Raises:
            InvalidRunner: A definition has faults; those of all are listed, and nothing is changed.
        """
        plans = await self.plan_runners(runners, prune)
        definitions = {runner.id: runner for runner in await self._checked_set(runners)}
        touched = {each.id: each.action for each in plans if each.action is not PlanAction.NOTHING}

        async def work(id: str) -> RunnerState | None:
            if touched[id] is PlanAction.REMOVE:
                await self.remove_runner(id)
                return None
            return await self._apply(definitions[id], touched[id])

        order = stages(touched, {id: definitions[id].after for id in touched if id in definitions})
        operation_id = self._bulk.begin(Verb.APPLY, order, work)
        if wait:
            await self._bulk.wait(operation_id)
        return self._bulk.get(operation_id)

    async def _apply(self, runner: Runner, action: PlanAction) -> RunnerState:
        if action is PlanAction.ADD:
            return (await self._add(runner, is_declared=True)).status
        await self.update_runner(runner)
        return (await self.get_runner_status(runner.id)).status

    def _known_definition(self, id: str) -> Runner | None:
        return self._registry.get(id).definition if id in self._registry else None

    def _surplus(self, runners: list[Runner]) -> list[str]:
        kept = {runner.id for runner in runners}
        return [id for id in self._registry if self._registry.get(id).is_declared and id not in kept]

    async def _checked_set(self, runners: tuple[Runner, ...]) -> list[Runner]:
        checked, faults = [], []
        for index, runner in enumerate(runners):
            try:
                checked.append(await self._checked(runner))
            except InvalidRunner as exc:
                faults += [Fault(f"runners[{index}].{fault.path}", fault.message) for fault in exc.faults]
        ids = [runner.id for runner in runners]
        faults += [
            Fault("runners", f"has runner '{id}' more than once") for id in sorted(set(ids)) if ids.count(id) > 1
        ]
        if faults:
            raise InvalidRunner(faults)
        return checked
