"""Recurring schedules as data: when runs are, and which are made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from hero_supervisor.errors import InvalidSchedule
from hero_supervisor.schedule import MAX_MADE_UP, MissedRuns, Schedule

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def make(**fields: Any) -> Schedule:
    return Schedule.from_data({"id": "s", "runner": "r", "cron": "0 * * * *", "job": {"payload": "x"}, **fields})


def test_runs_are_told_in_utc() -> None:
    schedule = make(cron="30 8 * * MON-FRI", time_zone="Europe/Brussels")
    assert next(schedule.moments(NOON)) == datetime(2026, 6, 2, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("word", "cron"), [("@hourly", "0 * * * *"), ("@daily", "0 0 * * *"), ("@weekly", "0 0 * * 0")]
)
def test_words_stand_for_expressions(word: str, cron: str) -> None:
    assert list(islice(make(cron=word).moments(NOON), 3)) == list(islice(make(cron=cron).moments(NOON), 3))


def test_an_hour_that_comes_twice_has_its_run_once() -> None:
    before = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)
    schedule = make(cron="30 2 * * *", time_zone="Europe/Brussels")
    first, second = islice(schedule.moments(before), 2)
    assert second - first >= timedelta(hours=24)


def test_an_hour_that_is_left_out_does_not_lose_its_run() -> None:
    before = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
    schedule = make(cron="30 2 * * *", time_zone="Europe/Brussels")
    assert next(schedule.moments(before)) < datetime(2026, 3, 29, 2, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("missed", "runs"),
    [
        (MissedRuns.SKIP, []),
        (MissedRuns.LAST, [NOON]),
        (MissedRuns.ALL, [NOON - timedelta(hours=2), NOON - timedelta(hours=1), NOON]),
    ],
)
def test_what_was_missed_is_made_up_for_as_the_schedule_says(missed: MissedRuns, runs: list[datetime]) -> None:
    due, now = NOON - timedelta(hours=2), NOON + timedelta(minutes=5)
    assert make(missed=missed).due_runs(due, now) == (runs, NOON + timedelta(hours=1))


@pytest.mark.parametrize("missed", MissedRuns)
def test_a_run_that_is_due_is_made(missed: MissedRuns) -> None:
    assert make(missed=missed).due_runs(NOON, NOON + timedelta(seconds=1)) == ([NOON], NOON + timedelta(hours=1))


def test_nothing_is_made_before_its_time() -> None:
    assert make().due_runs(NOON, NOON - timedelta(microseconds=1)) == ([], NOON)


@pytest.mark.timeout(5)
def test_a_year_of_missed_minutes_is_bounded() -> None:
    runs, following = make(cron="* * * * *", missed=MissedRuns.ALL).due_runs(NOON - timedelta(days=366), NOON)
    assert (len(runs), runs[-1], following) == (MAX_MADE_UP, NOON, NOON + timedelta(minutes=1))


def test_the_job_of_a_run_is_the_same_whenever_it_is_made() -> None:
    job = make().run_at(NOON)
    assert (job.id, job.runner, job.payload) == ("s.20260601T120000Z", "r", "x")
    assert make().run_at(NOON) == job


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "@reboot"}, "cron"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"job": {"payload": "x", "delay_s": 1}}, "job"),
        ({"job": {"payload": "x", "timeout": 0}}, "job.timeout"),
        ({"job": {"payload": "x", "runner": "other"}}, "job.runner"),
        ({"job": {}}, "job.payload"),
        ({"id": "a.b"}, "id"),
    ],
)
def test_a_fault_is_told_by_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        make(**fields)
    assert [fault.path for fault in caught.value.faults] == [path]
