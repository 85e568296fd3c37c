"""Calendar expressions, by the real systemd-analyze."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from hero_supervisor import errors
from hero_supervisor.calendar import PROGRAM, Calendar
from tests.conftest import missing

MOMENT = datetime(2026, 11, 25, 1, 0, 0, tzinfo=UTC)  # a Wednesday


@pytest.fixture
def calendar() -> Calendar:
    if shutil.which(PROGRAM) is None:
        missing(f"there is no {PROGRAM}")
    return Calendar()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Tokyo"])
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*:0/10", MOMENT + timedelta(minutes=10)),
        ("Sat 04:00 UTC", datetime(2026, 11, 28, 4, tzinfo=UTC)),
        ("2020-01-01", None),
    ],
)
async def test_the_next_time_is_told_whatever_the_time_zone(
    calendar: Calendar, expression: str, expected: datetime | None, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    assert await calendar.next_after(expression, MOMENT) == expected


async def test_without_a_zone_it_is_the_hosts_time(calendar: Calendar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert await calendar.next_after("04:00", MOMENT) == datetime(2026, 11, 25, 3, tzinfo=UTC)


@pytest.mark.parametrize("expression", ["foo", "25:00", "--help", "*:*:*;x"])
async def test_what_is_no_calendar_expression_is_refused(calendar: Calendar, expression: str) -> None:
    with pytest.raises(errors.InvalidInput, match="restart_calendar"):
        await calendar.next_after(expression, MOMENT)


async def test_answers_are_remembered(calendar: Calendar) -> None:
    first = await calendar.next_after("*:0/10", MOMENT)
    calendar._program = "/no/such/program"
    assert await calendar.next_after("*:0/10", MOMENT) == first
