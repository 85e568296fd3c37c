"""Recurring schedules: set, looked at, removed."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from hero_supervisor.errors import HeroError
from hero_supervisor.runner import RunnerId
from hero_supervisor.schedule import Schedule, ScheduleId, ScheduleState

from .parts import Parts

logger = logging.getLogger(__name__)


class ScheduleOperations(Parts):
    """What can be done with recurring schedules."""

    async def set_schedule(self, schedule: Schedule) -> ScheduleState:
        """Queue a job again and again, from now on; a schedule of the same runner and id is replaced.

        Args:
            schedule: When, and what.

        Returns:
            The schedule, and when its next run is.

        Raises:
            RunnerNotFound: There is no such runner.
            InvalidSchedule: The schedule has faults; all are listed.
            RedisUnavailable: Redis does not answer.
        """
        self._registry.get(schedule.runner)
        next_at = next(schedule.moments(datetime.now(UTC)), None)
        await self._jobs.schedules.save(schedule, next_at)
        self._scheduler.look()
        extra = {"runner": schedule.runner, "schedule": schedule.id}
        logger.info("set schedule %s of runner %s", schedule.id, schedule.runner, extra=extra)
        return ScheduleState(schedule=schedule, next_at=next_at)

    async def get_schedule(self, runner: RunnerId, schedule: ScheduleId) -> ScheduleState:
        """Return a schedule, and when its next run is.

        Raises:
            ScheduleNotFound: The runner has none of this id.
            CorruptRecord: It cannot be read.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.schedules.read(runner, schedule)

    async def list_schedules(self, runner: RunnerId | None = None) -> list[ScheduleState]:
        """Return the schedules of a runner, or of all; the log tells of those that cannot be read.

        Args:
            runner: Only this one's.

        Raises:
            RunnerNotFound: There is no such runner.
            RedisUnavailable: Redis does not answer.
        """
        runners = list(self._registry) if runner is None else [self._registry.get(runner).definition.id]
        found = [each for name in runners for each in await self._jobs.schedules.all_of(name)]
        for fault in (each for each in found if isinstance(each, HeroError)):
            logger.warning("%s", fault)
        return [each for each in found if isinstance(each, ScheduleState)]

    async def remove_schedule(self, runner: RunnerId, schedule: ScheduleId) -> None:
        """Forget a schedule. Jobs that it has queued stay.

        Raises:
            ScheduleNotFound: The runner has none of this id.
            RedisUnavailable: Redis does not answer.
        """
        await self._jobs.schedules.remove(runner, schedule)
        logger.info("removed schedule %s of runner %s", schedule, runner, extra={"runner": runner})
