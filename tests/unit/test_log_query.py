"""Pure: queries of logs, what is wrong with them, what they select, and what they ask of journalctl."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from hero_supervisor.errors import InvalidInput
from hero_supervisor.journal.query import arguments_for
from hero_supervisor.log_query import LogQuery, level_of
from hero_supervisor.records import LogKind, LogRecord

CURSOR = f"s={'a' * 32};i=1f;b={'b' * 32};m=2;t=3;x=4"
RUN = "0123456789abcdef" * 2
NOON = datetime(2026, 7, 2, 12, tzinfo=UTC)


def query(**conditions: Any) -> LogQuery:
    return LogQuery(units=("a.service",), **conditions)


def record(**fields: Any) -> LogRecord:
    defaults = {"cursor": CURSOR, "timestamp": NOON, "priority": 6, "message": "", "pid": 1}
    return LogRecord(**{**defaults, "invocation_id": None, "job_id": None, **fields})


@pytest.mark.parametrize(
    "cursor",
    ["", "nonsense", "s=1", "i=5", "t=1", CURSOR + "\n", CURSOR + ";", "--help", CURSOR + " --file=/etc/passwd"],
)
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="after_cursor"):
        query(after_cursor=cursor).checked()


@pytest.mark.parametrize(
    ("conditions", "path"),
    [
        ({"invocation_id": "x" * 32}, "invocation_id"),
        ({"invocation_id": RUN + "\n"}, "invocation_id"),
        ({"priority": 8}, "priority"),
        ({"priority": -1}, "priority"),
        ({"grep": ""}, "grep"),
        ({"grep": "x" * 257}, "grep"),
        ({"since": NOON.replace(tzinfo=None)}, "since"),
        ({"until": NOON.replace(tzinfo=None)}, "until"),
        ({"lines": -1}, "lines"),
        ({"lines": 10_001}, "lines"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_by_name(conditions: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        query(**conditions).checked()
    assert [fault.path for fault in caught.value.faults] == [path]


def test_what_can_be_asked_is_left_as_it_is() -> None:
    asked = query(after_cursor=CURSOR, since=NOON, until=NOON, priority=0, grep="x", invocation_id=RUN, job_id="j")
    assert asked.checked() is asked


@pytest.mark.parametrize(("priority", "level"), [(None, 7), (0, 0), (7, 7), ("emerg", 0), ("err", 3), ("debug", 7)])
def test_a_priority_is_a_name_or_a_number(priority: Any, level: int) -> None:
    assert level_of(priority) == level


def test_a_priority_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="priority"):
        level_of("error")  # type: ignore[arg-type]  # a word that is not syslog's


LATER, EARLIER = NOON + timedelta(microseconds=1), NOON - timedelta(microseconds=1)
GAP, DROPPED = {"kind": LogKind.GAP}, {"kind": LogKind.DROPPED}


@pytest.mark.parametrize(
    ("conditions", "fields", "wanted"),
    [
        ({}, {}, True),
        ({"priority": 3}, {"priority": 3}, True),
        ({"priority": 3}, {"priority": 4}, False),
        ({"grep": "ERROR 5."}, {"message": "an Error 5.0"}, True),
        ({"grep": "5."}, {"message": "55"}, False),
        ({"grep": "STRASSE"}, {"message": "straße"}, True),
        ({"job_id": "j"}, {"job_id": "j"}, True),
        ({"job_id": "j"}, {}, False),
        ({"invocation_id": RUN}, {"invocation_id": RUN}, True),
        ({"invocation_id": RUN}, {"invocation_id": "f" * 32}, False),
        ({"since": NOON}, {}, True),
        ({"since": LATER}, {}, False),
        ({"until": NOON}, {}, True),
        ({"until": EARLIER}, {}, False),
        ({"priority": 0, "grep": "x"}, DROPPED, True),
        ({"job_id": "j"}, DROPPED, False),
        ({"invocation_id": RUN}, DROPPED, False),
        ({"job_id": "j", "priority": 0, "grep": "x", "invocation_id": RUN, "since": LATER}, GAP, True),
    ],
)
def test_a_record_is_wanted_when_it_meets_all_conditions(
    conditions: dict[str, Any], fields: dict[str, Any], wanted: bool
) -> None:
    assert query(**conditions).wants(record(**fields)) is wanted


DRIVER = ["_TRANSPORT=driver", "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e"]
OBJECT = f"OBJECT_SYSTEMD_INVOCATION_ID={RUN}"


@pytest.mark.parametrize(
    ("conditions", "arguments"),
    [
        ({}, ["--reverse", "--lines=100"]),
        ({"lines": 5, "since": NOON}, ["--reverse", "--since=@1782993600.000000", "--lines=5"]),
        (
            {"until": LATER.astimezone(timezone(timedelta(hours=9)))},
            ["--until=@1782993600.000001", "--reverse", "--lines=100"],
        ),
        ({"since": datetime(1969, 1, 1, tzinfo=UTC)}, ["--reverse", "--since=@0.000000", "--lines=100"]),
        ({"until": datetime.max.replace(tzinfo=UTC)}, ["--until=@253402300799.999999", "--reverse", "--lines=100"]),
        ({"grep": "--help"}, ["--reverse"]),
        ({"after_cursor": CURSOR, "since": NOON}, [f"--cursor={CURSOR}"]),
        ({"job_id": "--help"}, ["--reverse", "HERO_JOB_ID=--help"]),
        ({"priority": 1}, ["--reverse", "--lines=100", "PRIORITY=0", "PRIORITY=1", "+", *DRIVER]),
        ({"priority": 0, "job_id": "j"}, ["--reverse", "PRIORITY=0", "HERO_JOB_ID=j"]),
        (
            {"invocation_id": RUN, "job_id": "j"},
            ["--reverse", "HERO_JOB_ID=j", f"_SYSTEMD_INVOCATION_ID={RUN}"],
        ),
        (
            {"invocation_id": RUN},
            [
                *("--reverse", "--lines=100", f"_SYSTEMD_INVOCATION_ID={RUN}"),
                *("+", "_PID=1", f"INVOCATION_ID={RUN}", "+", "_UID=0", OBJECT),
            ],
        ),
    ],
)
def test_journalctl_is_asked_for_as_little_as_possible(conditions: dict[str, Any], arguments: list[str]) -> None:
    asked = arguments_for(query(**conditions), user=False)
    assert asked == ["--unit=a.service", *arguments]
    assert arguments_for(query(**conditions), user=True)[0] == "--user-unit=a.service"
