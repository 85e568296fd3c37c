"""``herosup queue``, ``herosup dead`` and ``herosup schedule``: what is sent and shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Service


def stats(**fields: Any) -> dict[str, Any]:
    sizes = {"pending": 3, "scheduled": 0, "waiting": 1, "taken": 2, "dead": 0, "known": 9}
    return {
        "runner": "r",
        "is_paused": False,
        "limits": {"rate": None},
        "oldest_s": 4.2,
        "counts": {},
        **sizes,
        **fields,
    }


def test_queues_are_a_table(service: Service) -> None:
    service.answers["get_all_queue_stats"] = [
        stats(per_second={"finished": 1.5, "error": 0.5}),
        stats(runner="s", is_paused=True, oldest_s=None),
    ]
    lines = service.herosup("queue", "list").stdout.splitlines()
    assert " ".join(lines[0].split()) == "RUNNER STATE PENDING SCHEDULED WAITING TAKEN DEAD OLDEST DONE/S"
    assert lines[1].split() == ["r", "open", "3", "0", "1", "2", "0", "4", "s", "2.0"]
    assert lines[2].split() == ["s", "paused", "3", "0", "1", "2", "0"]


def test_one_queue_is_shown_with_its_limits_and_counts(service: Service) -> None:
    service.answers["get_queue_stats"] = stats(
        limits={"rate": 5.0, "burst": None}, counts={"finished": 7}, scaling="3 jobs are there"
    )
    lines = service.herosup("queue", "show", "r").stdout.splitlines()
    assert lines[2:] == ["limits: rate 5.0", "since the beginning: finished 7", "instances: 3 jobs are there"]
    assert json.loads(service.herosup("queue", "show", "r", "--json").stdout)["pending"] == 3


def test_pause_and_resume_show_the_queue(service: Service) -> None:
    service.answers |= {"pause_queue": stats(is_paused=True), "resume_queue": stats()}
    assert "paused" in service.herosup("queue", "pause", "r").stdout
    assert "open" in service.herosup("queue", "resume", "r").stdout


def test_limits_are_sent_whole(service: Service) -> None:
    service.answers["set_queue_limits"] = stats()
    service.herosup("queue", "limit", "r", "--rate", "2.5", "--burst", "4")
    service.herosup("queue", "limit", "r", "--none")
    sent = [params["limits"] for _, params in service.calls]
    assert sent == [{"rate": 2.5, "burst": 4}, {}]


def test_limits_that_are_not_given_are_wrong_usage(service: Service) -> None:
    assert service.herosup("queue", "limit", "r").exit_code == 2
    assert service.herosup("queue", "limit", "r", "--none", "--rate", "1").exit_code == 2
    assert service.calls == []


def test_dead_letters_are_retried_and_purged_by_number(service: Service) -> None:
    service.answers |= {"retry_dead_jobs": 3, "purge_dead_jobs": 2}
    assert service.herosup("dead", "retry", "r").stdout == "3\n"
    assert service.herosup("dead", "purge", "r", "--yes", "-n", "5").stdout == "2\n"
    assert service.calls[1] == ("purge_dead_jobs", {"runner": "r", "limit": 5})


def test_dead_letters_are_not_purged_without_a_yes(service: Service) -> None:
    result = service.herosup("dead", "purge", "r", stdin="y\n")
    assert (result.exit_code, "--yes" in result.stderr) == (2, True)
    assert service.calls == []


def test_a_schedule_is_set_listed_and_removed(service: Service) -> None:
    schedule = {"runner": "r", "id": "nightly", "cron": "@daily", "time_zone": "Europe/Brussels", "is_paused": False}
    state = {"schedule": schedule, "next_at": None}
    service.answers |= {"set_schedule": state, "list_schedules": [state], "remove_schedule": None}
    shown = service.herosup("schedule", "set", "r", "nightly", "@daily", "echo hi", "--zone", "Europe/Brussels")
    assert shown.stdout.splitlines()[1].split() == ["r", "nightly", "@daily", "Europe/Brussels", "never", "on"]
    assert service.calls[0][1]["schedule"] == {
        **schedule,
        "job": {"payload": "echo hi"},
        "missed": "last",
    }
    assert service.herosup("schedule", "list").stdout == shown.stdout
    assert service.herosup("schedule", "remove", "r", "nightly").exit_code == 0


def test_a_check_tells_what_is_wrong_by_text_and_exit_code(service: Service) -> None:
    violation = {"kind": "nowhere", "runner": "r", "job_id": "j", "text": "job 'j' is in no set"}
    found = {"jobs": 3, "violations": [violation], "found": 1, "is_repaired": False}
    service.answers["check_integrity"] = found
    result = service.herosup("queue", "check")
    assert (result.exit_code, result.stdout.splitlines()) == (
        1,
        ["nowhere: job 'j' is in no set", "3 jobs, 1 violations found"],
    )
    service.answers["check_integrity"] = {**found, "is_repaired": True}
    assert service.herosup("queue", "check", "--repair").exit_code == 0
    assert service.calls[1] == ("check_integrity", {"repair": True})
