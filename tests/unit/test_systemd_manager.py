"""The manager against a bus whose messages come in every order, and whose ends come at every moment."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.systemd import bus as bus_module
from hero_supervisor.systemd.bus import MATCH_RULES, address_of
from hero_supervisor.unit import TransientUnit, UnitStatus, exec_start, lifetime
from tests import systemd_fake_bus as fake
from tests.redis_fixtures import eventually
from tests.systemd_fake_bus import FakeBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hero_supervisor.systemd.library import Library

JOB = "/org/freedesktop/systemd1/job/7"
UNIT = TransientUnit("a.service", (exec_start(("/bin/true",)), *lifetime(start_timeout_s=5, stop_timeout_s=5)), 5, 5)
NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[FakeBus]:
    bus = await FakeBus(tmp_path).open()
    yield bus
    await bus.close()


@pytest.fixture
async def manager(bus: FakeBus, library: Library) -> AsyncIterator[SystemdManager]:
    manager = SystemdManager(address=bus.address, library=library, call_timeout_s=1, look_interval_s=30)
    async with manager:
        yield manager


class News:
    """What the manager tells: names of units whose main process ended, and 'doubt'."""

    def __init__(self, manager: SystemdManager) -> None:
        self._told: asyncio.Queue[str] = asyncio.Queue()
        manager.watch(self)

    def on_ended(self, unit_name: str) -> None:
        self._told.put_nowait(unit_name)

    def on_doubt(self) -> None:
        self._told.put_nowait("doubt")

    async def told(self) -> str:
        async with asyncio.timeout(5):
            return await self._told.get()


async def lost(manager: SystemdManager) -> None:
    """Wait until the loss of the connection was noticed."""
    await eventually(lambda: not manager.connected)


def starts_with(bus: FakeBus, *messages: Callable[[Any], Any]) -> None:
    """Let a start be answered with these messages, in one go."""
    bus.answers["StartTransientUnit"] = lambda call: [make(call) for make in messages]


def queued(call: Any) -> Any:
    return fake.reply(call, "o", JOB)


def ended(_: Any) -> Any:
    return fake.job_removed(JOB)


# -- opening -------------------------------------------------------------------------------------------------------


async def test_opening_subscribes_with_three_match_rules(bus: FakeBus, manager: SystemdManager) -> None:
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


# -- the order of reply and signal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(queued, ended), (ended, queued)], ids=["reply-first", "signal-first"])
async def test_a_start_ends_with_its_signal_whatever_comes_first(
    order: tuple[Callable[[Any], Any], ...], bus: FakeBus, manager: SystemdManager
) -> None:
    starts_with(bus, *order)
    status = await manager.start(UNIT)
    assert (status.active_state, status.main_pid) == ("active", 42)


async def test_a_start_ends_with_a_signal_long_after_the_reply(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued)
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    await manager.status("b.service")
    assert not start.done()
    bus.send(fake.job_removed("/another/job", "failed"), fake.job_removed(JOB))
    assert (await start).active_state == "active"


async def test_a_signal_without_a_reply_is_no_outcome(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, ended)
    with pytest.raises(errors.OperationTimeout, match=r"cannot start unit 'a\.service' in time"):
        await manager.start(UNIT)


async def test_a_forged_signal_is_ignored(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued)
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    bus.send(
        fake.signal("NameOwnerChanged", "sss", fake.SYSTEMD, "", ":1.66", sender=":1.66", interface=fake.BUS),
        fake.job_removed(JOB, "failed", sender=":1.66"),
    )
    await manager.status("b.service")
    assert not start.done()
    bus.send(fake.job_removed(JOB))
    assert (await start).active_state == "active"


async def test_a_malformed_signal_is_ignored(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued)
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    bus.send(
        fake.signal("JobRemoved", ""),
        fake.signal("JobRemoved", "s", JOB),
        fake.signal("JobRemoved", "ssss", "7", JOB, "a", "failed"),
        fake.signal("Reloading", "s", "no"),
        fake.signal("NameOwnerChanged", "s", fake.SYSTEMD, sender=fake.BUS, interface=fake.BUS),
        fake.job_removed(JOB),
    )
    assert (await start).active_state == "active"


@pytest.mark.parametrize(
    ("member", "signature", "body"),
    [
        ("StartTransientUnit", "", []),
        ("StartTransientUnit", "s", [JOB]),
        ("StartTransientUnit", "oo", [JOB, JOB]),
        ("Get", "s", ["active"]),
        ("Get", "v", [fake.Variant("as", [])]),
        ("Get", "", []),
    ],
)
async def test_an_answer_of_other_types_is_refused(
    member: str, signature: str, body: list[Any], bus: FakeBus, manager: SystemdManager
) -> None:
    starts_with(bus, ended, queued)
    bus.answers[member] = lambda call: [fake.reply(call, signature, *body)]
    with pytest.raises(errors.SystemdRefused):
        await manager.start(UNIT)
    bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ss)", [["a", "b"]])]
    with pytest.raises(errors.SystemdRefused):
        await manager.adopt("a*")


# -- the outcome of a start ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ("failed", errors.UnitFailed),
        ("dependency", errors.UnitFailed),
        ("timeout", errors.UnitFailed),
        ("skipped", errors.UnitFailed),
        ("a-new-word", errors.UnitFailed),
        ("canceled", errors.Conflict),
    ],
)
async def test_each_result_of_a_unit_job_is_an_error_of_its_own(
    result: str, error: type[errors.HeroError], bus: FakeBus, manager: SystemdManager
) -> None:
    starts_with(bus, queued, lambda _: fake.job_removed(JOB, result))
    with pytest.raises(error) as caught:
        await manager.start(UNIT)
    assert type(caught.value) is error
    assert (caught.value.facts["unit"], caught.value.facts["unit_job"]) == ("a.service", result)


@pytest.mark.parametrize(("state", "is_stopped"), [("failed", False), ("activating", True)])
async def test_a_unit_whose_program_never_ran_is_not_left_to_restart(
    state: str, is_stopped: bool, bus: FakeBus, manager: SystemdManager
) -> None:
    starts_with(bus, queued, lambda _: fake.job_removed(JOB, "failed"))
    bus.answers["StopUnit"] = lambda call: [fake.reply(call, "o", JOB), fake.job_removed(JOB)]
    end = {"Result": ("s", "exit-code"), "ExecMainCode": ("i", 1), "ExecMainStatus": ("i", 203)}
    bus.properties.update({"ActiveState": ("s", state), "SubState": ("s", "auto-restart"), **end})
    with pytest.raises(errors.CommandNotExecutable):
        await manager.start(UNIT)
    assert ("StopUnit" in bus.members()) == is_stopped
    assert "UnrefUnit" not in bus.members()


async def test_a_left_over_unit_is_cleared_away_and_the_start_tried_again(
    bus: FakeBus, manager: SystemdManager
) -> None:
    bus.properties["ActiveState"] = ("s", "failed")

    def exists_once(call: Any) -> list[Any]:
        bus.properties["ActiveState"] = ("s", "failed")
        bus.answers["UnrefUnit"] = free
        return [fake.error(call, UNIT_EXISTS)]

    def free(call: Any) -> list[Any]:
        bus.properties["ActiveState"] = ("s", "active")
        starts_with(bus, queued, ended)
        return [fake.reply(call)]

    bus.answers["StartTransientUnit"] = exists_once
    assert (await manager.start(UNIT)).active_state == "active"
    assert [name for name in bus.members() if name.endswith("Unit") and name != "GetUnit"] == [
        "StartTransientUnit",
        "ResetFailedUnit",
        "UnrefUnit",
        "StartTransientUnit",
    ]


async def test_a_unit_that_runs_is_not_touched_by_a_second_start(bus: FakeBus, manager: SystemdManager) -> None:
    bus.answers["StartTransientUnit"] = lambda call: [fake.error(call, UNIT_EXISTS)]
    with pytest.raises(errors.UnitExists, match=r"cannot start unit 'a\.service': it is active already"):
        await manager.start(UNIT)
    assert not {"ResetFailedUnit", "UnrefUnit", "StopUnit"} & set(bus.members())


async def test_a_name_that_cannot_be_freed_is_given_up(bus: FakeBus, manager: SystemdManager) -> None:
    bus.answers["StartTransientUnit"] = lambda call: [fake.error(call, UNIT_EXISTS)]
    bus.properties["ActiveState"] = ("s", "inactive")
    with pytest.raises(errors.UnitExists):
        await manager.start(UNIT)


async def test_a_refused_property_is_named(bus: FakeBus, manager: SystemdManager) -> None:
    name, text = "org.freedesktop.DBus.Error.PropertyReadOnly", "Cannot set property Nonsense, or unknown property."
    bus.answers["StartTransientUnit"] = lambda call: [fake.error(call, name, text)]
    with pytest.raises(errors.SystemdRefused, match=r"cannot start unit 'a\.service': Cannot set property Nonsense"):
        await manager.start(UNIT)


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


async def test_a_unit_is_referenced_once(bus: FakeBus, manager: SystemdManager) -> None:
    row = ["a.service", "", "loaded", "active", "running", "", "/u", 0, "", "/"]
    bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ssssssouso)", [row])]
    for _ in range(2):
        assert [status.name for status in await manager.adopt("a*")] == ["a.service"]
    assert bus.members().count("RefUnit") == 1


# -- losing the bus ------------------------------------------------------------------------------------------------


async def test_losing_the_bus_fails_a_start_that_waits_for_its_unit_job(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued)
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    await manager.status("b.service")  # the reply to the start has been handled by now
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


async def test_a_unit_that_cannot_be_referenced_again_keeps_nobody_from_the_bus(
    bus: FakeBus, manager: SystemdManager
) -> None:
    starts_with(bus, queued, ended)
    await manager.start(UNIT)
    news = News(manager)
    bus.answers["RefUnit"] = lambda call: [fake.error(call, "org.freedesktop.systemd1.BadUnitSetting")]
    bus.drop()
    assert await news.told() == "doubt"
    assert (await manager.status("a.service")).main_pid == 42


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


# -- news ----------------------------------------------------------------------------------------------------------


def changed(main_pid: int, path: str = f"{fake.MANAGER_PATH}/unit/a_2eservice", **header: str) -> Any:
    message = fake.signal(
        "PropertiesChanged",
        "sa{sv}as",
        "org.freedesktop.systemd1.Service",
        {"MainPID": fake.Variant("u", main_pid)},
        [],
        interface="org.freedesktop.DBus.Properties",
        **header,
    )
    message.path = path
    return message


async def test_the_end_of_a_main_process_is_told_and_nothing_else(bus: FakeBus, manager: SystemdManager) -> None:
    news = News(manager)
    other = fake.signal("PropertiesChanged", "sa{sv}as", "x", {}, [], interface="org.freedesktop.DBus.Properties")
    malformed = fake.signal("PropertiesChanged", "s", "x", interface="org.freedesktop.DBus.Properties")
    bus.send(changed(7), other, malformed, changed(0, sender=":1.666"), changed(0))
    assert await news.told() == "a.service"


async def test_after_a_reload_anything_may_have_happened(bus: FakeBus, manager: SystemdManager) -> None:
    news = News(manager)
    bus.send(fake.signal("Reloading", "b", True), fake.signal("Reloading", "b", False), changed(0))
    assert [await news.told(), await news.told()] == ["doubt", "a.service"]


# -- reload and re-execution ---------------------------------------------------------------------------------------


async def test_a_reload_that_swallowed_the_signal_does_not_hang_a_start(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued)
    bus.answers["GetUnit"] = lambda call: [fake.reply(call, "o", "/unit")]
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    await manager.status("b.service")
    bus.send(fake.signal("Reloading", "b", True))
    reads = bus.answers["Get"]
    bus.answers["Get"] = lambda call: [fake.error(call, UNKNOWN_OBJECT)] if call.body[1] == "State" else reads(call)
    bus.send(fake.signal("Reloading", "b", False))
    assert (await start).active_state == "active"


async def test_a_unit_job_that_outlives_a_reload_is_waited_for(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued)
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    await manager.status("b.service")
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


async def test_a_cancelled_start_leaves_no_waiter_and_the_unit_referenced(
    bus: FakeBus, manager: SystemdManager
) -> None:
    starts_with(bus, queued)
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    await manager.status("b.service")
    start.cancel()
    await asyncio.wait([start])
    bus.answers["StopUnit"] = lambda call: [fake.reply(call, "o", JOB), fake.job_removed(JOB)]
    bus.properties.update({"ActiveState": ("s", "inactive"), "SubState": ("s", "dead")})
    assert (await manager.stop("a.service", timeout_s=5)).active_state == "inactive"
    assert "RefUnit" not in bus.members()
    assert bus.members().count("UnrefUnit") == 1
