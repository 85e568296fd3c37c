"""Operations that are broken off half way, by a crash or because systemd cannot be reached, and what makes them whole.

Units are in memory: they are lost, held up and unreachable at the very call where it matters. A crash is a supervisor
whose operation was cancelled there, and a new one on the same state directory.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest

from hero_supervisor import errors
from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.definition.limits import Limits
from hero_supervisor.definition.restart import Backoff
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.engine import reconcile
from hero_supervisor.records import ExitReason, OperationState, PlanAction, RunnerState, Verb
from hero_supervisor.runner import Runner
from hero_supervisor.testing import InMemoryExitSource, InMemoryLogSource, InMemoryProcessManager
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.unit import Property, TransientUnit, UnitStatus

    Open = Callable[..., Any]

OLD, NEW = ("/bin/sleep", "8"), ("/bin/sleep", "9")
FIRST, SECOND, THIRD = "hero-runner-a.service", "hero-runner-a@2.service", "hero-runner-a@3.service"


class Units(InMemoryProcessManager):
    """Units that cannot be reached, or hang, at a verb on a name."""

    def __init__(self) -> None:
        super().__init__()
        self.unreachable: set[tuple[str, str]] = set()
        self.hanging: set[tuple[str, str]] = set()
        self.reached = asyncio.Event()

    async def start(self, unit: TransientUnit) -> UnitStatus:
        await self._pass("start", unit.name)
        return await super().start(unit)

    async def stop(self, unit_name: str, *, timeout_s: float) -> UnitStatus:
        await self._pass("stop", unit_name)
        return await super().stop(unit_name, timeout_s=timeout_s)

    async def set_properties(self, unit_name: str, properties: Sequence[Property]) -> None:
        await self._pass("set", unit_name)
        await super().set_properties(unit_name, properties)

    async def _pass(self, verb: str, unit_name: str) -> None:
        if (verb, unit_name) in self.unreachable:
            raise errors.SystemdUnavailable("cannot reach systemd: cut off")
        if (verb, unit_name) in self.hanging:
            self.reached.set()
            await asyncio.Event().wait()

    def come_back(self) -> None:
        """Let everything through, and tell of it."""
        self.unreachable.clear()
        self.hanging.clear()
        for watcher in self._watchers:
            watcher.on_doubt()

    def become(self, name: str, **state: Any) -> None:
        """Change what is known of a unit."""
        self._units[name] = replace(self._units[name], **state)

    def running(self) -> dict[str, object]:
        """The commands of the units that run, by name."""
        commands = {unit.name: command_of(unit) for unit in self.started}
        return {name: commands[name] for name, unit in sorted(self._units.items()) if unit.is_running}


def command_of(unit: TransientUnit) -> tuple[str, ...]:
    value: Any = next(prop.value for prop in unit.properties if prop.name == "ExecStartEx")
    return tuple(value[0][1])


@pytest.fixture
def units() -> Units:
    return Units()


@pytest.fixture
def exits() -> InMemoryExitSource:
    return InMemoryExitSource()


@pytest.fixture
def opened(units: Units, exits: InMemoryExitSource, tmp_path: Path, redis_url: str) -> Open:
    """Open a supervisor on the same units and state as the one before."""

    @asynccontextmanager
    async def open_one(*declared: Runner) -> AsyncIterator[Supervisor]:
        units._watchers.clear()
        builder = SupervisorBuilder().redis_url(redis_url).state_dir(tmp_path / "state").runners(declared)
        builder.default_sandbox(Sandbox.TRUSTED).process_manager(units).log_source(InMemoryLogSource())
        async with await builder.exit_source(exits).build() as supervisor:
            yield supervisor

    return open_one


def runner(**fields: Any) -> Runner:
    return Runner(**{"id": "a", "command": OLD, "backoff": Backoff(delay_s=60), **fields})


async def started(supervisor: Supervisor, definition: Runner) -> None:
    await supervisor.add_runner(definition)
    await supervisor.start_runner(definition.id)


async def broken_off(units: Units, operation: Awaitable[object]) -> None:
    """Carry out an operation until it hangs, and cancel it there."""
    task = asyncio.ensure_future(operation)
    await units.reached.wait()
    units.hanging.clear()
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("at", [("stop", FIRST), ("start", FIRST), ("stop", SECOND), ("start", SECOND)])
async def test_an_update_that_a_crash_broke_off_is_undone_by_the_next_supervisor(
    units: Units, opened: Open, at: tuple[str, str]
) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner(instances=2))
        units.hanging = {at}
        await broken_off(units, supervisor.update_runner(runner(instances=2, command=NEW)))
    async with opened() as supervisor:
        await eventually(lambda: units.running() == {FIRST: OLD, SECOND: OLD})
        assert (await supervisor.plan_runner(runner(instances=2))).action is PlanAction.NOTHING
        assert (await supervisor.update_runner(runner(instances=2, command=NEW))).action is PlanAction.RESTART
        assert units.running() == {FIRST: NEW, SECOND: NEW}


async def test_an_update_that_a_lost_bus_broke_off_is_undone_when_it_is_back(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner(instances=2))
        units.unreachable = {("stop", SECOND)}
        with pytest.raises(errors.SystemdUnavailable):
            await supervisor.update_runner(runner(instances=2, command=NEW))
        assert units.running() == {FIRST: NEW, SECOND: OLD}
        units.come_back()
        await eventually(lambda: units.running() == {FIRST: OLD, SECOND: OLD})


async def test_a_crash_on_the_way_back_leads_back_all_the_same(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner(instances=2))
        units.hanging = {("stop", SECOND)}  # reached only when all go back
        wrong = runner(instances=2, command=("/no/such/program",))
        await broken_off(units, supervisor.update_runner(wrong))
    async with opened():
        await eventually(lambda: units.running() == {FIRST: OLD, SECOND: OLD})


async def test_a_stop_breaks_off_an_update_and_starts_nothing_of_it(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner(instances=2))
        units.hanging = {("start", FIRST)}
        update = asyncio.create_task(supervisor.update_runner(runner(instances=2, command=NEW)))
        await units.reached.wait()
        async with asyncio.timeout(5):
            assert (await supervisor.stop_runner("a")).status is RunnerState.STOPPED
        with pytest.raises(errors.Conflict):
            await update
        assert units.running() == {}
        assert (await supervisor.plan_runner(runner(instances=2))).action is PlanAction.NOTHING


async def test_a_stop_keeps_a_restart_that_is_half_way_from_starting(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner())
        held, stop = asyncio.Event(), units.stop

        async def slow_stop(unit_name: str, *, timeout_s: float) -> UnitStatus:
            await held.wait()
            return await stop(unit_name, timeout_s=timeout_s)

        units.stop = slow_stop  # type: ignore[method-assign]
        restart = asyncio.create_task(supervisor.restart_runner("a"))
        await asyncio.sleep(0.01)
        stopping = asyncio.create_task(supervisor.stop_runner("a"))
        starting = asyncio.create_task(
            supervisor.start_runner("a")
        )  # asked for later: it is not the stop's to break off
        await asyncio.sleep(0.01)
        held.set()
        with pytest.raises(errors.Conflict, match="a later stop canceled it"):
            await restart
        assert (await stopping).status is RunnerState.STOPPED
        assert (await starting).status is RunnerState.RUNNING
        assert len(units.started) == 2


async def test_a_scaling_down_that_was_broken_off_leaves_no_instance_behind(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner(instances=3))
        units.unreachable = {("stop", SECOND), ("stop", THIRD)}
        with pytest.raises(errors.SystemdUnavailable):
            await supervisor.scale_runner("a", 1)
        units.come_back()
        await eventually(lambda: units.running() == {FIRST: OLD})


async def test_limits_that_did_not_reach_systemd_are_set_later(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner())
        units.unreachable = {("set", FIRST)}
        with pytest.raises(errors.SystemdUnavailable):
            await supervisor.update_runner(runner(limits=Limits(tasks_max=7)))
        units.come_back()
        await eventually(lambda: [verb for verb, _, _ in units.done] == ["set"])


async def test_a_stop_finds_the_instances_that_a_broken_off_scaling_left(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner(instances=2))
        units.hanging = {("stop", SECOND)}
        await broken_off(units, supervisor.scale_runner("a", 1))
        await supervisor.stop_runner("a")
        assert units.running() == {}


async def test_instances_beyond_a_declared_number_are_stopped(units: Units, opened: Open) -> None:
    async with opened(runner(instances=3)):
        await eventually(lambda: len(units.running()) == 3)
    async with opened(runner(instances=1)):
        await eventually(lambda: units.running() == {FIRST: OLD})


async def test_a_stop_that_did_not_reach_systemd_is_made_up_for(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner())
        units.unreachable = {("stop", FIRST)}
        with pytest.raises(errors.SystemdUnavailable):
            await supervisor.stop_runner("a")
        units.come_back()
        await eventually(lambda: units.running() == {})
        assert (await supervisor.get_runner_status("a")).desired == "stopped"


async def test_a_start_after_a_stop_that_did_not_reach_systemd_is_what_counts(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner())
        units.unreachable = {("stop", FIRST)}
        with pytest.raises(errors.SystemdUnavailable):
            await supervisor.stop_runner("a")
        await supervisor.start_runner("a")
        units.come_back()
        await asyncio.sleep(0.1)  # nothing tells that nothing happens
        assert units.running() == {FIRST: OLD}


async def test_a_run_that_was_stopped_for_another_is_followed_by_it_after_a_crash(
    units: Units, opened: Open, exits: InMemoryExitSource
) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner())
    # Killed while it waited for the end of the stop; the run ended well, as if somebody had stopped it.
    run = await units.status(FIRST)
    exits.expected[run.invocation_id] = ExitReason.REPLACED
    units.become(FIRST, active_state="inactive", sub_state="dead", main_pid=0)
    async with opened():
        await eventually(lambda: units.running() == {FIRST: OLD})


async def test_a_start_waits_for_the_end_of_a_stop_that_is_under_way(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner())
        units.become(FIRST, active_state="deactivating", sub_state="stop-sigterm")
        refused = InMemoryProcessManager.start

        async def start(unit: TransientUnit) -> UnitStatus:
            if (await units.status(unit.name)).active_state == "deactivating":
                raise errors.UnitExists(f"cannot start unit '{unit.name}': it is deactivating already")
            return await refused(units, unit)

        units.start = start  # type: ignore[method-assign]  # as systemd answers then
        assert (await supervisor.start_runner("a")).status is RunnerState.RUNNING
        assert len(units.started) == 2


async def test_rolling_a_runner_that_is_not_meant_to_run_starts_nothing(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await supervisor.add_runner(runner())
        assert (await supervisor.roll_runner("a")).status is RunnerState.STOPPED
        assert units.started == []


async def test_a_runner_that_was_started_again_is_running_and_no_more_waiting(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner(backoff=Backoff(delay_s=0.05)))
        units.end(FIRST)
        await eventually(lambda: len(units.started) == 2)
        status = await supervisor.get_runner_status("a")
        assert (status.status, status.next_start) == (RunnerState.RUNNING, None)


async def test_the_status_of_all_is_told_while_one_is_removed(
    units: Units, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as supervisor:
        await supervisor.add_runner(runner())
        await supervisor.add_runner(runner(id="b"))
        look = units.status

        async def status(unit_name: str) -> UnitStatus:
            supervisor._registry._runners.pop("b", None)
            return await look(unit_name)

        monkeypatch.setattr(units, "status", status)
        assert [each.id for each in await supervisor.get_all_runner_status()] == ["a", "b"]


async def test_what_is_changed_again_before_it_is_settled_is_settled_first(units: Units, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, runner(instances=2))
        units.hanging = {("stop", SECOND)}
        await broken_off(units, supervisor.update_runner(runner(instances=2, command=NEW)))
        await supervisor.scale_runner("a", 1)
        assert units.running() == {FIRST: OLD}


async def test_a_fault_of_our_own_does_not_end_the_sweeps(
    units: Units, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "SWEEP_S", 0.02)
    async with opened() as supervisor:
        await started(supervisor, runner())
        with monkeypatch.context() as context:
            faulty = AsyncMock(side_effect=ValueError)
            context.setattr(units, "states", faulty)
            await eventually(lambda: faulty.await_count > 2)
        await units.stop(FIRST, timeout_s=1)
        await eventually(lambda: units.running() == {FIRST: OLD})


async def test_an_operation_that_is_cancelled_at_once_is_over(opened: Open) -> None:
    async with opened() as supervisor:
        await supervisor.add_runner(runner())
        begun = await supervisor.operate_runners(Verb.START, ("a",), wait=False)
        assert (await supervisor.cancel_operation(begun.id)).state is OperationState.CANCELLED


async def test_a_fault_of_our_own_with_one_runner_leaves_the_others(
    units: Units, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as supervisor:
        await supervisor.add_runner(runner())
        await supervisor.add_runner(runner(id="b"))
        start = supervisor.start_runner

        async def fail_for_b(id: str) -> object:
            if id == "b":
                raise ValueError
            return await start(id)

        monkeypatch.setattr(supervisor, "start_runner", fail_for_b)
        operation = await supervisor.operate_runners(Verb.START, ("*",))
        assert operation.state is OperationState.DONE
        assert [outcome.kind for outcome in operation.outcomes] == [None, "internal-error"]
        assert units.running() == {FIRST: OLD}
