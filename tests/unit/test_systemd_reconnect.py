"""A bus that goes away: everybody hears of it, it is found again, and nobody uses it before it is set up."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.systemd.bus import pauses
from hero_supervisor.unit import UnitStatus
from tests import systemd_fake_bus as fake
from tests.unit.conftest import (
    JOB,
    NO_REPLY,
    NO_SUCH_UNIT,
    UNIT,
    News,
    ended,
    lost,
    open_connections,
    queued,
    starts_with,
    waiting_start,
)

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


def test_pauses_between_tries_grow_to_five_seconds() -> None:
    assert list(islice(pauses(), 8)) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_tries_that_fail_are_paused_and_leave_nothing_open(bus: FakeBus, manager: SystemdManager) -> None:
    bus.answers["Subscribe"] = lambda call: [fake.error(call, "a.b.C")]
    bus.calls.clear()
    began = time.monotonic()
    bus.drop()
    await bus.called("Hello", 3)
    assert time.monotonic() - began > 0.6
    assert open_connections() <= 1
    with pytest.raises(errors.SystemdUnavailable, match="lost"):  # still the first cause
        await manager.status("a.service")


async def test_losing_the_bus_fails_who_waits_for_the_manager(bus: FakeBus, library: Library) -> None:
    bus.answers["GetUnit"] = lambda call: [fake.owner_changed(""), fake.error(call, NO_REPLY)]
    async with SystemdManager(address=bus.address, library=library) as manager:
        status = asyncio.create_task(manager.status("a.service"))
        await bus.called("GetUnit")
        await asyncio.wait([status], timeout=0.1)  # time to see that there is no manager
        await bus.close()  # so that no manager is found again
        with pytest.raises(errors.SystemdUnavailable, match="lost"):
            async with asyncio.timeout(5):
                await status


async def test_signals_of_the_manager_that_is_there_after_the_loss_count(bus: FakeBus, manager: SystemdManager) -> None:
    news = News(manager)
    bus.answers["GetNameOwner"] = lambda call: [fake.reply(call, "s", ":1.9")]
    bus.drop()
    assert await news.told() == "doubt"
    starts_with(bus, queued, lambda _: fake.job_removed(JOB, sender=":1.9"))
    async with asyncio.timeout(5):
        assert (await manager.start(UNIT)).active_state == "active"


# -- a manager that is replaced while the bus is set up ------------------------------------------------------------


async def test_news_of_a_new_manager_is_newer_than_the_answer_who_it_is(bus: FakeBus, library: Library) -> None:
    bus.answers["GetNameOwner"] = lambda call: [
        fake.reply(call, "s", ":1.1"),
        fake.owner_changed(""),
        fake.owner_changed(":1.9"),
    ]
    starts_with(bus, queued, lambda _: fake.job_removed(JOB, sender=":1.9"))
    async with SystemdManager(address=bus.address, library=library) as manager, asyncio.timeout(5):
        assert (await manager.start(UNIT)).active_state == "active"


async def test_a_manager_that_leaves_during_setup_is_reported(bus: FakeBus, library: Library) -> None:
    bus.answers["GetNameOwner"] = lambda call: [fake.reply(call, "s", ":1.1"), fake.owner_changed("")]
    with pytest.raises(errors.SystemdUnavailable, match="the manager left the bus"):
        await SystemdManager(address=bus.address, library=library, call_timeout_s=0.2).open()
