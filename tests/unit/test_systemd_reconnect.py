"""A bus that goes away: everybody hears of it, it is found again, and nobody uses it before it is set up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.unit import UnitStatus
from tests import systemd_fake_bus as fake
from tests.unit.conftest import NO_SUCH_UNIT, UNIT, News, ended, lost, queued, starts_with, waiting_start

if TYPE_CHECKING:
    from hero_supervisor.systemd.library import Library
    from tests.systemd_fake_bus import FakeBus


async def test_losing_the_bus_fails_a_start_that_waits_for_its_unit_job(bus: FakeBus, manager: SystemdManager) -> None:
    start = await waiting_start(bus, manager)
    bus.drop()
    with pytest.raises(errors.SystemdUnavailable, match=bus.address):
        async with asyncio.timeout(3):
            await start


async def test_calls_on_a_lost_bus_fail_at_once_and_name_the_cause(bus: FakeBus, manager: SystemdManager) -> None:
    await bus.close()
    await lost(manager)
    assert not manager.connected
    began = time.monotonic()
    with pytest.raises(errors.SystemdUnavailable, match=rf"cannot reach systemd over '{bus.address}': .*lost"):
        await manager.start(UNIT)
    assert time.monotonic() - began < 0.5


async def test_a_lost_bus_is_found_again_with_subscription_rules_and_references(
    bus: FakeBus, manager: SystemdManager
) -> None:
    starts_with(bus, queued, ended)
    await manager.start(UNIT)
    news = News(manager)
    await bus.close()
    await lost(manager)
    bus.calls.clear()
    await bus.open()
    assert await news.told() == "doubt"
    assert bus.members() == ["Hello", *["AddMatch"] * 4, "GetNameOwner", "Subscribe", "RefUnit"]
    assert manager.connected
    assert (await manager.status("a.service")).main_pid == 42


async def test_a_unit_that_is_gone_after_the_loss_is_no_longer_held(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued, ended)
    await manager.start(UNIT)
    news = News(manager)
    for member in ("RefUnit", "GetUnit"):
        bus.answers[member] = lambda call: [fake.error(call, NO_SUCH_UNIT)]
    bus.drop()
    assert await news.told() == "doubt"
    assert await manager.status("a.service") == UnitStatus("a.service")


async def test_a_bus_that_goes_again_while_it_is_set_up_is_found_again(bus: FakeBus, manager: SystemdManager) -> None:
    news = News(manager)

    def drop_once(call: Any) -> list[Any]:
        del bus.answers["Subscribe"]
        bus.drop()
        return [fake.reply(call)]

    bus.answers["Subscribe"] = drop_once
    bus.drop()
    assert await news.told() == "doubt"


async def test_closing_while_the_bus_is_away_ends_the_search(bus: FakeBus, library: Library) -> None:
    manager = SystemdManager(address=bus.address, library=library)
    await manager.open()
    await bus.close()
    await lost(manager)
    await manager.close()  # no task may be left: the fixture of all tests looks
