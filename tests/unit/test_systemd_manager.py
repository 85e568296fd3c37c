"""The manager on a bus that a test plays: opening it, statuses, stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.systemd import bus as bus_module
from hero_supervisor.systemd.bus import MATCH_RULES, address_of
from hero_supervisor.unit import UnitStatus
from tests import systemd_fake_bus as fake
from tests.unit.conftest import (
    JOB,
    NO_SUCH_UNIT,
)

if TYPE_CHECKING:
    from hero_supervisor.systemd.library import Library
    from tests.systemd_fake_bus import FakeBus


# -- opening -------------------------------------------------------------------------------------------------------


async def test_opening_subscribes_with_its_match_rules(bus: FakeBus, manager: SystemdManager) -> None:
    rules = [call.body[0] for call in bus.calls if call.member == "AddMatch"]
    assert rules == list(MATCH_RULES)
    assert bus.members().count("Subscribe") == 1
    assert (manager.version, manager.connected) == (252, True)


@pytest.mark.parametrize(("text", "version"), [("257.7-1", 257), ("v300~rc1", 300), ("systemd 252 (252.39)", 252)])
async def test_the_version_is_the_first_number(text: str, version: int, bus: FakeBus) -> None:
    bus.properties["Version"] = ("s", text)
    async with SystemdManager(address=bus.address) as manager:
        assert manager.version == version


@pytest.mark.parametrize("text", ["251.4", "", "unknown"])
async def test_an_old_systemd_is_refused(text: str, bus: FakeBus) -> None:
    bus.properties["Version"] = ("s", text)
    with pytest.raises(errors.SystemdUnavailable, match="older than 252"):
        await SystemdManager(address=bus.address).open()


async def test_a_bus_without_a_manager_is_reported(
    bus: FakeBus, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "ARRIVAL_TIMEOUT_S", 0.1)
    bus.answers["GetNameOwner"] = lambda call: [fake.error(call, "org.freedesktop.DBus.Error.NameHasNoOwner", "none")]
    with pytest.raises(errors.SystemdUnavailable, match=r"cannot reach systemd over 'unix:path=.*': no manager"):
        await SystemdManager(address=bus.address, library=library).open()


async def test_a_manager_that_joins_the_bus_after_us_is_waited_for(bus: FakeBus, library: Library) -> None:
    bus.answers["GetNameOwner"] = lambda call: [
        fake.error(call, "org.freedesktop.DBus.Error.NameHasNoOwner", "none"),
        fake.owner_changed(fake.MANAGER_NAME),
    ]
    async with SystemdManager(address=bus.address, library=library) as manager:
        assert (await manager.status("a.service")).main_pid == 42
    assert bus.members().count("Subscribe") == 1


async def test_a_manager_that_does_not_let_us_in_is_reported_with_a_hint(bus: FakeBus) -> None:
    bus.answers["Subscribe"] = lambda call: [fake.error(call, "org.freedesktop.DBus.Error.AccessDenied", "no")]
    with pytest.raises(errors.PermissionDenied) as caught:
        await SystemdManager(address=bus.address).open()
    assert caught.value.hint is not None


async def test_before_opening_and_after_closing_nothing_can_be_asked(bus: FakeBus) -> None:
    manager = SystemdManager(address=bus.address)
    with pytest.raises(errors.SystemdUnavailable, match="not connected yet"):
        await manager.status("a.service")
    await manager.open()
    await manager.close()
    with pytest.raises(errors.SystemdUnavailable, match="closed"):
        await manager.status("a.service")
    assert not manager.connected


@pytest.mark.parametrize(
    ("user", "environment", "address"),
    [
        (False, {}, "unix:path=/run/dbus/system_bus_socket"),
        (False, {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/x"}, "unix:path=/x"),
        (True, {"XDG_RUNTIME_DIR": "/r"}, "unix:path=/r/bus"),
        (True, {"XDG_RUNTIME_DIR": "/r", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/y"}, "unix:path=/y"),
    ],
)
def test_the_address_is_found(
    user: bool, environment: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert address_of(user=user) == address


# -- statuses ------------------------------------------------------------------------------------------------------


async def test_asking_for_a_unit_that_is_not_loaded_reads_no_property(bus: FakeBus, manager: SystemdManager) -> None:
    bus.answers["GetUnit"] = lambda call: [fake.error(call, NO_SUCH_UNIT)]
    reads = bus.members().count("Get")
    assert await manager.status("none.service") == UnitStatus("none.service")
    assert bus.members().count("Get") == reads


async def test_a_status_is_read_again_when_the_unit_changes_meanwhile(bus: FakeBus, manager: SystemdManager) -> None:
    changes = iter([1, 2, 2, 2])  # before and after, twice

    def read(call: Any) -> list[Any]:
        name = call.body[1]
        if name == "StateChangeTimestamp":
            return [fake.reply(call, "v", fake.Variant("t", next(changes)))]
        return [fake.reply(call, "v", fake.Variant(*bus.properties[name]))]

    bus.answers["Get"] = read
    status = await manager.status("a.service")
    assert (status.state_change_usec, next(changes, None)) == (2, None)


async def test_a_unit_that_never_stops_changing_has_a_status_all_the_same(
    bus: FakeBus, manager: SystemdManager
) -> None:
    def read(call: Any) -> list[Any]:
        name = call.body[1]
        value = ("t", len(bus.calls)) if name == "StateChangeTimestamp" else bus.properties[name]
        return [fake.reply(call, "v", fake.Variant(*value))]

    bus.answers["Get"] = read
    assert (await manager.status("a.service")).active_state == "active"


@pytest.mark.parametrize(("state", "expected"), [("running", False), ("degraded", False), ("stopping", True)])
async def test_a_shutdown_is_told_by_the_managers_state(
    bus: FakeBus, manager: SystemdManager, state: str, *, expected: bool
) -> None:
    bus.properties["SystemState"] = ("s", state)
    assert await manager.is_shutting_down() is expected


async def test_stopping_a_unit_that_is_not_loaded_is_no_error(bus: FakeBus, manager: SystemdManager) -> None:
    for member in ("RefUnit", "GetUnit"):
        bus.answers[member] = lambda call: [fake.error(call, NO_SUCH_UNIT)]
    assert await manager.stop("none.service", timeout_s=5) == UnitStatus("none.service")
    assert "StopUnit" not in bus.members()


@pytest.mark.parametrize("state", ["inactive", "failed"])
async def test_only_a_unit_that_failed_has_a_failure_to_forget(
    state: str, bus: FakeBus, manager: SystemdManager
) -> None:
    bus.answers["StopUnit"] = lambda call: [fake.reply(call, "o", JOB), fake.job_removed(JOB)]
    bus.properties["ActiveState"] = ("s", state)
    await manager.stop("a.service", timeout_s=5)
    assert ("ResetFailedUnit" in bus.members()) == (state == "failed")
    assert bus.members()[-1] == "UnrefUnit"


async def test_a_canceled_stop_is_a_conflict(bus: FakeBus, manager: SystemdManager) -> None:
    bus.answers["StopUnit"] = lambda call: [fake.reply(call, "o", JOB), fake.job_removed(JOB, "canceled")]
    with pytest.raises(errors.Conflict):
        await manager.stop("a.service", timeout_s=5)
