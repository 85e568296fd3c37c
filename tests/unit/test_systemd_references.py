"""Which units are referenced: it depends on what of a start, a stop, an adoption or a reconnect went wrong."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd import SystemdManager, unit_references
from hero_supervisor.unit import flag
from tests import systemd_fake_bus as fake
from tests.unit.conftest import (
    ACCESS_DENIED,
    JOB,
    NO_SUCH_UNIT,
    ROW,
    UNIT,
    UNIT_EXISTS,
    News,
    ended,
    queued,
    starts_with,
    waiting_start,
)

if TYPE_CHECKING:
    from hero_supervisor.systemd.library import Library
    from tests.systemd_fake_bus import FakeBus

BAD_UNIT_SETTING = "org.freedesktop.systemd1.BadUnitSetting"


async def test_a_unit_is_referenced_once(bus: FakeBus, manager: SystemdManager) -> None:
    bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ssssssouso)", [ROW])]
    for _ in range(2):
        assert [status.name for status in await manager.adopt("a*")] == ["a.service"]
    assert bus.members().count("RefUnit") == 1


async def test_only_so_many_units_are_referenced_while_they_run(
    bus: FakeBus, manager: SystemdManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_references, "MAX_HELD", 1)
    bus.answers["ListUnitsByPatterns"] = lambda call: [
        fake.reply(call, "a(ssssssouso)", [ROW, ["b.service", *ROW[1:]]])
    ]
    assert [status.name for status in await manager.adopt("*")] == ["a.service", "b.service"]
    assert bus.members().count("RefUnit") == 1
    starts_with(bus, queued, ended)
    await manager.start(replace(UNIT, name="c.service", properties=(flag("AddRef"),)))
    (call,) = (call for call in bus.calls if call.member == "StartTransientUnit")
    assert call.body[2] == []


async def test_a_unit_is_stopped_without_a_reference_when_there_are_too_many(
    bus: FakeBus, manager: SystemdManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_references, "MAX_REFERENCES", 0)
    bus.answers["StopUnit"] = lambda call: [fake.reply(call, "o", JOB), fake.job_removed(JOB)]
    bus.properties.update({"ActiveState": ("s", "inactive"), "SubState": ("s", "dead")})
    assert (await manager.stop("a.service", timeout_s=5)).active_state == "inactive"
    assert "StopUnit" in bus.members()
    assert "RefUnit" not in bus.members()


async def test_a_cancelled_start_leaves_no_waiter_and_the_unit_referenced(
    bus: FakeBus, manager: SystemdManager
) -> None:
    start = await waiting_start(bus, manager)
    start.cancel()
    await asyncio.wait([start])
    bus.answers["StopUnit"] = lambda call: [fake.reply(call, "o", JOB), fake.job_removed(JOB)]
    bus.properties.update({"ActiveState": ("s", "inactive"), "SubState": ("s", "dead")})
    assert (await manager.stop("a.service", timeout_s=5)).active_state == "inactive"
    assert "RefUnit" not in bus.members()
    assert bus.members().count("UnrefUnit") == 1


# A unit that is referenced is not asked for: its status is read at once.


async def is_referenced(bus: FakeBus, manager: SystemdManager) -> bool:
    before = bus.members().count("GetUnit")
    await manager.status(UNIT.name)
    return bus.members().count("GetUnit") == before


async def test_a_started_unit_is_referenced(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued, ended)
    await manager.start(UNIT)
    assert await is_referenced(bus, manager)


async def test_a_refused_start_leaves_no_reference(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, lambda call: fake.error(call, "org.freedesktop.DBus.Error.PropertyReadOnly"))
    with pytest.raises(errors.SystemdRefused):
        await manager.start(UNIT)
    assert not await is_referenced(bus, manager)


async def test_a_second_start_that_is_refused_keeps_the_reference(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued, ended)
    await manager.start(UNIT)
    starts_with(bus, lambda call: fake.error(call, UNIT_EXISTS))
    with pytest.raises(errors.UnitExists):
        await manager.start(UNIT)
    assert await is_referenced(bus, manager)


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["no-reply-in-time", "cancelled"])
async def test_a_start_that_may_have_been_carried_out_keeps_its_reference(
    is_cancelled: bool, bus: FakeBus, manager: SystemdManager
) -> None:
    bus.never("StartTransientUnit")
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    if is_cancelled:
        start.cancel()
    with pytest.raises((errors.OperationTimeout, asyncio.CancelledError)):
        await start
    assert await is_referenced(bus, manager)


async def test_a_start_under_which_the_bus_is_lost_keeps_its_reference(bus: FakeBus, manager: SystemdManager) -> None:
    news = News(manager)
    bus.never("StartTransientUnit")
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    bus.drop()
    with pytest.raises(errors.SystemdUnavailable):
        await start
    assert await news.told() == "doubt"
    assert bus.members().count("RefUnit") == 1
    assert await is_referenced(bus, manager)


async def test_a_stopped_unit_is_no_longer_referenced(bus: FakeBus, manager: SystemdManager) -> None:
    bus.answers["StopUnit"] = lambda call: [queued(call), ended(call)]
    bus.properties.update({"ActiveState": ("s", "inactive"), "SubState": ("s", "dead")})
    for member in ("ResetFailedUnit", "UnrefUnit"):  # systemd was faster
        bus.answers[member] = lambda call: [fake.error(call, NO_SUCH_UNIT)]
    await manager.stop(UNIT.name, timeout_s=5)
    assert not await is_referenced(bus, manager)


@pytest.mark.parametrize("refusal", [NO_SUCH_UNIT, ACCESS_DENIED, BAD_UNIT_SETTING])
async def test_a_reference_that_is_refused_is_asked_for_the_next_time(
    refusal: str, bus: FakeBus, manager: SystemdManager
) -> None:
    bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ssssssouso)", [ROW])]
    bus.answers["RefUnit"] = lambda call: [fake.error(call, refusal)]
    for _ in range(2):
        with contextlib.suppress(errors.PermissionDenied):
            assert [status.main_pid for status in await manager.adopt("a*")] == [42]
    assert bus.members().count("RefUnit") == 2
    assert not await is_referenced(bus, manager)


async def test_a_unit_that_is_adopted_twice_at_once_is_referenced_once(bus: FakeBus, manager: SystemdManager) -> None:
    bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ssssssouso)", [ROW])]
    await asyncio.gather(manager.adopt("a*"), manager.adopt("a*"))
    assert bus.members().count("RefUnit") == 1


async def test_a_manager_that_was_closed_holds_no_reference_when_it_is_opened_again(
    bus: FakeBus, library: Library
) -> None:
    manager = SystemdManager(address=bus.address, library=library)
    starts_with(bus, queued, ended)
    async with manager:
        await manager.start(UNIT)
    async with manager:
        assert "RefUnit" not in bus.members()
        assert not await is_referenced(bus, manager)


async def held_over_a_loss(bus: FakeBus, manager: SystemdManager, *unit_names: str) -> News:
    """Start units, lose the bus, and return who hears when it is found again."""
    starts_with(bus, queued, ended)
    for name in unit_names:
        await manager.start(replace(UNIT, name=name))
    news = News(manager)
    bus.drop()
    return news


async def test_after_a_loss_references_that_get_no_answer_are_asked_for_again(
    bus: FakeBus, manager: SystemdManager
) -> None:
    bus.never("RefUnit")
    news = await held_over_a_loss(bus, manager, UNIT.name)
    await bus.called("RefUnit")
    del bus.answers["RefUnit"]
    assert await news.told() == "doubt"
    assert bus.members().count("RefUnit") == 2


@pytest.mark.parametrize("refusal", [NO_SUCH_UNIT, ACCESS_DENIED, BAD_UNIT_SETTING])
async def test_after_a_loss_a_unit_that_cannot_be_referenced_keeps_nobody_waiting(
    refusal: str, bus: FakeBus, manager: SystemdManager
) -> None:
    bus.answers["RefUnit"] = lambda call: [fake.error(call, refusal) if call.body == [UNIT.name] else fake.reply(call)]
    news = await held_over_a_loss(bus, manager, UNIT.name, "b.service")
    assert await news.told() == "doubt"
    assert [call.body for call in bus.calls if call.member == "RefUnit"] == [[UNIT.name], ["b.service"]]
    assert not await is_referenced(bus, manager)


async def test_until_references_are_taken_again_the_bus_stays_lost(bus: FakeBus, manager: SystemdManager) -> None:
    bus.never("RefUnit")
    news = await held_over_a_loss(bus, manager, UNIT.name)
    call = await bus.called("RefUnit")
    assert not manager.connected
    with pytest.raises(errors.SystemdUnavailable, match="lost"):
        await manager.status(UNIT.name)
    del bus.answers["RefUnit"]
    bus.send(fake.reply(call))
    assert await news.told() == "doubt"
