"""Jobs, looked at: what they are, how they stand, what they logged."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hero_supervisor.definition.labels import LabelKey, LabelValue
from hero_supervisor.job import Job, JobId, JobResult, JobState, JobStatus, JobSummary
from hero_supervisor.log_query import Cursor, LogQuery, Time
from hero_supervisor.queue.listing import JobFilter
from hero_supervisor.records import LogRecord
from hero_supervisor.runner import RunnerId

from .logs import Lines
from .parts import Parts

Limit = Annotated[int, Meta(ge=1, le=1_000, description="Number of entries, from 1 to 1000.")]
Name = Annotated[str, Meta(max_length=256)]
JobCursor = Annotated[str, Meta(max_length=600, description="The ``cursor`` of a job in a list of jobs.")]
JobLabels = Annotated[dict[LabelKey, LabelValue], Meta(max_length=64)]


class JobViews(Parts):
    """What can be seen of jobs."""

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

    async def get_job_state(self, job_id: JobId) -> JobState:
        """Return where a job is in its life, how it got there, and what is next.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.get_job_state(job_id)

    async def get_job_result(self, job_id: JobId) -> JobResult:
        """Return how a job stands, with its result or error once it has ended.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.get_job_result(job_id)

    async def get_job_logs(
        self, job_id: JobId, lines: Lines = 100, after_cursor: Cursor | None = None
    ) -> list[LogRecord]:
        """Return what a job logged, in all its attempts and wherever they were executed on this host, oldest first.

        The last record's ``cursor`` is the ``after_cursor`` of the next page; there is none after an empty one.

        Args:
            job_id: The job.
            lines: Most entries to return: the newest ones, or the ones after a cursor.
            after_cursor: ``cursor`` of the record to go on after.

        Raises:
            JobNotFound: No job has this id.
            JournalUnavailable: The journal cannot be read.
            RedisUnavailable: Redis does not answer.
        """
        runner = (await self._jobs.get_job_state(job_id)).runner
        query = LogQuery(units=self._site.log_units(runner), lines=lines, after_cursor=after_cursor, job_id=job_id)
        return await self._logs.read(query)

    async def list_jobs(
        self,
        status: JobStatus | None = None,
        runner: RunnerId | None = None,
        limit: Limit = 100,
        caller_id: Name | None = None,
        context_id: Name | None = None,
        labels: JobLabels | None = None,
        since: Time | None = None,
        until: Time | None = None,
        after_cursor: JobCursor | None = None,
    ) -> list[JobSummary]:
        """Return jobs, newest first.

        The last job's ``cursor`` is the ``after_cursor`` of the next page.

        Args:
            status: Only jobs in this status.
            runner: Only jobs of this runner.
            limit: Most jobs to return.
            caller_id: Only jobs of this caller.
            context_id: Only jobs of this context.
            labels: Only jobs with all of these labels.
            since: Only jobs created at this time or later.
            until: Only jobs created before this time.
            after_cursor: ``cursor`` of the job to go on after. At most 50,000 jobs are looked at in one call.

        Raises:
            InvalidInput: ``after_cursor`` is no cursor.
            RedisUnavailable: Redis does not answer.
        """
        wanted = JobFilter(status, runner, caller_id, context_id, labels or {}, since, until)
        return await self._jobs.list_jobs(wanted, limit=limit, after_cursor=after_cursor)
