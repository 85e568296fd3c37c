"""JobClient: store, queue, follow and read jobs, with or without a supervisor.

It owns the connections to one Redis. What a job is stored as is the business of ``queue/``; what runners do with it,
of ``worker/`` and of every foreign runner.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self

from .errors import Fault, InvalidInput, InvalidJob
from .job import JobStatus
from .queue.connection import RedisServer
from .queue.keys import Keys
from .queue.store import JobStore
from .queue.watch import JobWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .job import Job, JobResult, JobSummary

#: Most jobs in one answer of ``list_jobs``, and most entries of the index that it looks at for them.
MAX_LIST_LIMIT: Final = 1000
MAX_LIST_SCAN: Final = 50_000


class JobClient:
    """The jobs of one namespace in one Redis.

    Every method that talks to Redis raises ``RedisUnavailable`` when it does not answer within five seconds or
    refuses for the time being, and ``PermissionDenied`` when the credentials do not do. Changes may be repeated after
    either: what was done already is not done twice.

    >>> async def main():
    ...     async with JobClient.connect("redis://localhost:6379") as jobs:
    ...         job_id = await jobs.enqueue(Job(payload="print(6 * 7)", runner="calc"))
    ...         return await jobs.wait_for_result(job_id, timeout_s=10)
    """

    def __init__(self, redis_url: str, *, namespace: str = "hero") -> None:
        """Prepare a client; it connects when it is first used. Call ``close`` at the end, or use ``connect``.

        Raises:
            InvalidSettings: ``redis_url`` is not a Redis URL.
        """
        server = RedisServer.at(redis_url)
        #: Names of the keys of this namespace.
        self.keys: Final = Keys(namespace)
        self._store = JobStore(server, self.keys)
        self._watcher = JobWatcher(server, self._store)

    @classmethod
    @asynccontextmanager
    async def connect(cls, redis_url: str, namespace: str = "hero") -> AsyncIterator[Self]:
        """Give a client for the time of a ``with`` block; whether Redis answers, ``ping`` tells.

        Args:
            redis_url: ``redis://``, ``rediss://`` or ``unix://`` URL.
            namespace: What all key names begin with.

        Raises:
            InvalidSettings: ``redis_url`` is not a Redis URL.
        """
        client = cls(redis_url, namespace=namespace)
        try:
            yield client
        finally:
            await client.close()

    async def close(self) -> None:
        """Close all connections; whoever still waits for a result gets ``RedisUnavailable``."""
        await self._watcher.aclose()
        await self._store.aclose()

    async def ping(self) -> None:
        """Return when Redis answers and accepts writes; nothing is written.

        Raises:
            RedisUnavailable: It does not answer, is loading, a replica, out of memory, or cannot save.
        """
        await self._store.ping()

    # -- making and queueing -------------------------------------------------------------------------------------

    async def store_job(self, job: Job) -> str:
        """Store a job in status ``created``, in no queue. Storing the same job again changes nothing.

        Returns:
            The job id.

        Raises:
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
        """
        await self._store.enqueue(job.checked(), None)
        return job.id

    async def enqueue(self, job: Job, queue: str | None = None) -> str:
        """Store a job and append its id to a queue, in one step.

        Enqueueing the same job again changes nothing, however far it has got; times apart, *same* means that all
        fields are equal. A job that was stored only is queued now.

        Args:
            job: The job.
            queue: Redis list to append to; the default queue of ``job.runner`` when not given.

        Returns:
            The job id.

        Raises:
            InvalidJob: The job has faults, or names no runner and ``queue`` is not given.
            JobExists: Another job has this id, or it is in another queue.
        """
        job = job.checked()
        await self._store.enqueue(job, queue or self._queue_of(job))
        return job.id

    async def dispatch_job(self, job_id: str, queue: str | None = None) -> None:
        """Append a stored job's id to a queue. Repeating it changes nothing.

        Args:
            job_id: A job in status ``created``.
            queue: Redis list to append to; the default queue of the job's runner when not given.

        Raises:
            JobNotFound: No job has this id.
            InvalidJob: The job names no runner and ``queue`` is not given.
            Conflict: It was queued before, to another queue.
        """
        await self._store.dispatch(job_id, queue or self._queue_of(await self.get_job(job_id)))

    # -- reading -------------------------------------------------------------------------------------------------

    async def get_job(self, job_id: str) -> Job:
        """Return a job as it was stored.

        Raises:
            JobNotFound: No job has this id.
            CorruptRecord: Its record cannot be read.
        """
        return (await self._store.read_job(job_id)).job

    async def get_job_status(self, job_id: str) -> JobStatus:
        """Return where a job is in its life; raises like ``get_job``."""
        return (await self._store.read_result(job_id)).status

    async def get_job_result(self, job_id: str) -> JobResult:
        """Return how a job stands, with its result or error once it has ended; raises like ``get_job``."""
        return await self._store.read_result(job_id)

    async def wait_for_result(self, job_id: str, *, timeout_s: float) -> JobResult:
        """Return the result of a job when it has ended, well or badly.

        Thousands may wait at once; they share one connection. Any runner may write the result.

        Args:
            job_id: The job.
            timeout_s: Longest wait, in seconds. While Redis is away the wait goes on.

        Raises:
            OperationTimeout: It has not ended in time; the message has its present status.
            RedisUnavailable: Redis is away when the time is up.
            JobNotFound: No job has this id, or it was deleted meanwhile.
            CorruptRecord: Its record cannot be read.
        """
        return await self._watcher.wait(job_id, timeout_s=timeout_s)

    async def list_jobs(
        self, *, status: JobStatus | None = None, runner: str | None = None, limit: int = 100
    ) -> list[JobSummary]:
        """Return jobs, newest first, without payload and result.

        Args:
            status: Only jobs in this status.
            runner: Only jobs of this runner.
            limit: Most jobs to return, from 1 to 1000.

        Returns:
            Summaries; a job whose record cannot be read has a ``fault`` and no status. Jobs that foreign clients
            stored are not in our index and not listed. Only the 50,000 newest jobs are looked at.

        Raises:
            InvalidInput: ``limit`` is out of range.
        """
        if not 1 <= limit <= MAX_LIST_LIMIT:
            raise InvalidInput([Fault("limit", f"must be from 1 to {MAX_LIST_LIMIT}")])
        most = limit if status is None and runner is None else MAX_LIST_SCAN
        found: list[JobSummary] = []
        async for summary in self._store.summaries(most=most):
            if status in {None, summary.status} and runner in {None, summary.runner}:
                found.append(summary)
            if len(found) == limit:
                break
        return found

    async def queue_depth(self, queue: str) -> int:
        """Return how many ids a Redis list holds; ``keys.work_queue`` names a runner's default list."""
        return await self._store.queue_depth(queue)

    async def key_exists(self, key: str) -> bool:
        """Tell whether a key of any name and type exists, like one that a runner keeps alive as its heartbeat."""
        return await self._store.key_exists(key)

    # -- changing ------------------------------------------------------------------------------------------------

    async def set_job_status(self, job_id: str, status: JobStatus) -> None:
        """Change the status of a job.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended; ``finished`` and ``error`` are for ever.
        """
        await self._store.set_status(job_id, status)

    async def set_job_result(self, job_id: str, output: str) -> None:
        """End a job well: status ``finished``, with its output. Repeating it changes nothing.

        Args:
            job_id: The job.
            output: At most ``MAX_RESULT_BYTES`` bytes of UTF-8.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended otherwise.
            InvalidInput: ``output`` is too large or not Unicode text.
        """
        await self._store.finish(job_id, JobStatus.FINISHED, output)

    async def set_job_error(self, job_id: str, error: str) -> None:
        """End a job badly: status ``error``, with the text of the error; raises like ``set_job_result``."""
        await self._store.finish(job_id, JobStatus.ERROR, error)

    async def delete_job(self, job_id: str) -> None:
        """Forget a job: its record, its place in the index and in its queue.

        Raises:
            JobNotFound: No job has this id.
            Conflict: A runner executes it.
        """
        await self._store.delete(job_id)

    # -- inside --------------------------------------------------------------------------------------------------

    def _queue_of(self, job: Job) -> str:
        if not job.runner:
            raise InvalidJob([Fault("runner", "is required to queue the job")])
        return self.keys.work_queue(job.runner)
