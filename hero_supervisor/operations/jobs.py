"""Jobs: handed to runners, waited for, looked at."""

from __future__ import annotations

import logging
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from hero_supervisor.definition.restart import PositiveSeconds
from hero_supervisor.job import Job, JobId, JobResult, JobStatus, JobSummary
from hero_supervisor.queue.listing import JobFilter
from hero_supervisor.runner import RunnerId

from .parts import Parts

logger = logging.getLogger(__name__)

Limit = Annotated[int, Meta(ge=1, le=1_000, description="Number of entries, from 1 to 1000.")]

#: Seconds that ``queue_and_wait`` allows beside the job's own timeout, when the caller names no time.
WAIT_MARGIN_S: Final = 60


class JobOperations(Parts):
    """What can be done with jobs."""

    async def queue_job_to_runner(self, runner: RunnerId, job: Job) -> str:
        """Store a job and put it at the end of a runner's queue. Repeating the call with the same job is safe.

        Args:
            runner: Id of the runner; it need not run yet.
            job: The job; ``runner`` is filled in, and ``executor`` when the runner is a bundled one.

        Returns:
            The job's id.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
            RedisUnavailable: Redis does not answer.
        """
        definition = self._registry.get(runner).definition
        executor = job.executor or (definition.executor.value if definition.executor else "")
        addressed = replace(job, runner=runner, executor=executor).checked()
        job_id = await self._jobs.enqueue(addressed)
        logger.info("queued job %s to runner %s", job_id, runner, extra={"runner": runner, "job_id": job_id})
        return job_id

    async def queue_and_wait(
        self,
        runner: RunnerId,
        job: Job,
        timeout: PositiveSeconds | None = None,  # noqa: ASYNC109  # the argument's name on the wire
    ) -> JobResult:
        """Queue a job and wait for its end.

        Args:
            runner: Id of the runner.
            job: The job.
            timeout: Seconds to wait; the job's own timeout and a minute when not given.

        Returns:
            The job's result, or its error: a job that ends badly is an answer, not a failure of this call.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
            OperationTimeout: It has not ended in time; it stays queued or goes on.
            RedisUnavailable: Redis does not answer.
        """
        job_id = await self.queue_job_to_runner(runner, job)
        return await self._jobs.wait_for_result(job_id, timeout_s=timeout or job.timeout + WAIT_MARGIN_S)

    async def get_job(self, job_id: JobId) -> Job:
        """Return a job as it was queued.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.get_job(job_id)

    async def get_job_status(self, job_id: JobId) -> JobStatus:
        """Return where a job is in its life.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.get_job_status(job_id)

    async def get_job_result(self, job_id: JobId) -> JobResult:
        """Return how a job stands, with its result or error once it has ended.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.get_job_result(job_id)

    async def list_jobs(
        self, status: JobStatus | None = None, runner: RunnerId | None = None, limit: Limit = 100
    ) -> list[JobSummary]:
        """Return jobs, newest first.

        Args:
            status: Only jobs in this status.
            runner: Only jobs of this runner.
            limit: Most jobs to return.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.list_jobs(JobFilter(status=status, runner=runner), limit=limit)
