"""``herosup runner``: looking at runners and their logs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.cli import output
from tests.unit.cli.conftest import Failure, runner_status

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Service


@pytest.mark.parametrize(("status", "code"), [("running", 0), ("stopped", 3), ("failed", 3), ("starting", 3)])
def test_runner_status_tells_by_its_exit_code_whether_it_runs(service: Service, status: str, code: int) -> None:
    service.answers["get_runner_status"] = runner_status("a", status)
    result = service.herosup("runner", "status", "a")
    assert result.exit_code == code
    assert f"status:        {status}\n" in result.stdout
    assert "since:         3 m ago\n" in result.stdout
    assert result.stderr == ""


USED = {
    "id": "a",
    "uptime_s": 7300.5,
    "restarts": 2,
    "cpu_s": 0.1234,
    "cpu_percent": 12.5,
    "memory_bytes": 52_428_800,
    "memory_peak_bytes": None,
    "tasks": 7,
    "io_read_bytes": 0,
    "io_write_bytes": 1536,
    "processes": 3,
}


def test_runner_stats_is_a_table_in_units_for_people(service: Service) -> None:
    unused = dict.fromkeys(USED) | {"id": "b", "restarts": 0, "processes": 0}
    service.answers["get_all_runner_stats"] = [USED, unused]
    assert service.herosup("runner", "stats").stdout.splitlines() == [
        "ID  CPU%  CPU     MEMORY    PEAK  PROCS  TASKS  READ  WRITTEN  UPTIME  RESTARTS",
        "a   12.5  0.12 s  50.0 MiB  -     3      7      0 B   1.5 KiB  2 h     2",
        "b   -     -       -         -     0      -      -     -        -       0",
    ]


def test_runner_stats_as_json_are_the_numbers_of_the_runners_asked_for(service: Service) -> None:
    service.answers["get_runner_stats"] = lambda params: {**USED, "id": params["runner"]}
    result = service.herosup("runner", "stats", "a", "b", "--json")
    assert json.loads(result.stdout) == [USED, {**USED, "id": "b"}]


def test_runner_stats_of_an_unknown_runner_exit_with_its_kinds_code(service: Service) -> None:
    service.answers["get_runner_stats"] = Failure("runner-not-found", "cannot find 'a'")
    result = service.herosup("runner", "stats", "a")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "", "error: cannot find 'a'\n")


def test_logs_look_like_a_journal_and_pass_the_selection_on(service: Service) -> None:
    stamp = "2026-07-02T10:00:00.123456Z"
    service.answers["get_runner_logs"] = [{"timestamp": stamp, "message": "one\n\ttwo \x1b[2J"}]
    options = "-n 5 --job j --after c -S 2026-07-02T10:00Z -U 2026-07-02T11:00+01:00 -p 3 -g x --instance 2 --run r"
    result = service.herosup("runner", "logs", "a", *options.split())
    when = output.local_time(stamp)
    assert re.fullmatch(r"2026-07-0[123] \d\d:\d\d:00\.123", when)
    assert result.stdout == f"{when} one\n{' ' * len(when)} \ttwo \\x1b[2J\n"
    when_utc = {"since": "2026-07-02T10:00:00+00:00", "until": "2026-07-02T10:00:00+00:00"}
    more = {"priority": 3, "grep": "x", "instance": 2, "invocation_id": "r", **when_utc}
    params = {"runner": "a", "lines": 5, "after_cursor": "c", "job_id": "j", **more}
    assert service.calls == [("get_runner_logs", params)]


def test_logs_may_begin_some_time_ago_and_at_a_named_priority(service: Service) -> None:
    service.answers["get_runner_logs"] = []
    assert service.herosup("runner", "logs", "a", "-S", "-2m", "-p", "err").exit_code == 0
    params = service.calls[0][1]
    since = datetime.fromisoformat(params["since"])
    assert timedelta(minutes=2) <= datetime.now(UTC) - since < timedelta(minutes=3)
    assert params["priority"] == "err"


@pytest.mark.parametrize("time", ["soon", "-5", "-5y", "", "0001-01-01", "-999999999d"])
def test_a_time_that_is_none_is_refused(service: Service, time: str) -> None:
    result = service.herosup("runner", "logs", "a", "-S", time)
    assert (result.exit_code, service.calls) == (2, [])
    assert "cannot use time" in result.stderr


def test_missing_lines_stand_between_dashes(service: Service) -> None:
    stamp = "2026-07-02T10:00:00Z"
    service.answers["get_runner_logs"] = [{"timestamp": stamp, "kind": "gap", "message": "lost\x1b"}]
    result = service.herosup("runner", "logs", "a")
    assert result.stdout == f"-- {output.local_time(stamp)} lost\\x1b --\n"


def test_logs_as_json_are_the_records(service: Service) -> None:
    records = [{"timestamp": "2026-07-02T10:00:00Z", "message": "a\x1b"}]
    service.answers["get_runner_logs"] = records
    result = service.herosup("runner", "logs", "a", "--json")
    assert json.loads(result.stdout) == records
    assert "\x1b" not in result.stdout
