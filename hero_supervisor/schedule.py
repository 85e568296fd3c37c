"""A recurring schedule as data: when a job is made again and again, and from what.

Cron expressions are those of Debian's cron, five fields, and its words like ``@daily``; ``cronsim`` reads them, also
across changes of the clock: what falls into a gap is executed right after it, what would come twice comes once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Annotated, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError
from msgspec import Meta
from msgspec.structs import replace

from . import job, schema
from .errors import Fault, InvalidSchedule
from .job import Job
from .runner import RunnerId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Most missed runs that are made up for.
MAX_MADE_UP: Final = 100
#: How late a run may be made without counting as missed.
ON_TIME_S: Final = 60

ScheduleId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$(?!\n)",
        description="Id of a schedule: letters, digits, '_' and '-'; at most 63 characters.",
    ),
]

_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class MissedRuns(StrEnum):
    """What becomes of runs whose time passed while nobody could make them."""

    #: They are left out.
    SKIP = "skip"
    #: The last one is made.
    LAST = "last"
    #: All are made, the last hundred at most.
    ALL = "all"


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a job is queued again and again."""

    #: Identity, unique among the schedules of its runner.
    id: ScheduleId
    #: The runner that executes the jobs.
    runner: RunnerId
    #: Minute, hour, day of the month, month, day of the week; or ``@hourly``, ``@daily``, …
    cron: Annotated[str, Meta(max_length=200)]
    #: The time zone in which ``cron`` is meant: an IANA name, as in ``Europe/Brussels``.
    time_zone: Annotated[str, Meta(max_length=100)] = "UTC"
    #: What each run is made from. Its ``id`` and times are given by us; it cannot be delayed, or have an
    #: ``idempotency_key``.
    job: Job
    #: What becomes of runs whose time passed.
    missed: MissedRuns = MissedRuns.LAST
    #: Make no runs for the time being; those of that time are not made up for.
    is_paused: bool = False

    @classmethod
    def from_data(cls, data: object) -> Self:
        """Build a schedule from decoded JSON.

        Raises:
            InvalidSchedule: With the path of every fault.
        """
        return schema.convert(data, cls, error=InvalidSchedule, rules=faults_in)

    def moments(self, after: datetime) -> Iterator[datetime]:
        """Yield the times of its runs after a moment, in UTC, soonest first; endless for nearly all expressions."""
        return (moment.astimezone(UTC) for moment in _read(self, after))

    def run_at(self, moment: datetime) -> Job:
        """Return the job of the run of a moment; the same one whenever it is asked for."""
        return replace(
            self.job, id=f"{self.id}.{moment:%Y%m%dT%H%M%SZ}", runner=self.runner, created_at=moment, updated_at=moment
        )

    def due_runs(self, due: datetime, now: datetime) -> tuple[list[datetime], datetime | None]:
        """Return the times of the runs to make now, and that of the next one.

        Args:
            due: When the first one that has not been made was due.
            now: The present.
        """
        if now < due:
            return [], due
        # Backwards, for after a long absence there may be a million.
        passed = takewhile(lambda moment: moment >= due, _times_before(self, now + timedelta(microseconds=1)))
        runs = list(islice(passed, MAX_MADE_UP if self.missed is MissedRuns.ALL else 1))[::-1]
        if self.missed is MissedRuns.SKIP:
            runs = [moment for moment in runs if moment >= now - timedelta(seconds=ON_TIME_S)]
        return runs, next(self.moments(now), None)


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, and when its next run is."""

    schedule: Schedule
    #: Null when there is none.
    next_at: schema.Moment | None


def faults_in(schedule: Schedule) -> Iterable[Fault]:
    """Yield what is wrong with a schedule whose types are right."""
    try:
        if next(_read(schedule, datetime.now(UTC)), None) is None:
            yield Fault("cron", "never comes about")
    except CronSimError as exc:
        yield Fault("cron", f"is no cron expression of five fields: {str(exc).lower()}")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield Fault("time_zone", "is no time zone that this host knows; give one like Europe/Brussels")
    for fault in job.faults_in(schedule.job):
        yield Fault(f"job.{fault.path}", fault.message)
    if schedule.job.run_at is not None or schedule.job.delay_s or schedule.job.idempotency_key:
        yield Fault("job", "must not have run_at, delay_s or idempotency_key: the schedule says when")
    if schedule.job.runner not in {"", schedule.runner}:
        yield Fault("job.runner", "must be the schedule's runner, or be left out")


def _times_before(schedule: Schedule, before: datetime) -> Iterator[datetime]:
    return (moment.astimezone(UTC) for moment in _read(schedule, before, is_reverse=True))


def _read(schedule: Schedule, start: datetime, *, is_reverse: bool = False) -> Iterator[datetime]:
    zone = ZoneInfo(schedule.time_zone)
    return CronSim(_WORDS.get(schedule.cron, schedule.cron), start.astimezone(zone), reverse=is_reverse)
