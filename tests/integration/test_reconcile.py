"""The loop that keeps runners as they are meant to be, with units in memory. Time is real, and pauses are short."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hero_supervisor import errors
from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.definition.restart import Backoff, RestartPolicy
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.engine import reconcile
from hero_supervisor.runner import Runner
from hero_supervisor.testing import InMemoryLogSource, InMemoryProcessManager
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hero_supervisor.records import RunnerStatus
    from hero_supervisor.supervisor import Supervisor

QUICK = Backoff(delay_s=0.05, max_delay_s=0.2, jitter=0, stable_after_s=30)
UNIT = "hero-runner-a.service"


@pytest.fixture
def units() -> InMemoryProcessManager:
    return InMemoryProcessManager()


@pytest.fixture
async def supervisor(units: InMemoryProcessManager, tmp_path: Path, redis_url: str) -> AsyncIterator[Supervisor]:
    async with await build(units, tmp_path, redis_url) as supervisor:
        yield supervisor


async def build(units: InMemoryProcessManager, tmp_path: Path, redis_url: str, *declared: Runner) -> Supervisor:
    builder = SupervisorBuilder().redis_url(redis_url).state_dir(tmp_path / "state").runners(declared)
    builder.default_sandbox(Sandbox.TRUSTED)  # programs of tests are where a sandbox hides them
    return await builder.process_manager(units).log_source(InMemoryLogSource()).build()


def runner(*, instances: int = 1, backoff: Backoff = QUICK, restart: RestartPolicy = RestartPolicy.ALWAYS) -> Runner:
    return Runner(id="a", command=("/bin/sleep", "9"), instances=instances, backoff=backoff, restart=restart)


async def started(supervisor: Supervisor, definition: Runner) -> RunnerStatus:
    await supervisor.add_runner(definition)
    return await supervisor.start_runner(definition.id)


async def status_is(supervisor: Supervisor, status: str, desired: str = "running") -> None:
    async def holds() -> bool:
        found = await supervisor.get_runner_status("a")
        return (found.status, found.desired) == (status, desired)

    await eventually(holds)


async def starts(units: InMemoryProcessManager, number: int) -> None:
    await eventually(lambda: len(units.started) == number)


async def test_a_unit_that_systemd_gave_up_is_started_again(
    supervisor: Supervisor, units: InMemoryProcessManager
) -> None:
    first = await started(supervisor, runner())
    units.end(UNIT)
    await status_is(supervisor, "running")
    again = await supervisor.get_runner_status("a")
    assert again.invocation_id != first.invocation_id


async def test_while_it_waits_its_status_is_backoff_and_says_until_when(
    supervisor: Supervisor, units: InMemoryProcessManager
) -> None:
    await started(supervisor, runner(backoff=Backoff(delay_s=60)))
    units.end(UNIT)
    await status_is(supervisor, "backoff")
    assert (await supervisor.get_runner_status("a")).next_start is not None


async def test_pauses_grow_and_a_slow_retry_is_one_start(supervisor: Supervisor, units: InMemoryProcessManager) -> None:
    await started(supervisor, runner())
    times = []
    for number in range(2, 5):
        units.end(UNIT)
        began = asyncio.get_running_loop().time()
        await starts(units, number)
        times.append(asyncio.get_running_loop().time() - began)
    assert [property_of(units, number, "StartLimitBurst") for number in range(4)] == [6, 1, 1, 1]
    assert [property_of(units, number, "RestartUSec") for number in range(2)] == [1_000_000, 100_000]
    assert times[0] < times[1] < times[2]


def property_of(units: InMemoryProcessManager, start: int, name: str) -> object:
    return next(prop.value for prop in units.started[start].properties if prop.name == name)


async def test_a_runner_is_given_up_when_it_says_so(supervisor: Supervisor, units: InMemoryProcessManager) -> None:
    await started(supervisor, runner(backoff=Backoff(delay_s=0.01, max_delay_s=0.01, give_up_after=1)))
    units.end(UNIT)
    await starts(units, 2)
    units.end(UNIT)
    await status_is(supervisor, "failed")
    assert len(units.started) == 2


async def test_an_operators_start_makes_past_failures_forgotten(
    supervisor: Supervisor, units: InMemoryProcessManager
) -> None:
    await started(supervisor, runner(backoff=Backoff(delay_s=60)))
    units.end(UNIT)
    await status_is(supervisor, "backoff")
    assert (await supervisor.start_runner("a")).status == "running"
    assert property_of(units, 1, "StartLimitBurst") == 6


async def test_a_stop_ends_the_waiting(supervisor: Supervisor, units: InMemoryProcessManager) -> None:
    await started(supervisor, runner(backoff=Backoff(delay_s=0.2)))
    units.end(UNIT)
    await status_is(supervisor, "backoff")
    await supervisor.stop_runner("a")
    await asyncio.sleep(0.3)  # longer than the pause: nothing tells that nothing happens
    assert (await supervisor.get_runner_status("a")).status == "stopped"
    assert len(units.started) == 1


async def test_a_unit_that_ran_long_enough_is_forgiven(supervisor: Supervisor, units: InMemoryProcessManager) -> None:
    await started(supervisor, runner(backoff=Backoff(delay_s=0.01, max_delay_s=9, factor=100, stable_after_s=1)))
    for number in (2, 3):
        units.end(UNIT)
        await starts(units, number)
        await asyncio.sleep(1.2)  # stable_after_s
    units.end(UNIT)
    await starts(units, 4)


@pytest.mark.parametrize("policy", [RestartPolicy.ON_FAILURE, RestartPolicy.NEVER])
async def test_a_run_that_is_over_stays_over_also_for_the_next_supervisor(
    policy: RestartPolicy, units: InMemoryProcessManager, tmp_path: Path, redis_url: str
) -> None:
    async with await build(units, tmp_path, redis_url) as supervisor:
        await started(supervisor, runner(restart=policy))
        units.end(UNIT, active_state="inactive", exit_status=0)
        await status_is(supervisor, "stopped", desired="ended")
    await units.stop(UNIT, timeout_s=1)  # as systemd unloads it
    async with await build(units, tmp_path, redis_url) as supervisor:
        await status_is(supervisor, "stopped", desired="ended")
        assert len(units.started) == 1
        assert (await supervisor.start_runner("a")).desired == "running"


async def test_declared_runners_and_lost_ones_are_started(
    units: InMemoryProcessManager, tmp_path: Path, redis_url: str
) -> None:
    async with await build(units, tmp_path, redis_url, runner()) as supervisor:
        await status_is(supervisor, "running")
    await units.stop(UNIT, timeout_s=1)  # a reboot
    async with await build(units, tmp_path, redis_url) as supervisor:
        await status_is(supervisor, "running")


async def test_news_that_were_lost_are_found_by_the_sweep(
    units: InMemoryProcessManager, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "SWEEP_S", 0.05)
    async with await build(units, tmp_path, redis_url) as supervisor:
        await started(supervisor, runner())
        await units.stop(UNIT, timeout_s=1)
        await status_is(supervisor, "running")


async def test_a_runner_that_cannot_be_started_is_reported_and_tried_again(
    supervisor: Supervisor, units: InMemoryProcessManager, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    await supervisor.add_runner(Runner(id="a", command=(str(program),), backoff=QUICK, sandbox=Sandbox.TRUSTED))
    with pytest.raises(errors.CommandNotExecutable):
        await supervisor.start_runner("a")
    assert (await supervisor.get_runner_status("a")).status == "backoff"
    program.touch(mode=0o700)
    await status_is(supervisor, "running")
    assert len(units.started) == 1


async def test_every_instance_is_a_unit_and_only_the_failed_one_is_started_again(
    supervisor: Supervisor, units: InMemoryProcessManager
) -> None:
    status = await started(supervisor, runner(instances=3))
    names = [UNIT, "hero-runner-a@2.service", "hero-runner-a@3.service"]
    assert [each.unit for each in status.instances] == names
    units.end(names[1])
    await starts(units, 4)
    assert units.started[3].name == names[1]
    await supervisor.stop_runner("a")
    assert {each.status for each in (await supervisor.get_runner_status("a")).instances} == {"stopped"}


async def test_a_runner_without_instances_is_stopped(supervisor: Supervisor, units: InMemoryProcessManager) -> None:
    assert (await started(supervisor, runner(instances=0))).status == "stopped"
    assert units.started == []


async def test_a_runner_is_as_well_as_its_worst_instance(supervisor: Supervisor, units: InMemoryProcessManager) -> None:
    await started(supervisor, runner(instances=2, backoff=Backoff(delay_s=60)))
    units.end("hero-runner-a@2.service")
    await status_is(supervisor, "backoff")
    status = await supervisor.get_runner_status("a")
    assert (status.instance, status.unit) == (2, "hero-runner-a@2.service")
    assert [each.status for each in status.instances] == ["running", "backoff"]


async def test_units_of_nobody_are_no_news(supervisor: Supervisor) -> None:
    for name in ("hero-runner-x.service", "ssh.service", ""):
        supervisor._reconciler.on_ended(name)
