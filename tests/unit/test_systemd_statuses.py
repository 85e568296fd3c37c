"""What the manager keeps of statuses, against a bus that says at the worst moment that they are no longer true."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.systemd.status_cache import StatusCache
from hero_supervisor.unit import UnitStatus
from tests import systemd_fake_bus as fake
from tests.redis_fixtures import eventually
from tests.unit.conftest import ROW, UNIT, ended, queued, starts_with

if TYPE_CHECKING:
    from tests.systemd_fake_bus import FakeBus


@pytest.fixture
def bus(bus: FakeBus) -> FakeBus:
    """A bus on which unit jobs end at once."""
    starts_with(bus, queued, ended)
    bus.answers["StopUnit"] = bus.answers["StartTransientUnit"]
    bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ssssssouso)", [ROW])]
    return bus


@pytest.fixture
async def manager(bus: FakeBus, manager: SystemdManager) -> SystemdManager:
    """A manager that has started a unit."""
    await manager.start(UNIT)
    bus.calls.clear()
    return manager


def changed(pid: int, *, sender: str = fake.MANAGER_NAME, service: str = "a", interface: str = "Service") -> Any:
    message = fake.signal(
        "PropertiesChanged",
        "sa{sv}as",
        f"{fake.SYSTEMD}.{interface}",
        {"MainPID": fake.Variant("u", pid)},
        [],
        sender=sender,
        interface="org.freedesktop.DBus.Properties",
    )
    message.path = f"{fake.MANAGER_PATH}/unit/{service}_2eservice"
    return message


async def main_pid(manager: SystemdManager) -> int:
    ((status),) = await manager.statuses([UNIT.name], pattern="a*")
    return status.main_pid


def becomes(bus: FakeBus, pid: int) -> None:
    bus.properties["MainPID"] = ("u", pid)


async def test_without_news_no_property_is_read(bus: FakeBus, manager: SystemdManager) -> None:
    for _ in range(2):
        assert await main_pid(manager) == 42
    assert bus.members() == ["Ping", "Ping"]


async def test_after_news_of_a_unit_its_status_is_read_and_kept_again(bus: FakeBus, manager: SystemdManager) -> None:
    becomes(bus, 43)
    bus.send(changed(43))
    assert [await main_pid(manager), await main_pid(manager)] == [43, 43]
    assert bus.members().count("ListUnitsByPatterns") == 1


async def test_news_that_comes_with_systemds_answer_counts(bus: FakeBus, manager: SystemdManager) -> None:
    becomes(bus, 43)
    bus.answers["Ping"] = lambda call: [changed(43), fake.reply(call)]
    assert await main_pid(manager) == 43


async def test_what_was_read_before_news_that_came_meanwhile_is_not_kept(bus: FakeBus, manager: SystemdManager) -> None:
    reads = bus.answers["Get"]
    after_the_last = iter([False] * 7 + [True])

    def overtaken(call: Any) -> list[Any]:
        messages = reads(call)
        if next(after_the_last, False):
            becomes(bus, 44)
            messages.append(changed(44))
        return messages

    becomes(bus, 43)
    bus.answers["Get"] = overtaken
    assert (await manager.status(UNIT.name)).main_pid == 43
    assert await main_pid(manager) == 44


@pytest.mark.parametrize("doubt", ["reload", "re-execution"])
async def test_after_doubt_all_are_read_again(doubt: str, bus: FakeBus, manager: SystemdManager) -> None:
    becomes(bus, 43)
    if doubt == "reload":
        bus.send(fake.signal("Reloading", "b", False))
    else:
        bus.send(fake.owner_changed(""), fake.owner_changed(fake.MANAGER_NAME))
    assert await main_pid(manager) == 43


async def test_after_a_loss_nothing_is_known_until_it_is_read_again(bus: FakeBus, manager: SystemdManager) -> None:
    becomes(bus, 43)
    bus.drop()
    await eventually(lambda: not manager.connected)
    with pytest.raises(errors.SystemdUnavailable):
        await main_pid(manager)
    await eventually(lambda: manager.connected)
    assert await main_pid(manager) == 43


@pytest.mark.parametrize(
    "foreign", [changed(43, sender=":1.66"), changed(43, service="b"), changed(43, interface="Socket")]
)
async def test_news_from_others_and_of_others_changes_nothing(
    foreign: Any, bus: FakeBus, manager: SystemdManager
) -> None:
    bus.send(foreign)
    assert await main_pid(manager) == 42
    assert bus.members() == ["Ping"]


async def test_a_unit_that_we_do_not_reference_is_read_each_time(bus: FakeBus) -> None:
    async with SystemdManager(address=bus.address) as manager:
        for pid in (42, 43):
            becomes(bus, pid)
            assert await main_pid(manager) == pid


async def test_a_unit_that_was_released_is_not_known_any_more(bus: FakeBus, manager: SystemdManager) -> None:
    bus.properties.update({"ActiveState": ("s", "inactive"), "SubState": ("s", "dead")})
    await manager.stop(UNIT.name, timeout_s=5)
    bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ssssssouso)", [])]
    assert await manager.statuses([UNIT.name], pattern="a*") == [UnitStatus(UNIT.name)]


async def test_a_unit_that_is_not_loaded_is_looked_for_once_until_something_is_told_of_it(bus: FakeBus) -> None:
    async with SystemdManager(address=bus.address) as manager:
        bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ssssssouso)", [])]
        for _ in range(2):
            assert await manager.statuses([UNIT.name], pattern="a*") == [UnitStatus(UNIT.name)]
        assert bus.members().count("ListUnitsByPatterns") == 1
        bus.send(changed(43))
        await main_pid(manager)
        assert bus.members().count("ListUnitsByPatterns") == 2


async def test_a_unit_that_comes_to_life_while_it_is_looked_for_is_looked_for_again(bus: FakeBus) -> None:
    async with SystemdManager(address=bus.address) as manager:
        bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ssssssouso)", []), changed(43)]
        await manager.statuses([UNIT.name], pattern="a*")
        await manager.statuses([UNIT.name], pattern="a*")
        assert bus.members().count("ListUnitsByPatterns") == 2


async def test_more_statuses_than_can_be_kept_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hero_supervisor.systemd.status_cache.MAX_KEPT", 2)
    cache = StatusCache()
    for path in "abcd":
        with cache.reading([path]) as kept:
            kept[path] = UnitStatus(path)
    assert [cache.get(path) is not None for path in "abcd"] == [False, False, False, True]


async def test_exact_status_is_always_read(bus: FakeBus, manager: SystemdManager) -> None:
    becomes(bus, 43)  # and no signal tells
    assert (await manager.status(UNIT.name)).main_pid == 43
    assert "Get" in bus.members()


async def test_of_two_reads_at_once_only_the_later_is_kept() -> None:
    cache, gates = StatusCache(), [asyncio.Event(), asyncio.Event()]

    async def read(number: int) -> UnitStatus:
        await gates[number].wait()
        return UnitStatus("a.service", main_pid=number)

    earlier = asyncio.create_task(cache.keep("/a", read(0)))
    await asyncio.sleep(0)
    cache.drop("/a")
    later = asyncio.create_task(cache.keep("/a", read(1)))
    await asyncio.sleep(0)
    for gate, task in zip(gates, (earlier, later), strict=True):
        gate.set()
        await task
    status = cache.get("/a")
    assert status is not None
    assert status.main_pid == 1


async def test_a_read_that_fails_keeps_nothing() -> None:
    cache = StatusCache()

    async def read() -> UnitStatus:
        raise errors.SystemdUnavailable("cannot reach it")

    with pytest.raises(errors.SystemdUnavailable):
        await cache.keep("/a", read())
    assert cache.get("/a") is None
    assert not cache._reading
