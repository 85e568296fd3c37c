"""Probes and ages of runners whose units are in memory; what probes try, and Redis, is real."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from hero_supervisor import errors
from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.definition.probe import Probe, TcpProbe
from hero_supervisor.definition.restart import Backoff
from hero_supervisor.records import ExitReason, RunnerState
from hero_supervisor.runner import Milestone, Runner
from hero_supervisor.testing import InMemoryExitSource, InMemoryLogSource, InMemoryProcessManager
from tests.redis_fixtures import RedisProcess, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from hero_supervisor.supervisor import Supervisor

UNIT = "hero-runner-a.service"


@pytest.fixture
def units() -> InMemoryProcessManager:
    return InMemoryProcessManager()


@pytest.fixture
def exits() -> InMemoryExitSource:
    return InMemoryExitSource()


@pytest.fixture
async def supervisor(
    units: InMemoryProcessManager, exits: InMemoryExitSource, tmp_path: Path, redis_url: str
) -> AsyncIterator[Supervisor]:
    builder = SupervisorBuilder().redis_url(redis_url).state_dir(tmp_path / "state")
    builder = builder.process_manager(units).log_source(InMemoryLogSource()).exit_source(exits)
    async with await builder.build() as supervisor:
        yield supervisor


class Port:
    """A port of this machine that accepts connections at times. The kernel does it: nobody takes them."""

    def __init__(self) -> None:
        self.number = 0
        self._sock: socket.socket | None = None
        self.open()

    def open(self) -> None:
        self._sock = socket.create_server(("127.0.0.1", self.number), backlog=1000)
        self.number = self._sock.getsockname()[1]

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()


@contextmanager
def opened() -> Iterator[Port]:
    port = Port()
    yield port
    port.close()


def tcp(port: Port, **fields: Any) -> Probe:
    return Probe(tcp=TcpProbe(port=port.number), interval_s=0.1, **fields)


def runner(id: str = "a", **fields: Any) -> Runner:
    return Runner(**{"id": id, "command": ("/bin/sleep", "9"), "backoff": Backoff(delay_s=0.2, jitter=0), **fields})


async def status_of(supervisor: Supervisor, id: str = "a") -> RunnerState:
    return (await supervisor.get_runner_status(id)).status


async def is_(supervisor: Supervisor, state: RunnerState, id: str = "a") -> None:
    async def holds() -> bool:
        return await status_of(supervisor, id) is state

    await eventually(holds)


async def test_a_start_waits_for_the_readiness_probe(supervisor: Supervisor) -> None:
    with opened() as port:
        port.close()
        await supervisor.add_runner(runner(readiness_probe=tcp(port)))
        starting = asyncio.create_task(supervisor.start_runner("a"))
        await is_(supervisor, RunnerState.STARTING)
        assert not starting.done()
        port.open()
        assert (await starting).status is RunnerState.RUNNING


async def test_a_start_whose_probe_never_answers_fails_and_is_tried_again(
    supervisor: Supervisor, units: InMemoryProcessManager, exits: InMemoryExitSource
) -> None:
    with opened() as port:
        port.close()
        await supervisor.add_runner(runner(readiness_probe=tcp(port), start_timeout_s=0.5))
        with pytest.raises(errors.UnitFailed, match="'a': its readiness probe fails: connection refused"):
            await supervisor.start_runner("a")
        assert await status_of(supervisor) is RunnerState.BACKOFF
        assert list(exits.expected.values()) == [ExitReason.UNHEALTHY]
        port.open()
        await is_(supervisor, RunnerState.RUNNING)
        assert len(units.started) == 2


async def test_a_runner_that_is_not_ready_any_more_is_starting_and_is_not_replaced(
    supervisor: Supervisor, units: InMemoryProcessManager
) -> None:
    with opened() as port:
        await supervisor.add_runner(runner(readiness_probe=tcp(port, failure_threshold=1)))
        await supervisor.start_runner("a")
        port.close()
        await is_(supervisor, RunnerState.STARTING)
        port.open()
        await is_(supervisor, RunnerState.RUNNING)
        assert len(units.started) == 1


async def test_what_runs_but_is_not_ready_is_left_alone_by_a_start_and_by_changes(
    supervisor: Supervisor, units: InMemoryProcessManager
) -> None:
    with opened() as port:
        definition = runner(readiness_probe=tcp(port, failure_threshold=1), start_timeout_s=0.3)
        await supervisor.add_runner(definition)
        await supervisor.start_runner("a")
        port.close()
        await is_(supervisor, RunnerState.STARTING)
        assert (await supervisor.start_runner("a")).status is RunnerState.STARTING
        await supervisor.update_runner(replace(definition, labels={"a": "b"}))
        assert len(units.started) == 1
        assert await status_of(supervisor) is RunnerState.STARTING


async def test_a_stop_does_not_wait_for_a_probe(supervisor: Supervisor) -> None:
    with opened() as port:
        port.close()
        await supervisor.add_runner(runner(readiness_probe=tcp(port)))
        starting = asyncio.create_task(supervisor.start_runner("a"))
        await is_(supervisor, RunnerState.STARTING)
        assert (await supervisor.stop_runner("a")).status is RunnerState.STOPPED
        with pytest.raises(errors.Conflict):
            await starting


async def test_what_comes_after_a_runner_waits_until_it_is_ready_or_only_started(supervisor: Supervisor) -> None:
    with opened() as port:
        await supervisor.add_runner(runner("db", readiness_probe=tcp(port, failure_threshold=1)))
        await supervisor.start_runner("db")
        port.close()
        await is_(supervisor, RunnerState.STARTING, "db")
        await supervisor.add_runner(runner("soon", after={"db": Milestone.STARTED}))
        await supervisor.add_runner(runner("late", after={"db": Milestone.READY}, start_timeout_s=0.5))
        assert (await supervisor.start_runner("soon")).status is RunnerState.RUNNING
        with pytest.raises(errors.DependencyNotReady, match="db"):
            await supervisor.start_runner("late")


async def test_a_runner_that_is_not_alive_is_replaced_after_a_pause(
    supervisor: Supervisor, units: InMemoryProcessManager, exits: InMemoryExitSource
) -> None:
    with opened() as port:
        await supervisor.add_runner(runner(liveness_probe=tcp(port, failure_threshold=2)))
        first = await supervisor.start_runner("a")
        port.close()
        await is_(supervisor, RunnerState.BACKOFF)
        port.open()
        await is_(supervisor, RunnerState.RUNNING)
        assert exits.expected == {first.invocation_id: ExitReason.UNHEALTHY}
        assert len(units.started) == 2


async def test_a_heartbeat_in_redis_keeps_a_runner_alive(
    supervisor: Supervisor, units: InMemoryProcessManager, redis_server: RedisProcess
) -> None:
    async with Redis(unix_socket_path=str(redis_server.socket)) as redis:
        await redis.set("beat", "1", px=600)
        probe = Probe(heartbeat="beat", interval_s=0.1, failure_threshold=1)
        await supervisor.add_runner(runner(liveness_probe=probe, backoff=Backoff(delay_s=60)))
        await supervisor.start_runner("a")
        await asyncio.sleep(0.3)  # some tries
        assert await status_of(supervisor) is RunnerState.RUNNING
        await is_(supervisor, RunnerState.BACKOFF)
        assert len(units.started) == 1


async def test_a_command_is_run_in_a_unit_like_the_runners(
    supervisor: Supervisor, units: InMemoryProcessManager
) -> None:
    probe = Probe(command=("/bin/true",), interval_s=0.1)
    await supervisor.add_runner(runner(readiness_probe=probe, command=("/bin/sleep", "77")))
    await supervisor.start_runner("a")
    of_runner, of_probe = ({prop.name: prop.value for prop in unit.properties} for unit in units.started[:2])
    assert units.started[1].name.startswith("hero-probe-a-")
    assert (of_probe["Type"], of_probe["Restart"], of_probe["ExecStartEx"]) == (
        "oneshot",
        "no",
        [["/bin/true", ["/bin/true"], ["no-env-expand"]]],
    )
    assert {name for name in of_runner if of_probe.get(name) != of_runner[name]} <= {
        *("CollectMode", "Environment", "ExecStartEx", "Restart", "StateDirectory", "StateDirectoryMode"),
        *("TimeoutStartUSec", "TimeoutStopUSec", "Type"),
    }


async def test_an_instance_is_replaced_at_its_age(
    supervisor: Supervisor, units: InMemoryProcessManager, exits: InMemoryExitSource
) -> None:
    await supervisor.add_runner(runner(max_age_s=0.5, max_age_jitter_s=0.2, instances=2))
    await supervisor.start_runner("a")
    await eventually(lambda: len(units.started) >= 4)
    assert set(exits.expected.values()) == {ExitReason.MAX_AGE}
    await supervisor.stop_runner("a")


async def test_what_drains_is_not_replaced_at_its_age(supervisor: Supervisor, units: InMemoryProcessManager) -> None:
    await supervisor.add_runner(runner(max_age_s=0.3, drain_signal="SIGUSR1"))
    await supervisor.start_runner("a")
    with pytest.raises(errors.OperationTimeout):
        await supervisor.drain_runner("a", timeout=0.8)
    assert len(units.started) == 1
    await supervisor.stop_runner("a")


async def test_an_instance_is_replaced_when_its_calendar_says_so(
    supervisor: Supervisor, units: InMemoryProcessManager
) -> None:
    await supervisor.add_runner(runner(restart_calendar="*:*:*"))  # every second
    await supervisor.start_runner("a")
    await eventually(lambda: len(units.started) >= 3)
    await supervisor.stop_runner("a")


async def test_a_calendar_that_is_none_is_told_when_the_runner_is_added(supervisor: Supervisor) -> None:
    with pytest.raises(errors.InvalidRunner, match="restart_calendar"):
        await supervisor.add_runner(runner(restart_calendar="25:00"))


async def test_probes_end_with_the_runner(supervisor: Supervisor) -> None:
    with opened() as port:
        await supervisor.add_runner(runner(liveness_probe=tcp(port, failure_threshold=1)))
        await supervisor.start_runner("a")
        await supervisor.stop_runner("a")
        await eventually(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("probe-")])
        await supervisor.remove_runner("a")


@pytest.mark.parametrize("name", ["readiness_probe", "liveness_probe"])
@pytest.mark.parametrize(
    ("probe", "path"),
    [
        ({"tcp": {"port": 1, "host": "192.0.2.1"}}, "tcp.host"),
        ({"tcp": {"port": 1}, "interval_s": 0}, "interval_s"),
        ({}, "tcp"),
    ],
)
def test_a_probe_that_is_not_valid_is_told_by_its_path(name: str, probe: dict[str, Any], path: str) -> None:
    with pytest.raises(errors.InvalidRunner, match=f"{name}.{path}"):
        Runner.from_data({"id": "a", "command": ["x"], name: probe})
