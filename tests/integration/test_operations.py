"""Operations on runners whose units are in memory, on a real Redis. What they do to real units is in e2e."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hero_supervisor import errors
from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.definition.limits import Limits
from hero_supervisor.definition.restart import Backoff
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.records import OperationState, PlanAction, RunnerState, Verb
from hero_supervisor.runner import Milestone, Runner
from hero_supervisor.testing import InMemoryLogSource, InMemoryProcessManager
from hero_supervisor.unit import systemd_run_line
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.unit import TransientUnit, UnitStatus

SLEEP = ("/bin/sleep", "9")


class Units(InMemoryProcessManager):
    """Units whose start and stop can be held up."""

    def __init__(self) -> None:
        super().__init__()
        #: Names of units, in the order in which they were stopped.
        self.stopped: list[str] = []
        self.held: set[str] = set()
        self.released = asyncio.Event()

    async def start(self, unit: TransientUnit) -> UnitStatus:
        await self._pass(unit.name)
        return await super().start(unit)

    async def stop(self, unit_name: str, *, timeout_s: float) -> UnitStatus:
        await self._pass(unit_name)
        self.stopped.append(unit_name)
        return await super().stop(unit_name, timeout_s=timeout_s)

    async def _pass(self, unit_name: str) -> None:
        if unit_name in self.held:
            await self.released.wait()

    def names_started(self) -> list[str]:
        return [unit.name.removeprefix("hero-runner-").removesuffix(".service") for unit in self.started]


@pytest.fixture
def units() -> Units:
    return Units()


@pytest.fixture
async def supervisor(units: Units, tmp_path: Path, redis_url: str) -> AsyncIterator[Supervisor]:
    builder = SupervisorBuilder().redis_url(redis_url).state_dir(tmp_path / "state")
    builder.default_sandbox(Sandbox.TRUSTED)  # programs of tests are where a sandbox hides them
    async with await builder.process_manager(units).log_source(InMemoryLogSource()).build() as supervisor:
        yield supervisor


def runner(id: str = "a", **fields: Any) -> Runner:
    return Runner(**{"id": id, "command": SLEEP, "backoff": Backoff(delay_s=60), **fields})


async def started(supervisor: Supervisor, *runners: Runner) -> None:
    for each in runners:
        await supervisor.add_runner(each)
        await supervisor.start_runner(each.id)


# -- many runners --------------------------------------------------------------------------------------------------


async def test_an_operation_works_on_those_that_are_chosen_and_reports_each(supervisor: Supervisor) -> None:
    for each in (runner("web-1"), runner("web-2"), runner("bad", command=("/no/such/program",)), runner("db")):
        await supervisor.add_runner(each)
    operation = await supervisor.operate_runners(Verb.START, ("web-*", "bad"))
    assert (operation.verb, operation.state) == (Verb.START, OperationState.DONE)
    assert [(each.id, each.status, each.kind) for each in operation.outcomes] == [
        ("web-1", RunnerState.RUNNING, None),
        ("web-2", RunnerState.RUNNING, None),
        ("bad", None, "command-not-executable"),
    ]
    assert (await supervisor.get_runner_status("db")).status is RunnerState.STOPPED


async def test_an_operation_that_is_not_waited_for_can_be_looked_at_until_it_ends(
    supervisor: Supervisor, units: Units
) -> None:
    for id in ("a", "b"):
        await supervisor.add_runner(runner(id))
    units.held = {"hero-runner-b.service"}
    operation = await supervisor.operate_runners(Verb.START, ("*",), wait=False)
    assert operation.state is OperationState.RUNNING

    async def a_is_done() -> bool:
        outcomes = (await supervisor.get_operation(operation.id)).outcomes
        return [each.is_done for each in outcomes] == [True, False]

    await eventually(a_is_done)
    units.released.set()

    async def all_is_done() -> bool:
        return (await supervisor.get_operation(operation.id)).state is OperationState.DONE

    await eventually(all_is_done)
    assert [each.id for each in await supervisor.list_operations()] == [operation.id]


async def test_waiting_ends_at_the_callers_time_and_the_operation_goes_on(supervisor: Supervisor, units: Units) -> None:
    await supervisor.add_runner(runner())
    units.held = {"hero-runner-a.service"}
    operation = await supervisor.operate_runners(Verb.START, ("a",), timeout=0.05)
    assert operation.state is OperationState.RUNNING
    units.released.set()
    await eventually(lambda: units.names_started() == ["a"])


async def test_a_cancelled_operation_goes_no_further(supervisor: Supervisor, units: Units) -> None:
    for each in (runner("a"), runner("b", after={"a": Milestone.STARTED})):
        await supervisor.add_runner(each)
    units.held = {"hero-runner-a.service"}
    operation = await supervisor.operate_runners(Verb.START, ("*",), wait=False)
    await asyncio.sleep(0.05)
    cancelled = await supervisor.cancel_operation(operation.id)
    assert cancelled.state is OperationState.CANCELLED
    assert [each.is_done for each in cancelled.outcomes] == [False, False]
    assert (await supervisor.cancel_operation(operation.id)).state is OperationState.CANCELLED


async def test_a_stop_does_not_wait_for_a_start(supervisor: Supervisor, units: Units) -> None:
    await supervisor.add_runner(runner(instances=2))
    units.held = {"hero-runner-a@2.service"}
    starting = asyncio.create_task(supervisor.start_runner("a"))
    await eventually(lambda: units.names_started() == ["a"])
    units.held = set()
    assert (await supervisor.stop_runner("a")).status is RunnerState.STOPPED
    with pytest.raises(errors.Conflict, match=r"'hero-runner-a@2\.service': a later stop canceled it"):
        await starting
    assert (await supervisor.get_runner_status("a")).next_start is None


async def test_one_runners_stop_waits_for_no_other(supervisor: Supervisor, units: Units) -> None:
    await started(supervisor, runner("slow"), runner("a"))
    units.held = {"hero-runner-slow.service"}
    operation = await supervisor.operate_runners(Verb.STOP, ("slow",), wait=False)
    assert (await supervisor.stop_runner("a")).status is RunnerState.STOPPED
    assert (await supervisor.get_operation(operation.id)).state is OperationState.RUNNING
    units.released.set()


async def test_an_unknown_operation_is_named(supervisor: Supervisor) -> None:
    for ask in (supervisor.get_operation, supervisor.cancel_operation):
        with pytest.raises(errors.OperationNotFound, match="'nope'"):
            await ask("nope")


@pytest.mark.parametrize(("verb", "name"), [(Verb.SIGNAL, None), (Verb.STOP, "SIGHUP")])
async def test_a_signal_goes_with_its_verb_only(supervisor: Supervisor, verb: Verb, name: str | None) -> None:
    with pytest.raises(errors.InvalidInput, match="signal"):
        await supervisor.operate_runners(verb, ("*",), signal=name)


# -- order ---------------------------------------------------------------------------------------------------------

CHAIN = (
    runner("web", after={"app": Milestone.READY}),
    runner("app", after={"db": Milestone.STARTED}),
    runner("db"),
)


async def test_runners_start_after_those_they_need_and_stop_before_them(supervisor: Supervisor, units: Units) -> None:
    for each in CHAIN:
        await supervisor.add_runner(each)
    await supervisor.start_all()
    assert units.names_started() == ["db", "app", "web"]
    await supervisor.stop_all()
    assert units.stopped == [f"hero-runner-{id}.service" for id in ("web", "app", "db")]


async def test_a_runner_that_needs_a_stopped_one_says_so(supervisor: Supervisor) -> None:
    for each in CHAIN:
        await supervisor.add_runner(each)
    with pytest.raises(
        errors.DependencyNotReady, match="'web': it comes after 'app', which is not meant to run"
    ) as caught:
        await supervisor.start_runner("web")
    assert "herosup runner start app" in str(caught.value.hint)


async def test_a_runner_waits_for_one_that_fails_until_its_time_is_up(supervisor: Supervisor, units: Units) -> None:
    await started(supervisor, runner("db"))
    units.end("hero-runner-db.service")
    await supervisor.add_runner(runner("app", after={"db": Milestone.READY}, start_timeout_s=0.3))
    with pytest.raises(errors.DependencyNotReady, match=r"not there within 0\.3 s"):
        await supervisor.start_runner("app")


async def test_runners_that_would_wait_for_one_another_are_refused(supervisor: Supervisor) -> None:
    await supervisor.add_runner(runner("a", after={"b": Milestone.STARTED}))
    with pytest.raises(errors.InvalidRunner, match="after"):
        await supervisor.add_runner(runner("b", after={"a": Milestone.STARTED}))
    assert await supervisor.list_runners() == ["a"]


async def test_after_a_reboot_runners_come_up_in_their_order(
    supervisor: Supervisor, units: Units, tmp_path: Path, redis_url: str
) -> None:
    for each in CHAIN:
        await supervisor.add_runner(each)
    await supervisor.start_all()
    await supervisor.close()
    for unit in tuple(units.started):
        await units.stop(unit.name, timeout_s=1)
    units.started.clear()
    builder = SupervisorBuilder().redis_url(redis_url).state_dir(tmp_path / "state")
    async with await builder.process_manager(units).log_source(InMemoryLogSource()).build():
        await eventually(lambda: units.names_started() == ["db", "app", "web"])


# -- one runner ----------------------------------------------------------------------------------------------------


async def test_signals_go_to_the_main_process_of_every_instance(supervisor: Supervisor, units: Units) -> None:
    await started(supervisor, runner(instances=2))
    await supervisor.signal_runner("a", "SIGUSR1")
    assert units.done == [
        ("signal", "hero-runner-a.service", signal.SIGUSR1),
        ("signal", "hero-runner-a@2.service", signal.SIGUSR1),
    ]


async def test_a_kill_hits_all_and_waits_for_no_stop_under_way(supervisor: Supervisor, units: Units) -> None:
    await started(supervisor, runner())
    units.held = {"hero-runner-a.service"}
    stopping = asyncio.create_task(supervisor.stop_runner("a"))
    await asyncio.sleep(0.01)
    await supervisor.kill_runner("a")
    assert units.done == [("kill", "hero-runner-a.service", signal.SIGKILL)]
    units.released.set()
    await stopping


@pytest.mark.parametrize("name", ["SIGNOPE", "SIG"])
async def test_a_signal_that_does_not_exist_is_refused(supervisor: Supervisor, name: str) -> None:
    await started(supervisor, runner())
    with pytest.raises(errors.InvalidInput, match="signal"):
        await supervisor.signal_runner("a", name)


async def test_a_runner_that_does_not_run_cannot_be_signalled(supervisor: Supervisor) -> None:
    await supervisor.add_runner(runner())
    with pytest.raises(errors.Conflict, match="no process"):
        await supervisor.signal_runner("a", "SIGHUP")


async def test_a_reload_is_a_signal_or_a_command_or_refused(supervisor: Supervisor, units: Units) -> None:
    await started(supervisor, runner(reload_signal="SIGHUP"), runner("b", reload_command=SLEEP), runner("c"))
    await supervisor.reload_runner("a")
    await supervisor.reload_runner("b")
    with pytest.raises(errors.Conflict, match="neither"):
        await supervisor.reload_runner("c")
    assert [each[0] for each in units.done] == ["signal", "reload"]


async def test_scaling_touches_only_the_difference(supervisor: Supervisor, units: Units) -> None:
    await started(supervisor, runner())
    assert len((await supervisor.scale_runner("a", 3)).instances) == 3
    assert units.names_started() == ["a", "a@2", "a@3"]
    await supervisor.scale_runner("a", 1)
    assert sorted(units.stopped) == ["hero-runner-a@2.service", "hero-runner-a@3.service"]
    assert (await supervisor.scale_runner("a", 0)).status is RunnerState.STOPPED
    assert units.stopped[-1] == "hero-runner-a.service"
    assert (await supervisor.scale_runner("a", 1)).status is RunnerState.RUNNING


async def test_scaling_a_stopped_runner_starts_nothing(supervisor: Supervisor, units: Units) -> None:
    await supervisor.add_runner(runner())
    await supervisor.scale_runner("a", 5)
    assert units.started == []


async def test_limits_change_while_it_runs(supervisor: Supervisor, units: Units) -> None:
    await started(supervisor, runner())
    change = await supervisor.update_runner(runner(limits=Limits(memory_max_bytes=2**20, tasks_max=7)))
    assert change.action is PlanAction.CHANGE
    ((verb, unit, values),) = units.done
    assert (verb, unit) == ("set", "hero-runner-a.service")
    assert isinstance(values, dict)
    assert (values["MemoryMax"], values["TasksMax"]) == (2**20, 7)
    assert len(units.started) == 1


async def test_other_changes_restart_one_instance_after_the_other(supervisor: Supervisor, units: Units) -> None:
    await started(supervisor, runner(instances=3))
    change = await supervisor.update_runner(runner(instances=3, command=("/bin/sleep", "8")))
    assert change.action is PlanAction.RESTART
    assert units.names_started() == ["a", "a@2", "a@3"] * 2
    assert (await supervisor.get_runner_status("a")).status is RunnerState.RUNNING


async def test_an_update_that_cannot_be_started_goes_back(supervisor: Supervisor, units: Units) -> None:
    await started(supervisor, runner(instances=2))
    with pytest.raises(errors.CommandNotExecutable):
        await supervisor.update_runner(runner(instances=2, command=("/no/such/program",)))
    assert (await supervisor.get_runner_status("a")).status is RunnerState.RUNNING
    assert (await supervisor.plan_runner(runner(instances=2))).action is PlanAction.NOTHING
    assert units.stopped.count("hero-runner-a@2.service") == 1  # only to go back


async def test_an_update_of_a_stopped_runner_starts_nothing(supervisor: Supervisor, units: Units) -> None:
    await supervisor.add_runner(runner())
    await supervisor.update_runner(runner(command=("/bin/sleep", "8")))
    assert units.started == []


async def test_a_plan_changes_nothing(supervisor: Supervisor, units: Units) -> None:
    await started(supervisor, runner())
    assert (await supervisor.plan_runner(runner(command=("/bin/true",)))).action is PlanAction.RESTART
    assert (await supervisor.plan_runner(runner("new"))).action is PlanAction.ADD
    assert await supervisor.list_runners() == ["a"]
    assert len(units.started) == 1


async def test_a_rendered_unit_is_the_one_that_is_started(supervisor: Supervisor, units: Units) -> None:
    definition = runner(instances=2, queue="jobs", extra_properties={"BindReadOnlyPaths": ["/srv"]}, sandbox="strict")
    rendered = await supervisor.render_runner(definition, 2)
    assert await supervisor.list_runners() == []
    await started(supervisor, definition)
    unit = next(each for each in units.started if each.name.endswith("@2.service"))
    assert rendered.name == unit.name
    assert [(prop.name, prop.signature) for prop in rendered.properties] == [prop[:2] for prop in unit.properties]
    assert rendered.command_line == systemd_run_line(unit, is_user=True)
    assert (rendered.unsayable, rendered.left_out) == (("AddRef",), unit.left_out)


async def test_a_rendered_unit_is_ready_for_json(supervisor: Supervisor) -> None:
    rendered = await supervisor.render_runner(runner(limits=Limits(tasks_max=7)))
    values = {prop["name"]: prop["value"] for prop in json.loads(msgspec.json.encode(rendered))["properties"]}
    assert values["ExecStartEx"] == [["/bin/sleep", ["/bin/sleep", "9"], ["no-env-expand"]]]
    assert values["TasksMax"] == 7
    assert all("=" in field for field in values["LogExtraFields"])  # bytes on D-Bus


async def test_what_cannot_be_carried_out_here_is_not_rendered(supervisor: Supervisor) -> None:
    with pytest.raises(errors.InvalidRunner, match="user"):
        await supervisor.render_runner(runner(user="nobody"))


async def test_a_definition_can_be_had_back(supervisor: Supervisor) -> None:
    await supervisor.add_runner(runner(labels={"tier": "web"}))
    assert await supervisor.get_runner("a") == runner(labels={"tier": "web"})
    with pytest.raises(errors.RunnerNotFound):
        await supervisor.get_runner("b")


async def test_rolling_stops_at_the_first_that_cannot_be_started(
    supervisor: Supervisor, units: Units, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.touch(mode=0o700)
    await started(supervisor, runner(instances=4, command=(str(program),), sandbox=Sandbox.TRUSTED))
    program.unlink()
    with pytest.raises(errors.CommandNotExecutable):
        await supervisor.roll_runner("a", at_once=2)
    assert sorted(units.stopped) == ["hero-runner-a.service", "hero-runner-a@2.service"]


async def test_a_runner_that_wants_it_is_started_when_it_is_added(supervisor: Supervisor) -> None:
    assert (await supervisor.add_runner(runner(autostart=True))).status is RunnerState.RUNNING


# -- declared sets -------------------------------------------------------------------------------------------------


def declared(id: str, **fields: Any) -> Runner:
    return runner(id, autostart=True, **fields)


async def test_applying_a_set_touches_only_what_differs(supervisor: Supervisor, units: Units) -> None:
    await supervisor.apply_runners((declared("same"), declared("changed"), declared("scaled")))
    units.started.clear()
    wanted = (
        declared("same"),
        declared("changed", env={"A": "b"}),
        declared("scaled", instances=2),
        declared("new"),
    )
    plans = await supervisor.plan_runners(wanted)
    assert [plan.action.value for plan in plans] == ["nothing", "restart", "change", "add"]
    operation = await supervisor.apply_runners(wanted)
    assert {each.id: each.status for each in operation.outcomes} == dict.fromkeys(
        ("changed", "scaled", "new"), RunnerState.RUNNING
    )
    assert sorted(units.names_started()) == ["changed", "new", "scaled@2"]


async def test_only_pruning_removes_and_only_what_was_declared(supervisor: Supervisor) -> None:
    await supervisor.add_runner(runner("by-call"))
    await supervisor.apply_runners((declared("a"), declared("b")))
    await supervisor.apply_runners((declared("a"),))
    assert await supervisor.list_runners() == ["by-call", "a", "b"]
    assert [plan.action.value for plan in await supervisor.plan_runners((declared("a"),), prune=True)] == [
        "nothing",
        "remove",
    ]
    await supervisor.apply_runners((declared("a"),), prune=True)
    assert await supervisor.list_runners() == ["by-call", "a"]


async def test_a_set_with_faults_changes_nothing_and_all_are_told(supervisor: Supervisor) -> None:
    twice = (declared("a"), declared("b", command=("bin/x",)), declared("a"))
    with pytest.raises(errors.InvalidRunner) as caught:
        await supervisor.apply_runners(twice)
    assert [fault.path for fault in caught.value.faults] == ["runners[1].command[0]", "runners"]
    assert await supervisor.list_runners() == []


async def test_what_an_operator_stopped_stays_stopped_when_its_set_is_applied_again(supervisor: Supervisor) -> None:
    await supervisor.apply_runners((declared("a"),))
    await supervisor.stop_runner("a")
    await supervisor.apply_runners((declared("a", labels={"x": "y"}),))
    assert (await supervisor.get_runner_status("a")).status is RunnerState.STOPPED


async def test_a_set_is_started_in_its_order(supervisor: Supervisor, units: Units) -> None:
    await supervisor.apply_runners(tuple(declared(each.id, after=each.after) for each in CHAIN))
    assert units.names_started() == ["db", "app", "web"]


async def test_applying_is_no_verb_for_chosen_runners(supervisor: Supervisor) -> None:
    with pytest.raises(errors.InvalidInput, match="apply_runners"):
        await supervisor.operate_runners(Verb.APPLY, ("*",))
