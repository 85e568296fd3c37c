"""Jobs: made, queued, waited for, stopped, tried again, forgotten."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from hero_supervisor.definition.restart import PositiveSeconds
from hero_supervisor.errors import Fault, HeroError, InvalidJob
from hero_supervisor.job import Job, JobId, JobResult
from hero_supervisor.records import QueuedJob
from hero_supervisor.runner import JobProtocol, RunnerId

from .parts import Parts

logger = logging.getLogger(__name__)

#: Most jobs of one call, and seconds that a call allows for the end of a job beside the job's own timeout.
MAX_JOBS: Final = 1_000
WAIT_MARGIN_S: Final = 60

Jobs = Annotated[tuple[Job, ...], Meta(min_length=1, max_length=MAX_JOBS)]
JobIds = Annotated[tuple[JobId, ...], Meta(min_length=1, max_length=MAX_JOBS)]
GroupName = Annotated[str, Meta(min_length=1, max_length=256, description="Name of a group of jobs.")]


class JobOperations(Parts):
    """What can be done with jobs."""

    # -- making and queueing -------------------------------------------------------------------------------------

    async def create_job(self, job: Job) -> str:
        """Store a job without queueing it. Repeating the call with the same job is safe.

        Args:
            job: The job; it has to name its ``runner``.

        Returns:
            The job's id.

        Raises:
            RunnerNotFound: No runner has the id that the job names.
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.store_job(self._addressed(_runner_of(job), job))

    async def queue_job(self, job_id: JobId) -> str:
        """Queue a job that was stored only. Repeating the call is safe, however far the job has got.

        Returns:
            The job's id.

        Raises:
            JobNotFound: No job has this id.
            RunnerNotFound: Its runner does not exist.
            QueueFull: The queue holds as many jobs as it may.
            RedisUnavailable: Redis does not answer.
        """
        job = await self._jobs.get_job(job_id)
        return await self.queue_job_to_runner(job.runner, job)

    async def queue_job_to_runner(self, runner: RunnerId, job: Job) -> str:
        """Store a job and put it into a runner's queue. Repeating the call with the same job is safe.

        Args:
            runner: Id of the runner; it need not run yet.
            job: The job; ``runner`` is filled in, and ``executor`` when the runner is a bundled one.

        Returns:
            The job's id; that of the first job with its ``idempotency_key``.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
            JobNotFound: One of its prerequisites does not exist.
            QueueFull: The queue holds as many jobs as it may.
            RedisUnavailable: Redis does not answer.
        """
        job_id = await self._jobs.enqueue(self._addressed(runner, job))
        self._keeper.on_queued(runner)
        logger.debug("queued job %s to runner %s", job_id, runner, extra={"runner": runner, "job_id": job_id})
        return job_id

    async def queue_jobs_to_runner(self, runner: RunnerId, jobs: Jobs) -> list[QueuedJob]:
        """Store many jobs and put them into a runner's queue, in order. Repeating the call is safe.

        Args:
            runner: Id of the runner.
            jobs: The jobs, 1 to 1000.

        Returns:
            For each job its id, or why it was not accepted; that does not stop the others.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidJob: Jobs have faults; all are listed, and none is queued.
            RedisUnavailable: Redis does not answer.
        """
        answers = await self._jobs.enqueue_many([self._addressed(runner, job) for job in jobs])
        self._keeper.on_queued(runner)
        logger.debug("queued %d jobs to runner %s", len(jobs), runner, extra={"runner": runner})
        return [_queued(answer) for answer in answers]

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
            JobNotFound: One of its prerequisites does not exist.
            QueueFull: The queue holds as many jobs as it may.
            OperationTimeout: It has not ended in time; it stays queued or goes on.
            RedisUnavailable: Redis does not answer.
        """
        job_id = await self.queue_job_to_runner(runner, job)
        return await self._jobs.wait_for_result(job_id, timeout_s=timeout or job.timeout + WAIT_MARGIN_S)

    async def run_job(
        self,
        job: Job,
        timeout: PositiveSeconds | None = None,  # noqa: ASYNC109  # the argument's name on the wire
    ) -> JobResult:
        """Queue a job for the runner that it names and wait for its end; as ``queue_and_wait``.

        Args:
            job: The job; it has to name its ``runner``.
            timeout: Seconds to wait; the job's own timeout and a minute when not given.

        Raises:
            InvalidJob: The job has faults, or names no runner.
            OperationTimeout: It has not ended in time; it stays queued or goes on.
            RedisUnavailable: Redis does not answer.
        """
        return await self.queue_and_wait(_runner_of(job), job, timeout)

    # -- waiting -------------------------------------------------------------------------------------------------

    async def wait_for_jobs(
        self,
        job_ids: JobIds,
        timeout: PositiveSeconds = 60.0,  # noqa: ASYNC109  # the argument's name on the wire
        *,
        first: bool = False,
    ) -> list[JobResult]:
        """Wait until jobs have ended, or the time is up, and return how they stand then.

        Args:
            job_ids: The jobs, 1 to 1000.
            timeout: Longest wait, in seconds.
            first: Return as soon as one of them has ended.

        Returns:
            For each job how it stands; those whose status is not final have not ended in time.

        Raises:
            JobNotFound: One of them does not exist, or was deleted meanwhile.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.wait_for_results(job_ids, timeout_s=timeout, is_first_enough=first)

    async def wait_for_group(
        self,
        group: GroupName,
        timeout: PositiveSeconds = 60.0,  # noqa: ASYNC109  # the argument's name on the wire
    ) -> dict[str, int]:
        """Wait until all jobs of a group have ended, or the time is up.

        Returns:
            How many are ``open``, ``finished``, ``error`` and ``cancelled``; numbers that are 0 may be left out.

        Raises:
            JobNotFound: No job is, or was lately, in a group of this name.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.wait_for_group(group, timeout_s=timeout)

    # -- changing ------------------------------------------------------------------------------------------------

    async def cancel_job(self, job_id: JobId) -> JobResult:
        """Cancel a job: at once if it only waits; if it is executed, its process is told, and killed if need be.

        Returns:
            How it stands; ``stopping`` as long as it is still executed. ``wait_for_jobs`` tells of its end.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended otherwise.
            RedisUnavailable: Redis does not answer.
        """
        await self._jobs.cancel_job(job_id)
        runner = (await self._jobs.get_job_state(job_id)).runner
        self._keeper.look_at(runner)
        logger.info("cancelled job %s", job_id, extra={"runner": runner, "job_id": job_id})
        return await self._jobs.get_job_result(job_id)

    async def retry_job(self, job_id: JobId) -> None:
        """Queue a job that has ended once more, as if it had never been executed.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has not ended.
            RedisUnavailable: Redis does not answer.
        """
        await self._jobs.retry_job(job_id)
        self._keeper.on_queued((await self._jobs.get_job_state(job_id)).runner)
        logger.info("queued job %s once more", job_id, extra={"job_id": job_id})

    async def delete_job(self, job_id: JobId) -> None:
        """Forget a job that nobody executes. Jobs that wait for it are cancelled.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It is being executed: cancel it first.
            RedisUnavailable: Redis does not answer.
        """
        await self._jobs.delete_job(job_id)
        logger.info("deleted job %s", job_id, extra={"job_id": job_id})

    # -- inside --------------------------------------------------------------------------------------------------

    def _addressed(self, runner: str, job: Job) -> Job:
        definition = self._registry.get(runner).definition
        if job.limits is not None and definition.job_protocol is not JobProtocol.UNIT:
            raise InvalidJob([Fault("limits", "can be given only for runners whose jobs are units (protocol 'unit')")])
        executor = job.executor or (definition.executor.value if definition.executor else "")
        return replace(job, runner=runner, executor=executor)


def _runner_of(job: Job) -> str:
    if not job.runner:
        raise InvalidJob([Fault("runner", "is required: the id of the runner that is to execute it")])
    return job.runner


def _queued(answer: str | HeroError) -> QueuedJob:
    if isinstance(answer, HeroError):
        return QueuedJob(job_id=None, error=answer.message, kind=answer.kind)
    return QueuedJob(job_id=answer)


def jobs_from(data: object) -> tuple[Job, ...]:
    """Build jobs from decoded JSON.

    Raises:
        InvalidJob: With the path of every fault, as in ``jobs.3.payload``.
    """
    if not isinstance(data, Sequence) or isinstance(data, str) or not 1 <= len(data) <= MAX_JOBS:
        raise InvalidJob([Fault("jobs", f"must be an array of 1 to {MAX_JOBS} jobs")])
    jobs: list[Job] = []
    faults: list[Fault] = []
    for number, each in enumerate(data):
        try:
            jobs.append(Job.from_data(each))
        except InvalidJob as exc:
            faults += [Fault(f"jobs.{number}.{fault.path}", fault.message) for fault in exc.faults]
    if faults:
        raise InvalidJob(faults[:MAX_JOBS])
    return tuple(jobs)
