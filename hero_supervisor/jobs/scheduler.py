"""``Scheduler``: makes the runs of recurring schedules when they are due.

It looks at each runner's schedules when the soonest is due, when one was changed here, and once a minute in case it was
changed elsewhere. A run is queued first and its schedule moved on after that (``queue/schedules.py``).
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import HeroError, JobExists, RedisUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from hero_supervisor.client import JobClient
    from hero_supervisor.engine.registry import Registry
    from hero_supervisor.schedule import Schedule

logger = logging.getLogger(__name__)

#: Longest time in seconds until schedules are looked at again, and until that is tried again when it failed.
LOOK_S: Final = 60.0
FAILURE_PAUSE_S: Final = 1.0


class Scheduler:
    """Makes the runs of the schedules of a registry's runners, while ``run`` runs."""

    def __init__(self, registry: Registry, jobs: Callable[[], JobClient], on_queued: Callable[[str], None]) -> None:
        """Args: the runners, the jobs in Redis, and who wants to know when a job was queued for a runner."""
        self._registry = registry
        self._jobs = jobs
        self._on_queued = on_queued
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Look at the schedules now: one was changed."""
        self._changed.set()

    async def run(self) -> None:
        """Make runs when they are due, until cancelled."""
        while True:
            self._changed.clear()
            pause_s = await self._make_all_due()
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            except TimeoutError:
                pass  # the next run is due

    async def _make_all_due(self) -> float:
        """Make the runs that are due; return the seconds until the next one is."""
        try:
            soonest = await self._jobs().schedules.soonest(list(self._registry))
        except RedisUnavailable:
            return FAILURE_PAUSE_S  # readiness tells of it
        now = datetime.now(UTC)
        pauses_s = [
            (moment - now).total_seconds() if moment > now else await self._pause_after(runner)
            for runner, moment in soonest.items()
        ]
        return min([LOOK_S, *pauses_s])

    async def _pause_after(self, runner: str) -> float:
        """Make the runs of a runner that are due; return the seconds until the next one is."""
        try:
            next_at = await self._make_due(runner)
        except RedisUnavailable:
            return FAILURE_PAUSE_S  # readiness tells of it
        except HeroError as exc:
            logger.warning("cannot make the scheduled jobs of runner %s: %s", runner, exc, extra={"runner": runner})
            return LOOK_S
        return LOOK_S if next_at is None else max(0.0, (next_at - datetime.now(UTC)).total_seconds())

    async def _make_due(self, runner: str) -> datetime | None:
        schedules = self._jobs().schedules
        due, next_at = await schedules.due(runner)
        for schedule_id, since in due:
            try:
                schedule = (await schedules.read(runner, schedule_id)).schedule
                following = await self._make(schedule, since)
            except RedisUnavailable:
                raise
            except HeroError as exc:
                extra = {"runner": runner, "schedule": schedule_id}
                logger.warning("cannot make a run of schedule %s: %s", schedule_id, exc, extra=extra)
                following = datetime.fromtimestamp(since.timestamp() + LOOK_S, UTC)
            next_at = min((moment for moment in (next_at, following) if moment is not None), default=None)
        return next_at

    async def _make(self, schedule: Schedule, since: datetime) -> datetime | None:
        now = datetime.now(UTC)
        runs, following = schedule.due_runs(since, now)
        for moment in [] if schedule.is_paused else runs:
            job = schedule.run_at(moment)
            try:
                await self._jobs().enqueue(job)
            except JobExists:
                continue  # it was made before the schedule was changed
            logger.info("queued job %s of schedule %s", job.id, schedule.id, extra={"runner": schedule.runner})
            self._on_queued(schedule.runner)
        await self._jobs().schedules.move_on(schedule.runner, schedule.id, following)
        return following
