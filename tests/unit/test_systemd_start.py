"""Starts against a bus whose messages come in every order, and what is made of each outcome."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.unit import Property, TransientUnit, exec_start
from tests import systemd_fake_bus as fake
from tests.unit.conftest import (
    ACCESS_DENIED,
    JOB,
    UNIT,
    UNIT_EXISTS,
    ended,
    ends_with,
    queued,
    starts_with,
    waiting_start,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hero_supervisor.systemd.library import Library
    from tests.systemd_fake_bus import FakeBus


# -- the order of reply and signal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(queued, ended), (ended, queued)], ids=["reply-first", "signal-first"])
async def test_a_start_ends_with_its_signal_whatever_comes_first(
    order: tuple[Callable[[Any], Any], ...], bus: FakeBus, manager: SystemdManager
) -> None:
    starts_with(bus, *order)
    status = await manager.start(UNIT)
    assert (status.active_state, status.main_pid) == ("active", 42)


async def test_a_start_ends_with_a_signal_long_after_the_reply(bus: FakeBus, manager: SystemdManager) -> None:
    start = await waiting_start(bus, manager)
    assert not start.done()
    bus.send(fake.job_removed("/another/job", "failed"), fake.job_removed(JOB))
    assert (await start).active_state == "active"


async def test_a_signal_without_a_reply_is_no_outcome(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, ended)
    with pytest.raises(errors.OperationTimeout, match=r"cannot start unit 'a\.service' in time"):
        await manager.start(UNIT)


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
    starts_with(bus, queued, ends_with(result))
    with pytest.raises(error) as caught:
        await manager.start(UNIT)
    assert type(caught.value) is error
    assert (caught.value.facts["unit"], caught.value.facts["unit_job"]) == ("a.service", result)


@pytest.mark.parametrize(("state", "is_stopped"), [("failed", False), ("activating", True)])
async def test_a_unit_whose_program_never_ran_is_not_left_to_restart(
    state: str, is_stopped: bool, bus: FakeBus, manager: SystemdManager
) -> None:
    starts_with(bus, queued, ends_with("failed"))
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


def restarting(exit_status: int) -> dict[str, tuple[str, object]]:
    """Properties of a unit that systemd is about to restart after this exit status."""
    end = {"Result": ("s", "exit-code"), "ExecMainCode": ("i", 1), "ExecMainStatus": ("i", exit_status)}
    return {"ActiveState": ("s", "activating"), "SubState": ("s", "auto-restart"), **end}


async def test_a_unit_whose_program_ran_is_left_to_restart(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued, ends_with("failed"))
    bus.properties.update(restarting(7))
    with pytest.raises(errors.UnitFailed):
        await manager.start(UNIT)
    assert "StopUnit" not in bus.members()


async def test_a_stop_that_fails_does_not_hide_why_the_start_did(bus: FakeBus, manager: SystemdManager) -> None:
    starts_with(bus, queued, ends_with("failed"))
    bus.answers["StopUnit"] = lambda call: [fake.error(call, ACCESS_DENIED)]
    bus.properties.update(restarting(203))
    with pytest.raises(errors.CommandNotExecutable):
        await manager.start(UNIT)
    assert "StopUnit" in bus.members()


@pytest.mark.parametrize(("result", "error"), [("canceled", errors.Conflict), ("timeout", errors.UnitFailed)])
async def test_a_start_that_was_cut_short_is_none_though_the_unit_runs(
    result: str, error: type[errors.HeroError], bus: FakeBus, manager: SystemdManager
) -> None:
    starts_with(bus, queued, ends_with(result))
    with pytest.raises(error):
        await manager.start(replace(UNIT, properties=(Property("Type", "s", "exec"), *UNIT.properties)))


@pytest.mark.parametrize(("version", "is_corrected"), [("252", True), ("257", False)])
async def test_a_file_is_corrected_where_systemd_writes_it_wrong_and_a_failure_is_no_error(
    version: str, is_corrected: bool, bus: FakeBus, library: Library
) -> None:
    bus.properties.update({"Version": ("s", version), "FragmentPath": ("s", "/no/such/file")})
    starts_with(bus, queued, ended)
    unit = TransientUnit("a.service", (exec_start(("/bin/echo", "$HOME")),), 5, 5)
    async with SystemdManager(address=bus.address, library=library) as manager:
        assert (await manager.start(unit)).active_state == "active"
    assert ("FragmentPath" in [call.body[1] for call in bus.calls if call.member == "Get"]) == is_corrected
