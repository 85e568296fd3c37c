"""The life of a runner: take an id, execute that job, write how it ended, until told to stop.

What must not happen is that a job is lost. So nothing that was taken is dropped: while Redis is away, what is to be
written is kept and tried again; a job that a stop cuts short goes back to the head of the queue.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeVar

from hero_supervisor.errors import Conflict, CorruptRecord, HeroError, JobNotFound, RedisUnavailable
from hero_supervisor.job import JobStatus
from hero_supervisor.runner import Executor

from .execution import Outcome, execute
from .output import JournalLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hero_supervisor.job import Job
    from hero_supervisor.queue.inbox import JobInbox
    from hero_supervisor.queue.store import JobStore

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A job with this payload asks whether the runner is alive, and the answer. Source: the original's job protocol.
PING: Final = "ping"
PONG: Final = "pong"
#: Seconds between two tries while Redis is away: the first, and the longest.
FIRST_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 2.0


class JobLoop:
    """Executes the jobs of one queue, one at a time."""

    def __init__(
        self, runner_id: str, queue: str, store: JobStore, inbox: JobInbox, executor: Executor, *, stop_grace_s: float
    ) -> None:
        """Args: our id, the queue and its two ends, the default executor, seconds a job may go on after ``stop``."""
        self._runner_id = runner_id
        self._queue = queue
        self._store = store
        self._inbox = inbox
        self._executor = executor
        self._stop_grace_s = stop_grace_s
        self._stopping = asyncio.Event()
        self._log = JournalLog()

    def stop(self) -> None:
        """Take no more jobs; the one at hand has its grace."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until ``stop``."""
        try:
            while not self._stopping.is_set():
                # Never cancelled: what Redis has handed out would be lost (queue/inbox.py).
                job_id = await self._persist(self._inbox.take)
                if job_id is not None:
                    await self._handle(job_id)
        finally:
            self._log.close()

    async def _handle(self, job_id: str) -> None:
        try:
            job, status = await self._persist(lambda: self._store.read_job(job_id))
            if status.is_final:
                logger.warning("job %s has ended already; it is not executed again", job_id)
                return
            outcome = None if self._stopping.is_set() else await self._outcome(job)
            if outcome is None:
                await self._persist(lambda: self._store.requeue(job_id, self._queue))
                logger.info("job %s goes back into the queue", job_id)
            else:
                await self._finish(job_id, outcome)
        except CorruptRecord as exc:
            await self._report_corrupt(job_id, exc)
        except (JobNotFound, Conflict) as exc:
            # Somebody deleted or ended it meanwhile: their word stands.
            logger.warning("%s", exc)

    async def _outcome(self, job: Job) -> Outcome | None:
        """Execute a job; ``None`` when a stop cut it short."""
        if job.payload.strip() == PING:
            return Outcome(JobStatus.FINISHED, PONG)
        wanted = job.executor or self._executor.value
        if wanted not in set(Executor):
            return Outcome(JobStatus.ERROR, f"cannot execute the job: this runner has no executor {wanted!r}")
        await self._persist(lambda: self._store.set_status(job.id, JobStatus.STARTED))
        fields = {
            "HERO_JOB_ID": job.id,
            "HERO_RUNNER": self._runner_id,
            "HERO_NAMESPACE": self._store.keys.namespace,
            "SYSLOG_IDENTIFIER": self._runner_id,
        }
        return await execute(job, Executor(wanted), self._log, fields, self._stopping, grace_s=self._stop_grace_s)

    async def _finish(self, job_id: str, outcome: Outcome) -> None:
        await self._persist(lambda: self._store.finish(job_id, outcome.status, outcome.text, reply=True))
        logger.info("job %s: %s", job_id, outcome.status)

    async def _report_corrupt(self, job_id: str, fault: CorruptRecord) -> None:
        logger.error("%s", fault)
        try:
            await self._finish(job_id, Outcome(JobStatus.ERROR, str(fault)))
        except HeroError as exc:
            logger.error("%s", exc)  # noqa: TRY400  # the message says all

    async def _persist(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Do something with Redis, again and again while Redis is away."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await operation()
            except RedisUnavailable as exc:
                logger.warning("%s; trying again", exc)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
