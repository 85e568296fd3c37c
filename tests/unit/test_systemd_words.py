"""Pure: object paths, the words for failures, and D-Bus errors by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd.refusals import refusal
from hero_supervisor.systemd.start_failures import EXIT_STATUSES, fault_of_program, start_failure, was_started
from hero_supervisor.systemd.unit_status import unit_path
from hero_supervisor.unit import Property, TransientUnit, UnitStatus, exec_start

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("unit_name", "escaped"),
    [
        ("dbus.service", "dbus_2eservice"),
        ("hero-runner-a.service", "hero_2drunner_2da_2eservice"),
        ("getty@tty1.service", "getty_40tty1_2eservice"),
        ("1.service", "_31_2eservice"),
        ("a_1.service", "a_5f1_2eservice"),
        ("A9z", "A9z"),
        ("ü.service", "_c3_bc_2eservice"),
        ("a\n", "a_0a"),
        ("", "_"),
    ],
)
def test_a_unit_name_is_escaped_into_its_object_path(unit_name: str, escaped: str) -> None:
    assert unit_path(unit_name) == f"/org/freedesktop/systemd1/unit/{escaped}"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("org.freedesktop.systemd1.NoSuchUnit", errors.NotFound),
        ("org.freedesktop.systemd1.NoSuchJob", errors.NotFound),
        ("org.freedesktop.DBus.Error.UnknownObject", errors.NotFound),
        ("org.freedesktop.systemd1.UnitExists", errors.UnitExists),
        ("org.freedesktop.systemd1.TransactionIsDestructive", errors.Conflict),
        ("org.freedesktop.systemd1.TransactionJobsConflicting", errors.Conflict),
        ("org.freedesktop.DBus.Error.AccessDenied", errors.PermissionDenied),
        ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", errors.PermissionDenied),
        ("org.freedesktop.DBus.Error.PropertyReadOnly", errors.SystemdRefused),
        ("org.freedesktop.DBus.Error.InvalidArgs", errors.SystemdRefused),
        ("org.freedesktop.DBus.Error.LimitsExceeded", errors.SystemdRefused),
        ("org.freedesktop.DBus.Error.ServiceUnknown", errors.SystemdUnavailable),
        ("org.freedesktop.DBus.Error.NameHasNoOwner", errors.SystemdUnavailable),
        ("org.freedesktop.DBus.Error.Disconnected", errors.SystemdUnavailable),
        ("org.freedesktop.DBus.Error.NoReply", errors.SystemdUnavailable),
        ("org.example.New", errors.SystemdRefused),
        ("", errors.SystemdRefused),
    ],
)
def test_an_error_is_known_by_its_name_alone(name: str, error: type[errors.HeroError]) -> None:
    found = refusal(name, "Unit x not loaded. Access denied.", purpose="start unit 'x'")
    assert type(found) is error
    assert found.message == "cannot start unit 'x': Unit x not loaded. Access denied"
    assert found.facts["dbus_error"] == name


def test_a_missing_right_comes_with_a_hint() -> None:
    found = refusal("org.freedesktop.DBus.Error.AccessDenied", "", purpose="start unit 'x'")
    assert "polkit" in str(found.hint)
    assert found.message.endswith("AccessDenied")


def unit(*command: str) -> TransientUnit:
    return TransientUnit("a.service", (Property("Type", "s", "exec"), exec_start(command)), 5, 5)


def failed(**values: Any) -> UnitStatus:
    return UnitStatus("a.service", "failed", "failed", **{"result": "exit-code", **values})


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (failed(exec_main_code=1, exec_main_status=1), "its process ended with exit status 1 before it was ready"),
        (
            failed(result="signal", exec_main_code=2, exec_main_status=9),
            "its process was killed by signal 9 before it was ready",
        ),
        (failed(result="timeout"), "it was not ready within its start timeout"),
        (failed(result="resources"), "a file it needs"),
        (failed(result="start-limit-hit"), "it was started too often"),
        (failed(result="a-new-word"), "its result is 'a-new-word'"),
        (failed(exec_main_code=1, exec_main_status=200), r"its working directory cannot be entered \(200/CHDIR\)"),
        (failed(exec_main_code=1, exec_main_status=216), r"its group .* \(216/GROUP\)"),
        (failed(exec_main_code=1, exec_main_status=217), r"its user .* \(217/USER\)"),
        (failed(exec_main_code=1, exec_main_status=226), r"namespace cannot be set up \(226/NAMESPACE\)"),
        (failed(result="signal", exec_main_code=2, exec_main_status=217), "killed by signal 217"),
    ],
)
def test_a_failed_start_says_why(status: UnitStatus, words: str) -> None:
    error = start_failure(unit("/bin/true"), "failed", status)
    assert type(error) is errors.UnitFailed
    with pytest.raises(errors.UnitFailed, match=rf"^cannot start unit 'a\.service': .*{words}"):
        raise error


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "does not exist"),
        ("file/below", "does not exist"),
        ("directory", "is not a file"),
        ("file", "is not executable"),
        ("script", "its interpreter is missing, its format is wrong"),
    ],
)
def test_a_program_that_cannot_be_executed_is_named_with_the_reason(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "script").write_text("#!/no/such/interpreter")
    (tmp_path / "script").chmod(0o755)
    program = str(tmp_path / name)
    error = start_failure(unit(program, "x"), "failed", failed(exec_main_code=1, exec_main_status=203))
    assert type(error) is errors.CommandNotExecutable
    assert error.message.startswith(f"cannot start unit 'a.service': {program} ")
    assert words in error.message
    assert error.facts == {
        "unit": "a.service",
        "unit_job": "failed",
        "result": "exit-code",
        "exit_status": "203/EXEC",
        "command": program,
    }


def test_a_bare_program_name_is_looked_up_by_systemd() -> None:
    assert fault_of_program("no-such-program") == "is not in systemd's search path for programs"


def test_no_exit_status_of_systemd_is_unnamed_between_the_first_and_the_last() -> None:
    unused = {221, 223, 234}  # CONFIRM needs a console; the others were never given out
    assert set(range(200, 245)) - set(EXIT_STATUSES) == unused


@pytest.mark.parametrize(
    ("kind", "values", "is_started"),
    [
        ("exec", {"active_state": "active", "result": "success"}, True),
        ("exec", {"active_state": "activating"}, True),
        ("exec", {"exec_main_code": 1, "exec_main_status": 1}, True),
        ("exec", {"exec_main_code": 2, "exec_main_status": 9, "result": "signal"}, True),
        ("exec", {"exec_main_code": 1, "exec_main_status": 203}, False),
        ("exec", {"active_state": "activating", "exec_main_code": 1, "exec_main_status": 203}, False),
        ("exec", {"exec_main_code": 1, "exec_main_status": 1, "result": "timeout"}, False),
        ("exec", {"active_state": "activating", "result": "resources"}, False),
        ("exec", {"result": "success"}, False),
        ("notify", {"exec_main_code": 1, "exec_main_status": 1}, False),
        ("notify", {"active_state": "active", "result": "success"}, False),
    ],
)
def test_a_unit_was_started_when_its_type_is_exec_and_its_program_ran(
    kind: str, values: dict[str, Any], is_started: bool
) -> None:
    unit = TransientUnit("a.service", (Property("Type", "s", kind),), 5, 5)
    found = {"active_state": "failed", "result": "exit-code", **values}
    assert was_started(unit, UnitStatus("a.service", **found)) is is_started
