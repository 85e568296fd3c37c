"""What a supervisor knows again that was started anew: what is wanted of runners, and what has failed.

Units are in memory, and live on between two supervisors on the same state directory.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from hero_supervisor import errors, state
from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.definition.restart import Backoff
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.engine import reconcile
from hero_supervisor.runner import Runner
from hero_supervisor.state import Desired
from hero_supervisor.testing import InMemoryLogSource, InMemoryProcessManager
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from hero_supervisor.supervisor import Supervisor

    Open = Callable[[], Any]

UNIT = "hero-runner-a.service"
COMMAND = ("/bin/sleep", "9")
CUT_OFF = errors.SystemdUnavailable("cannot reach systemd: cut off")


@pytest.fixture
def units() -> InMemoryProcessManager:
    return InMemoryProcessManager()


@pytest.fixture
def opened(units: InMemoryProcessManager, tmp_path: Path, redis_url: str) -> Open:
    """Open a supervisor on the same units and state as the one before."""

    @asynccontextmanager
    async def open_one() -> AsyncIterator[Supervisor]:
        units._watchers.clear()
        builder = (
            SupervisorBuilder().redis_url(redis_url).state_dir(tmp_path / "state").default_sandbox(Sandbox.TRUSTED)
        )
        async with await builder.process_manager(units).log_source(InMemoryLogSource()).build() as supervisor:
            yield supervisor

    return open_one


async def started(supervisor: Supervisor, **fields: Any) -> None:
    await supervisor.add_runner(Runner(**{"id": "a", "command": COMMAND, **fields}))
    await supervisor.start_runner("a")


def become(units: InMemoryProcessManager, **state: Any) -> None:
    """Change what is known of the unit."""
    units._units[UNIT] = replace(units._units[UNIT], **state)


async def status_is(supervisor: Supervisor, status: str, desired: str) -> None:
    async def holds() -> bool:
        found = await supervisor.get_runner_status("a")
        return (found.status, found.desired) == (status, desired)

    await eventually(holds)


async def broken_off(supervisor: Supervisor, part: object, verb: str, operation: Awaitable[object]) -> None:
    """Carry out an operation for which a verb of a part does not reach systemd, and close the supervisor there."""
    with patch.object(part, verb, side_effect=CUT_OFF):
        with pytest.raises(errors.SystemdUnavailable):
            await operation
        await supervisor.close()


# -- what is wanted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["stop_runner", "remove_runner"])
async def test_a_stop_that_was_not_carried_out_is_carried_out(
    units: InMemoryProcessManager, opened: Open, operation: str
) -> None:
    async with opened() as supervisor:
        await started(supervisor)
        await broken_off(supervisor, units, "stop", getattr(supervisor, operation)("a"))
    async with opened() as supervisor:
        await status_is(supervisor, "stopped", "stopped")


async def test_a_start_that_was_not_carried_out_is_carried_out(units: InMemoryProcessManager, opened: Open) -> None:
    async with opened() as supervisor:
        await broken_off(supervisor, units, "start", started(supervisor))
    async with opened() as supervisor:
        await status_is(supervisor, "running", "running")


async def test_a_runner_that_was_added_to_be_started_is_started(units: InMemoryProcessManager, opened: Open) -> None:
    async with opened() as supervisor:
        adding = supervisor.add_runner(Runner(id="a", command=COMMAND, autostart=True))
        await broken_off(supervisor, units, "start", adding)
    async with opened() as supervisor:
        await status_is(supervisor, "running", "running")


async def test_what_is_stopped_by_a_shutdown_runs_again_after_it(
    units: InMemoryProcessManager, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer() -> bool:
        asked.set()
        return True

    asked = asyncio.Event()
    async with opened() as supervisor:
        await started(supervisor)
        with monkeypatch.context() as stopping:
            stopping.setattr(units, "is_shutting_down", answer)
            stopping.setattr(reconcile, "DOUBT_S", 0.01)
            units.end(UNIT, active_state="inactive", exit_status=0)
            await asked.wait()
            await supervisor.close()
    units._units.clear()
    async with opened() as supervisor:
        await status_is(supervisor, "running", "running")


async def test_what_runs_and_is_wanted_is_left_alone(units: InMemoryProcessManager, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor)
    before = await units.status(UNIT)
    async with opened() as supervisor:
        await status_is(supervisor, "running", "running")
    assert await units.status(UNIT) == before
    assert [unit.name for unit in units.mended] == [UNIT]


async def test_what_drained_goes_on_draining_and_is_told_again(units: InMemoryProcessManager, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, drain_signal="SIGUSR2")
        with pytest.raises(errors.OperationTimeout, match=r"has not finished after 0\.2 s"):
            await supervisor.drain_runner("a", timeout=0.2)
        await status_is(supervisor, "running", "drained")
    told = ("signal", UNIT, signal.SIGUSR2.value)
    assert units.done == [told]
    async with opened() as supervisor:
        await eventually(lambda: units.done == [told, told])
        units.end(UNIT, exit_status=100)
        await status_is(supervisor, "stopped", "stopped")


# -- draining ------------------------------------------------------------------------------------------------------


async def test_a_process_that_could_not_be_told_is_told_later(units: InMemoryProcessManager, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, drain_signal="SIGUSR2")
        with patch.object(units, "kill", side_effect=CUT_OFF) as kill:
            with pytest.raises(errors.OperationTimeout):
                await supervisor.drain_runner("a", timeout=0.1)
            assert kill.called
        supervisor._reconciler.on_doubt()  # as when the connection is back
        await eventually(lambda: units.done == [("signal", UNIT, signal.SIGUSR2.value)])


async def test_a_process_that_is_started_while_its_runner_drains_is_told_as_well(
    units: InMemoryProcessManager, opened: Open
) -> None:
    async with opened() as supervisor:
        await started(supervisor, drain_signal="SIGUSR2")
        with pytest.raises(errors.OperationTimeout):
            await supervisor.drain_runner("a", timeout=0.1)
        first = await units.status(UNIT)
        become(units, sub_state="auto-restart", active_state="activating", main_pid=0)
        supervisor._reconciler.on_ended(UNIT)
        await eventually(lambda: "a" in supervisor._reconciler._agenda._due_s)
        become(units, sub_state="running", active_state="active", main_pid=7, invocation_id=first.invocation_id[::-1])
        await eventually(lambda: len(units.done) == 2)


async def test_a_start_ends_the_draining_and_whoever_waits_for_it_is_told(opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, drain_signal="SIGUSR2")
        with pytest.raises(errors.OperationTimeout):
            await supervisor.drain_runner("a", timeout=0.1)
        draining = supervisor._registry.wanted_no_more("a", Desired.DRAINED)
        await supervisor.start_runner("a")
        await draining
        await status_is(supervisor, "running", "running")


# -- what has failed -----------------------------------------------------------------------------------------------


async def failed(units: InMemoryProcessManager, supervisor: Supervisor, *, times: int = 1) -> None:
    """Let the unit fail so many times in a row, and wait until that is noted."""
    for number in range(1, times + 1):
        await eventually(lambda: any(unit.is_running for unit in units._units.values()))
        units.end(UNIT)
        await eventually(partial(_has_failed, supervisor, number))


def _has_failed(supervisor: Supervisor, times: int) -> bool:
    return _failures(supervisor) == times


def _failures(supervisor: Supervisor) -> int:
    retry = supervisor._registry.get("a").retries.get(UNIT)
    return retry.failures if retry else 0


async def test_a_retry_that_was_waited_for_is_waited_for(units: InMemoryProcessManager, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, backoff=Backoff(delay_s=0.2, factor=100, max_delay_s=60, jitter=0))
        await failed(units, supervisor, times=2)
        due = (await supervisor.get_runner_status("a")).next_start
    async with opened() as supervisor:
        await status_is(supervisor, "backoff", "running")
        again = (await supervisor.get_runner_status("a")).next_start
        assert abs((again - due).total_seconds()) < 0.1
        assert _failures(supervisor) == 2


async def test_what_was_given_up_stays_given_up(units: InMemoryProcessManager, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, backoff=Backoff(delay_s=0.01, give_up_after=1, jitter=0))
        await failed(units, supervisor, times=2)
    async with opened() as supervisor:
        await status_is(supervisor, "failed", "running")
    assert len(units.started) == 2


async def test_after_a_reboot_past_failures_are_forgotten(
    units: InMemoryProcessManager, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as supervisor:
        await started(supervisor, backoff=Backoff(delay_s=0.01, give_up_after=1, jitter=0))
        await failed(units, supervisor, times=2)
    units._units.clear()
    monkeypatch.setattr(state, "boot_id", lambda: "another")
    async with opened() as supervisor:
        await status_is(supervisor, "running", "running")
        assert _failures(supervisor) == 0


async def test_a_full_disk_keeps_no_runner_from_being_started_again(
    units: InMemoryProcessManager, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_full(*_: object) -> None:
        raise errors.StateUnavailable("cannot write to the state directory: no space left on device")

    async with opened() as supervisor:
        await started(supervisor, backoff=Backoff(delay_s=0.01, jitter=0))
        monkeypatch.setattr(supervisor._state, "save", is_full)
        units.end(UNIT)
        await eventually(lambda: len(units.started) == 2)
        assert _failures(supervisor) == 1


@pytest.mark.parametrize("backoff", [Backoff(delay_s=60), Backoff(delay_s=0.01, give_up_after=1)])
async def test_a_reset_starts_at_once_what_waits_or_was_given_up(
    units: InMemoryProcessManager, opened: Open, backoff: Backoff
) -> None:
    async with opened() as supervisor:
        await started(supervisor, backoff=backoff)
        await failed(units, supervisor, times=1 if backoff.give_up_after is None else 2)
        await supervisor.reset_runner("a")
        await status_is(supervisor, "running", "running")
        assert _failures(supervisor) == 0


async def test_a_reset_does_not_wait_for_systemds_own_pause(units: InMemoryProcessManager, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor, restart_delay_s=600)
        become(units, active_state="activating", sub_state="auto-restart", main_pid=0)
        await supervisor.reset_runner("a")
        await status_is(supervisor, "running", "running")
    assert len(units.started) == 2


async def test_a_reset_of_what_ended_for_good_makes_it_count_as_stopped(
    units: InMemoryProcessManager, opened: Open
) -> None:
    async with opened() as supervisor:
        await started(supervisor, restart="never")
        units.end(UNIT)
        await status_is(supervisor, "failed", "ended")
        assert (await supervisor.reset_runner("a")).status == "stopped"
    assert len(units.started) == 1


async def test_a_reset_leaves_what_runs_alone(units: InMemoryProcessManager, opened: Open) -> None:
    async with opened() as supervisor:
        await started(supervisor)
        before = await units.status(UNIT)
        assert (await supervisor.reset_runner("a")).status == "running"
        assert await units.status(UNIT) == before


# -- who it is -----------------------------------------------------------------------------------------------------


async def test_the_node_id_is_made_once(opened: Open, tmp_path: Path) -> None:
    async with opened() as supervisor:
        first = supervisor.node_id
    async with opened() as supervisor:
        assert supervisor.node_id == first
    assert (tmp_path / "state" / "node-id").read_text() == f"{first}\n"


async def test_a_damaged_node_id_is_named_and_left_as_it_is(opened: Open, tmp_path: Path) -> None:
    async with opened():
        pass
    file = tmp_path / "state" / "node-id"
    file.write_bytes(b"\xff")
    with pytest.raises(errors.CorruptRecord, match="node-id: it is damaged"):
        async with opened():
            pass
    assert file.read_bytes() == b"\xff"
