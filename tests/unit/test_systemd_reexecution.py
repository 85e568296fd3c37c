"""A manager that reloads or re-executes itself in the middle of everything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from tests import systemd_fake_bus as fake
from tests.unit.conftest import (
    JOB,
    NO_REPLY,
    NO_SUCH_UNIT,
    UNIT,
    ended,
    queued,
    starts_with,
    unit_job_is_gone,
    waiting_start,
)

if TYPE_CHECKING:
    from hero_supervisor.systemd import SystemdManager
    from tests.systemd_fake_bus import FakeBus


async def test_a_reload_that_swallowed_the_signal_does_not_hang_a_start(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued)
    bus.answers["GetUnit"] = lambda call: [fake.reply(call, "o", "/unit")]
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    await manager.status("b.service")
    bus.send(fake.signal("Reloading", "b", True))
    unit_job_is_gone(bus)
    bus.send(fake.signal("Reloading", "b", False))
    assert (await start).active_state == "active"


async def test_a_unit_job_that_outlives_a_reload_is_waited_for(bus: FakeBus, manager: SystemdManager) -> None:
    start = await waiting_start(bus, manager)
    reads = bus.members().count("Get")
    bus.send(fake.signal("Reloading", "b", False))
    await bus.called("Get", reads + 1)
    await manager.status("b.service")
    assert not start.done()
    bus.send(fake.job_removed(JOB))
    assert (await start).active_state == "active"


async def test_calls_wait_while_the_manager_re_executes_itself(bus: FakeBus, manager: SystemdManager) -> None:
    bus.answers["GetUnit"] = lambda call: [fake.owner_changed(""), fake.error(call, NO_REPLY)]
    status = asyncio.create_task(manager.status("a.service"))
    await bus.called("GetUnit")
    await asyncio.wait([status], timeout=0.1)
    assert (status.done(), bus.members().count("GetUnit")) == (False, 1)
    bus.answers["GetUnit"] = lambda call: [fake.reply(call, "o", "/unit")]
    bus.send(fake.owner_changed(":1.9"))
    assert (await status).active_state == "active"
    await bus.called("Subscribe", 2)


async def test_a_manager_that_does_not_come_back_is_unavailable(bus: FakeBus, manager: SystemdManager) -> None:
    bus.send(fake.owner_changed(""))
    bus.answers["GetUnit"] = lambda call: [fake.error(call, NO_REPLY)]
    with pytest.raises(errors.SystemdUnavailable):
        await manager.status("a.service")


async def re_executes(bus: FakeBus, *, started: tuple[int, str] | None) -> None:
    """Let the manager re-execute itself in the middle of a start, before or after it has read the call."""

    def leave(call: Any) -> list[Any]:
        starts_with(bus, queued, ended)
        return [fake.owner_changed(""), fake.error(call, NO_REPLY), fake.owner_changed(":1.1")]

    bus.answers["StartTransientUnit"] = leave
    if started is None:
        bus.answers["GetUnit"] = lambda call: [fake.error(call, NO_SUCH_UNIT)]
    else:
        bus.properties["Job"] = ("(uo)", list(started))


async def test_a_start_that_got_lost_in_a_re_execution_is_sent_again(bus: FakeBus, manager: SystemdManager) -> None:
    await re_executes(bus, started=None)
    assert (await manager.start(UNIT)).active_state == "active"
    assert bus.members().count("StartTransientUnit") == 2


async def test_a_start_whose_reply_got_lost_in_a_re_execution_is_waited_for(
    bus: FakeBus, manager: SystemdManager
) -> None:
    await re_executes(bus, started=(7, JOB))
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("GetUnit")
    await manager.status("b.service")
    bus.send(fake.job_removed(JOB))
    assert (await start).active_state == "active"
    assert bus.members().count("StartTransientUnit") == 1


async def test_a_start_that_ended_within_a_re_execution_is_recognised(bus: FakeBus, manager: SystemdManager) -> None:
    await re_executes(bus, started=(0, "/"))
    bus.properties["InactiveExitTimestampMonotonic"] = ("t", 1 << 62)
    assert (await manager.start(UNIT)).active_state == "active"
    assert bus.members().count("StartTransientUnit") == 1


async def test_a_manager_that_always_leaves_is_given_up(bus: FakeBus, manager: SystemdManager) -> None:
    def leave(call: Any) -> list[Any]:
        return [fake.owner_changed(""), fake.error(call, NO_REPLY), fake.owner_changed(":1.1")]

    bus.answers["GetUnit"] = leave
    with pytest.raises(errors.SystemdUnavailable, match="left the bus meanwhile"):
        await manager.status("a.service")


async def test_an_older_run_is_not_taken_for_the_start_that_got_lost(bus: FakeBus, manager: SystemdManager) -> None:
    await re_executes(bus, started=(0, "/"))
    bus.properties["InactiveExitTimestampMonotonic"] = ("t", 1)
    assert (await manager.start(UNIT)).active_state == "active"
    assert bus.members().count("StartTransientUnit") == 2


async def test_a_re_execution_that_swallowed_the_signal_does_not_hang_a_start(
    bus: FakeBus, manager: SystemdManager
) -> None:
    start = await waiting_start(bus, manager)
    unit_job_is_gone(bus)
    bus.send(fake.owner_changed(""), fake.owner_changed(":1.9"))
    async with asyncio.timeout(5):
        assert (await start).active_state == "active"


async def test_a_start_that_failed_while_nobody_saw_it_has_failed(bus: FakeBus, manager: SystemdManager) -> None:
    start = await waiting_start(bus, manager)
    unit_job_is_gone(bus)
    bus.properties.update({"ActiveState": ("s", "failed"), "SubState": ("s", "failed"), "Result": ("s", "timeout")})
    bus.send(fake.signal("Reloading", "b", False))
    with pytest.raises(errors.UnitFailed, match="start timeout"):
        await start


async def test_all_replies_are_asked_for_again_when_the_manager_leaves_between_two(
    bus: FakeBus, manager: SystemdManager
) -> None:
    reads = bus.answers["Get"]

    def leave(call: Any) -> list[Any]:
        if call.body[1] != "MainPID":
            return reads(call)
        bus.answers["Get"] = reads
        return [fake.owner_changed(""), fake.error(call, NO_REPLY), fake.owner_changed(":1.1")]

    bus.answers["Get"] = leave
    assert (await manager.status("a.service")).main_pid == 42
