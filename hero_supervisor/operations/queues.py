"""Queues as a whole: statistics, pause, limits, dead letters."""

from __future__ import annotations

import logging
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from hero_supervisor.job import JobSummary
from hero_supervisor.queue.integrity import IntegrityReport
from hero_supervisor.records import QueueLimits, QueueStats
from hero_supervisor.runner import RunnerId

from .parts import Parts

logger = logging.getLogger(__name__)

DeadLimit = Annotated[int, Meta(ge=1, le=1_000, description="Number of dead letters, from 1 to 1000.")]


class QueueOperations(Parts):
    """What can be done with the queues of runners."""

    async def get_queue_stats(self, runner: RunnerId) -> QueueStats:
        """Return how full a runner's queue is, what it allows, and what went through it.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        self._registry.get(runner)
        stats = self._rates.told(await self._jobs.queues.stats(runner))
        return replace(stats, scaling=self._demand.reasons.get(runner))

    async def get_all_queue_stats(self) -> list[QueueStats]:
        """Return the statistics of the queues of all runners.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        return [await self.get_queue_stats(runner) for runner in self._registry]

    async def pause_queue(self, runner: RunnerId) -> QueueStats:
        """Let no more jobs be taken from a runner's queue. Those that were taken go on, and new ones can be queued.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._pause(runner, is_paused=True)

    async def resume_queue(self, runner: RunnerId) -> QueueStats:
        """Let jobs be taken from a runner's queue again.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._pause(runner, is_paused=False)

    async def set_queue_limits(self, runner: RunnerId, limits: QueueLimits) -> QueueStats:
        """Set what a runner's queue allows, in place of what it allowed before.

        Args:
            runner: Id of the runner.
            limits: The new limits; what is not given is as usual.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        self._registry.get(runner)
        await self._jobs.queues.limit(runner, limits)
        self._keeper.look_at(runner)
        logger.info("set the limits of the queue of %s: %s", runner, limits, extra={"runner": runner})
        return await self.get_queue_stats(runner)

    async def list_dead_jobs(self, runner: RunnerId, limit: DeadLimit = 100) -> list[JobSummary]:
        """Return dead letters of a runner: jobs that failed for good although they were to be tried again.

        Args:
            runner: Id of the runner.
            limit: Most jobs to return, the newest dead ones first.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        self._registry.get(runner)
        return await self._jobs.queues.dead(runner, limit=limit)

    async def retry_dead_jobs(self, runner: RunnerId, limit: DeadLimit = 1_000) -> int:
        """Queue dead letters of a runner once more, as if they had never been executed.

        Args:
            runner: Id of the runner.
            limit: Most jobs to queue, the newest dead ones first.

        Returns:
            How many were queued.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        self._registry.get(runner)
        done = await self._jobs.queues.retry_dead(runner, limit=limit)
        self._keeper.look_at(runner)
        logger.info("queued %d dead letters of %s once more", done, runner, extra={"runner": runner})
        return done

    async def purge_dead_jobs(self, runner: RunnerId, limit: DeadLimit = 1_000) -> int:
        """Forget dead letters of a runner.

        Args:
            runner: Id of the runner.
            limit: Most jobs to forget, the newest dead ones first.

        Returns:
            How many were forgotten.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        self._registry.get(runner)
        done = await self._jobs.queues.purge_dead(runner, limit=limit)
        logger.info("forgot %d dead letters of %s", done, runner, extra={"runner": runner})
        return done

    async def check_integrity(self, *, repair: bool = False) -> IntegrityReport:
        """Prove that every job of this Redis is where it has to be, while everything goes on.

        It looks at each job in one moment, and takes some seconds for 100,000 of them.

        Args:
            repair: Mend what is wrong; no job that has a record is dropped by that.

        Returns:
            What was wrong.

        Raises:
            RedisUnavailable: Redis does not answer.

        Source: docs/jobs.md.
        """
        report = await self._jobs.check_integrity(repair=repair)
        for violation in report.violations[:100]:
            logger.warning("job %s of %s: %s", violation.job_id, violation.runner, violation.text)
        return report

    async def _pause(self, runner: str, *, is_paused: bool) -> QueueStats:
        self._registry.get(runner)
        await self._jobs.queues.pause(runner, is_paused=is_paused)
        self._keeper.look_at(runner)
        word = "paused" if is_paused else "resumed"
        logger.info("%s the queue of %s", word, runner, extra={"runner": runner})
        return await self.get_queue_stats(runner)
