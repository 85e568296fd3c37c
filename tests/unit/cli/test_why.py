"""``herosup why`` and ``herosup runner exits``: how runs ended, in words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.conftest import ago, runner_status

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Service


def exit_record(**fields: object) -> dict[str, object]:
    return {
        "runner": "ocr",
        "instance": 1,
        "invocation_id": "0123456789abcdef" * 2,
        "reason": "exit",
        "explanation": "its program ended by itself with exit status 3",
        "exit_code": 3,
        "signal": None,
        "ended_at": ago(minutes=5),
        "duration_s": 4.25,
        "memory_peak_bytes": None,
        "cpu_s": None,
        "will_restart": False,
        "log_tail": ["Traceback", "ValueError: \x1b[31mno\x1b[m"],
        **fields,
    }


def story(service: Service, record: dict[str, object], **status: object) -> list[str]:
    service.answers["get_runner_exits"] = [record]
    service.answers["get_runner_status"] = runner_status("ocr", **{"status": "failed", **status})  # type: ignore[arg-type]  # the test's own words
    done = service.herosup("why", "ocr")
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_why_tells_what_ended_when_and_why_what_comes_next_and_where_to_read_on(service: Service) -> None:
    lines = story(service, exit_record(cpu_s=1.26, memory_peak_bytes=3 * 2**20))
    assert re.fullmatch(r"ocr ended 5 m ago, at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, after 4\.2 s\.", lines[0])
    run = "0123456789abcdef0123456789abcdef"
    assert lines[1:] == [
        "Why:   its program ended by itself with exit status 3.",
        "Next:  it was given up; when the cause is mended: herosup runner start ocr.",
        "Used:  1.3 s of CPU time, at most 3.0 MiB of memory.",
        "Its last words:",
        "    Traceback",
        "    ValueError: \\x1b[31mno\\x1b[m",
        "All of that run:",
        f"    journalctl _SYSTEMD_INVOCATION_ID={run} + INVOCATION_ID={run} + USER_INVOCATION_ID={run}",
    ]
    assert service.calls[0] == ("get_runner_exits", {"runner": "ocr", "limit": 1})


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({}, {"status": "backoff"}, "systemd starts it again, after its restart delay."),
        (
            {},
            {"status": "backoff", "next_start": "2026-01-01T12:00:00"},
            "the supervisor starts it again, at 12:00:00.",
        ),
        ({}, {"status": "running"}, "nothing to do: it was started again 3 m ago and is running."),
        ({}, {"status": "stopped"}, "it is stopped; to start it: herosup runner start ocr."),
        ({"instance": 2}, {"instances": [{"instance": 2, "status": "backoff"}]}, "systemd starts it again, after its "),
        ({"instance": 3}, {"instances": [{"instance": 2, "status": "backoff"}]}, "it was given up; when the cause is "),
    ],
)
def test_why_tells_what_comes_next(
    service: Service, fields: dict[str, object], status: dict[str, object], words: str
) -> None:
    assert story(service, exit_record(**fields), **status)[2].startswith(f"Next:  {words}")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"duration_s": 59.94}, "after 59.9 s."),
        ({"duration_s": 61}, "after 1 min 1 s."),
        ({"duration_s": 3 * 86_400 + 7_200 + 5}, "after 3 d 2 h."),
        ({"duration_s": None}, "after an unknown time."),
        ({"duration_s": None, "reason": "not-started"}, "after no time."),
        ({"instance": 2}, "ocr (instance 2) ended"),
    ],
)
def test_why_tells_how_long_it_ran(service: Service, fields: dict[str, object], words: str) -> None:
    assert words in story(service, exit_record(**fields))[0]


def test_why_says_so_when_it_wrote_nothing(service: Service) -> None:
    assert "It wrote nothing." in story(service, exit_record(log_tail=[]))


def test_why_of_a_runner_that_never_ended_is_exit_3(service: Service) -> None:
    service.answers |= {"get_runner_exits": [], "get_runner_status": runner_status("ocr")}
    done = service.herosup("why", "ocr")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == "error: cannot tell why: no run of 'ocr' has ended; it is running\n"


def test_why_as_json_is_the_record_and_the_status(service: Service) -> None:
    record, status = exit_record(), runner_status("ocr")
    service.answers |= {"get_runner_exits": [record], "get_runner_status": status}
    done = service.herosup("why", "ocr", "--instance", "2", "--json")
    assert json.loads(done.stdout) == {"exit": record, "status": status}
    assert service.calls[0] == ("get_runner_exits", {"runner": "ocr", "limit": 1, "instance": 2})


def test_runner_exits_is_a_table_or_the_records(service: Service) -> None:
    killed = exit_record(exit_code=None, signal="SIGKILL", will_restart=True, reason="signal", explanation="killed")
    service.answers["get_runner_exits"] = [killed, exit_record()]
    lines = service.herosup("runner", "exits", "ocr", "-n", "5").stdout.splitlines()
    assert lines[0].split() == ["ENDED", "AFTER", "REASON", "EXIT", "RESTART", "RUN", "WHY"]
    assert lines[1].split()[2:] == ["4.2", "s", "signal", "SIGKILL", "yes", "01234567", "killed"]
    assert lines[2].split()[4:8] == ["exit", "3", "no", "01234567"]
    assert service.calls == [("get_runner_exits", {"runner": "ocr", "limit": 5})]
    as_json = service.herosup("runner", "exits", "ocr", "--json").stdout
    assert json.loads(as_json) == service.answers["get_runner_exits"]
