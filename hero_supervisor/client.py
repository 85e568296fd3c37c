"""JobClient: store, queue, follow and read jobs, with or without a supervisor.

It owns the connections to one Redis. What a job is stored as is the business of ``queue/``; what runners do with it,
of ``worker/`` and of every foreign runner.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self, TypeVar

from .errors import Fault, HeroError, InvalidInput, InvalidJob, JobNotFound
from .job import JobStatus
from .queue.changes import follow_changes
from .queue.claims import Claims
from .queue.connection import RedisServer
from .queue.intake import Intake
from .queue.integrity import check_integrity
from .queue.keys import Keys
from .queue.ledger import Ledger
from .queue.listing import JobFilter, find_jobs
from .queue.preflight import preflight
from .queue.queues import Queues
from .queue.schedules import ScheduleStore
from .queue.store import JobStore
from .queue.watch import JobWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from .job import Job, JobResult, JobState, JobSummary
    from .queue.changes import OnChange
    from .queue.integrity import IntegrityReport
    from .queue.records import JobGlance

T = TypeVar("T")

#: Pauses between two looks at a group that somebody waits for, in seconds.
FIRST_GROUP_PAUSE_S: Final = 0.02
MAX_GROUP_PAUSE_S: Final = 0.5
#: Most jobs in one answer of ``list_jobs``.
MAX_LIST_LIMIT: Final = 1000


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
        self._intake = Intake(self._store.scripts)
        self._watcher = JobWatcher(server, self._store)
        #: What was handed out; the business of supervisors.
        self.ledger: Final = Ledger(self._store)
        #: Queues as a whole: statistics, limits, dead letters.
        self.queues: Final = Queues(self._store)
        #: Recurring schedules; their runs are made by supervisors.
        self.schedules: Final = ScheduleStore(self._store)

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
        try:
            await self._watcher.aclose()
            await self._intake.aclose()
        finally:
            await self._store.aclose()

    def claims(self, runner: str, holder: str) -> Claims:
        """Return what takes jobs of a runner's queue for a holder; close it with ``aclose``."""
        return Claims(self._store.server, self.keys, runner, holder)

    async def ping(self) -> None:
        """Return when Redis answers and accepts writes; nothing is written.

        Raises:
            RedisUnavailable: It does not answer, is loading, a replica, out of memory, or cannot save.
        """
        await self._store.ping()

    @property
    def failures(self) -> Mapping[str, int]:
        """How many calls to Redis failed, by the kind of the error."""
        return self._store.server.failures

    async def preflight(self) -> list[str]:
        """Return what may cost jobs in this Redis, as sentences for its operator.

        Raises:
            RedisTooOld: It cannot do what is needed.
        """
        return await preflight(self._store)

    async def check_integrity(self, *, repair: bool) -> IntegrityReport:
        """Prove that every job is where it has to be, while everything goes on; some seconds for 100,000 jobs.

        Args:
            repair: Whether to mend what is wrong, as ``queue/integrity.py`` tells; no job that has a record is dropped.
        """
        return await check_integrity(self._store, repair=repair)

    # -- making and queueing -------------------------------------------------------------------------------------

    async def store_job(self, job: Job) -> str:
        """Store a job in status ``created``, in no queue. Storing the same job again changes nothing.

        Returns:
            The job id.

        Raises:
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
        """
        [answer] = await self._intake.enqueue_many([job.checked()], is_queued=False)
        return _accepted(answer)

    async def enqueue(self, job: Job) -> str:
        """Store a job and queue it for its runner, in one step.

        Enqueueing the same job again changes nothing, however far it has got; times apart, *same* means that all
        fields are equal. A job that was stored only is queued now.

        Returns:
            The job id; that of the first job with its idempotency key.

        Raises:
            InvalidJob: The job has faults, or names no runner.
            JobExists: Another job has this id.
            JobNotFound: One of its prerequisites does not exist.
            QueueFull: The queue holds as many jobs as it may, or 10,000 jobs wait for one of its prerequisites.
        """
        return _accepted(await self._intake.enqueue(_for_a_queue(job)))

    async def enqueue_many(self, jobs: Sequence[Job]) -> list[str | HeroError]:
        """Store jobs and queue them for their runners, many in one step; each as by ``enqueue``.

        Returns:
            For each job its id, or why it was not accepted.

        Raises:
            InvalidJob: One of them has faults, or names no runner. None is stored then.
        """
        return await self._intake.enqueue_many([_for_a_queue(job) for job in jobs])

    # -- reading -------------------------------------------------------------------------------------------------

    async def get_job(self, job_id: str) -> Job:
        """Return a job as it was stored.

        Raises:
            JobNotFound: No job has this id.
            CorruptRecord: Its record cannot be read.
        """
        return (await self._store.read_job(job_id)).job

    async def get_job_state(self, job_id: str) -> JobState:
        """Return where a job is in its life and how it got there; raises like ``get_job``."""
        return await self._store.read_state(job_id)

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

    async def wait_for_results(
        self, job_ids: Sequence[str], *, timeout_s: float, is_first_enough: bool = False
    ) -> list[JobResult]:
        """Return how jobs stand when all have ended, or one has, or the time is up.

        Args:
            job_ids: The jobs.
            timeout_s: Longest wait, in seconds.
            is_first_enough: Whether to wait for the end of one only.

        Raises:
            RedisUnavailable: Redis is away when the time is up.
            JobNotFound: One of them does not exist, or was deleted meanwhile.
            CorruptRecord: The record of one cannot be read.
        """
        waits = [asyncio.create_task(self.wait_for_result(job_id, timeout_s=timeout_s)) for job_id in job_ids]
        try:
            when = asyncio.FIRST_COMPLETED if is_first_enough else asyncio.FIRST_EXCEPTION
            await asyncio.wait(waits, return_when=when)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return [_accepted(outcome) for outcome in await self._store.read_results(job_ids)]

    async def wait_for_group(self, name: str, *, timeout_s: float) -> dict[str, int]:
        """Return how many jobs of a group are in which state when none is open, or the time is up.

        Args:
            name: The group.
            timeout_s: Longest wait, in seconds.

        Raises:
            RedisUnavailable: Redis does not answer.
            JobNotFound: No job is, or was lately, in a group of this name.
        """
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        pause_s = FIRST_GROUP_PAUSE_S
        while True:
            counts = await self._store.group_counts(name)
            if not counts:
                raise JobNotFound(f"cannot find group '{name}': no job is in it", group=name)
            left_s = deadline_s - asyncio.get_running_loop().time()
            if not counts.get("open") or left_s <= 0:
                return counts
            # The changes that Redis announces are those of jobs; a group has thousands, and this is one small hash.
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, MAX_GROUP_PAUSE_S)

    async def list_jobs(
        self, wanted: JobFilter | None = None, *, limit: int = 100, after_cursor: str | None = None
    ) -> list[JobSummary]:
        """Return jobs, newest first, without payload and result.

        Args:
            wanted: Which ones; all if not given.
            limit: Most jobs to return, from 1 to 1000.
            after_cursor: The cursor of a job in a former answer: older ones are returned.

        Returns:
            Summaries; a job whose record cannot be read has a ``fault`` and no status. Jobs that foreign clients
            stored and did not push are not in our indexes and not listed. At most 50,000 jobs are looked at.

        Raises:
            InvalidInput: ``limit`` is out of range, or ``after_cursor`` is no cursor.
        """
        if not 1 <= limit <= MAX_LIST_LIMIT:
            raise InvalidInput([Fault("limit", f"must be from 1 to {MAX_LIST_LIMIT}")])
        return await find_jobs(self._store, wanted or JobFilter(), limit=limit, after=after_cursor)

    async def follow_changes(self, prefixes: Iterable[str], on_change: OnChange) -> None:
        """Tell of keys that change, until cancelled; see ``queue/changes.py``."""
        await follow_changes(self._store.server, prefixes, on_change)

    async def glance_at(self, job_ids: Sequence[str]) -> list[JobGlance | None]:
        """Return what is to be seen of each job; one without status when it is not there, ``None`` when unreadable."""
        return await self._store.read_glances(job_ids)

    async def key_exists(self, key: str) -> bool:
        """Tell whether a key of any name and type exists, like one that a runner keeps alive as its heartbeat."""
        return await self._store.key_exists(key)

    # -- changing ------------------------------------------------------------------------------------------------

    async def cancel_job(self, job_id: str) -> bool:
        """Cancel a job; whoever executes it is told. Repeating it changes nothing.

        Returns:
            Whether it has ended by that; otherwise it is being stopped, which a supervisor sees to.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended otherwise.
        """
        return await self._store.cancel(job_id, "cancelled")

    async def stop_overdue(self, job_id: str) -> None:
        """Have a job stopped whose time is up: it ends with an error; raises like ``cancel_job``."""
        await self._store.cancel(job_id, "timeout")

    async def retry_job(self, job_id: str) -> None:
        """Queue a job that has ended once more, as if it had never been executed.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has not ended.
        """
        await self._store.retry(job_id)

    async def set_job_status(self, job_id: str, status: JobStatus) -> None:
        """Change the status of a job that something else than a runner executes.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended.
        """
        await self._store.report(job_id, status)

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
        await self._store.report(job_id, JobStatus.FINISHED, "output", output)

    async def set_job_error(self, job_id: str, error: str) -> None:
        """End a job badly: status ``error``, with the text of the error; raises like ``set_job_result``."""
        await self._store.report(job_id, JobStatus.ERROR, "error", error)

    async def delete_job(self, job_id: str) -> None:
        """Forget a job: its record, its place in the index and in its queue. Jobs that wait for it are cancelled.

        Raises:
            JobNotFound: No job has this id.
            Conflict: A runner executes it.
        """
        await self._store.delete(job_id)


def _for_a_queue(job: Job) -> Job:
    checked = job.checked()
    if not checked.runner:
        raise InvalidJob([Fault("runner", "is required to queue the job")])
    return checked


def _accepted(answer: T | HeroError) -> T:
    if isinstance(answer, HeroError):
        raise answer
    return answer
