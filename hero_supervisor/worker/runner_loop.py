"""The runner's loop: take an id, execute its job, write the result, again.

What may happen between any two steps:

- *Redis goes away*: the loop waits for it, for ever. A result in hand is written when it is back; every writing may be
  repeated, so a lost answer does no harm.
- *The runner is asked to stop*: it takes no more. An id it has just taken goes back to the head of the queue. A job
  that runs may end within the grace; then its group is killed and its id goes back to the head.
- *The runner is asked to drain*: the same, but the job that runs may take as long as it takes.
- *systemd stops the whole unit*: with ``KillMode=control-group`` the script gets SIGTERM together with us, and its
  death may be seen first. So a script killed by a SIGTERM that we did not send is looked at again a moment later.
- *The runner is killed*: the job stays ``started``; what becomes of it is up to the supervisor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from signal import SIGTERM
from typing import TYPE_CHECKING, Final, TypeVar

from hero_supervisor.errors import Conflict, CorruptRecord, JobNotFound, PermissionDenied, RedisUnavailable
from hero_supervisor.job import JobStatus
from hero_supervisor.notify import notify
from hero_supervisor.queue.inbox import JobInbox
from hero_supervisor.queue.store import JobStore

from .execute import INTERPRETERS, Script, execute
from .journal_log import PRIORITY_INFO, JobLog, encode
from .outcome import How, status_and_text
from .surroundings import environment_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hero_supervisor.job import Job
    from hero_supervisor.queue.connection import RedisServer
    from hero_supervisor.queue.keys import Keys

    from .execute import StopRequest
    from .outcome import Ending

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: The payload that asks whether a runner is well, and the answer. Source: the original's actor loop.
PING: Final = "ping"
PONG: Final = "pong"
#: Pauses between two attempts to reach Redis, in seconds.
FIRST_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 5.0
#: How long after a script's death by SIGTERM our own may still come, in seconds.
OWN_SIGTERM_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """What a runner is told when it starts."""

    runner_id: str
    #: Redis list it takes job ids from.
    queue: str
    #: Executor of jobs that name none; a key of ``INTERPRETERS``.
    executor: str
    #: Seconds that a running job may go on after the runner was asked to stop.
    stop_grace_s: float


class RunnerLoop:
    """Executes the jobs of one queue, one at a time."""

    def __init__(self, options: RunnerOptions, server: RedisServer, keys: Keys, log: JobLog) -> None:
        self._options = options
        self._namespace = keys.namespace
        self._store = JobStore(server, keys)
        self._inbox = JobInbox(server, options.queue)
        self._log = log

    async def run(self, stop: StopRequest) -> None:
        """Work until asked to stop, and until the job in hand is ended or put back."""
        try:
            await self._take_jobs(stop)
        finally:
            await self._inbox.aclose()
            await self._store.aclose()

    async def _take_jobs(self, stop: StopRequest) -> None:
        # Its answer does not matter; that there is one does.
        await self._until_redis_answers(lambda: self._store.queue_depth(self._options.queue), stop)
        if stop.takes_no_more:
            return
        notify("READY=1")
        logger.info("runner '%s' takes jobs from %s", self._options.runner_id, self._options.queue)
        while not stop.takes_no_more:
            job_id = await self._until_redis_answers(self._inbox.take, stop)
            if job_id is not None:
                await self._handle(job_id, stop)

    # -- one job -------------------------------------------------------------------------------------------------

    async def _handle(self, job_id: str, stop: StopRequest) -> None:
        try:
            job, status = await self._insist(lambda: self._store.read_job(job_id))
            if status.is_final:
                logger.warning("cannot execute job '%s': it is '%s' already", job_id, status)
            elif stop.takes_no_more:
                await self._put_back(job_id)
            else:
                await self._execute(job, stop)
        except CorruptRecord as exc:
            logger.warning("%s", exc)
            await self._finish(job_id, JobStatus.ERROR, str(exc))
        except (JobNotFound, Conflict) as exc:
            logger.warning("%s", exc)

    async def _execute(self, job: Job, stop: StopRequest) -> None:
        executor = job.executor or self._options.executor
        if job.payload == PING:
            await self._finish(job.id, JobStatus.FINISHED, PONG)
        elif executor not in INTERPRETERS:
            known = ", ".join(INTERPRETERS)
            await self._finish(job.id, JobStatus.ERROR, f"cannot execute: no executor '{executor}'; known are: {known}")
        else:
            await self._insist(lambda: self._store.set_status(job.id, JobStatus.STARTED))
            await self._run_script(job, executor, stop)

    async def _run_script(self, job: Job, executor: str, stop: StopRequest) -> None:
        environment = environment_of(job, runner=self._options.runner_id, own=os.environ)
        script = Script(job.payload, executor, environment, job.timeout)
        entry = self._entry(job)
        began = time.monotonic()

        async def log(line: bytes, /, *, stream: str) -> None:
            await self._log.write(entry, line, stream=stream)

        try:
            ending = await execute(script, stop, log)
        except OSError as exc:
            await self._finish(job.id, JobStatus.ERROR, f"cannot start the script: {exc}")
            return
        if await _was_stopped(ending, stop):
            await self._put_back(job.id)
            return
        status, text = status_and_text(ending, timeout_s=job.timeout)
        await self._finish(job.id, status, text)
        logger.info("job '%s': %s after %.3f s", job.id, status, time.monotonic() - began)

    async def _finish(self, job_id: str, status: JobStatus, text: str) -> None:
        try:
            await self._insist(lambda: self._store.finish(job_id, status, text, reply=True))
        except (JobNotFound, Conflict, CorruptRecord) as exc:
            logger.warning("%s", exc)

    async def _put_back(self, job_id: str) -> None:
        try:
            await self._insist(lambda: self._store.requeue(job_id, self._options.queue))
            logger.info("job '%s' is back at the head of the queue", job_id)
        except (JobNotFound, Conflict, CorruptRecord) as exc:
            logger.warning("%s", exc)

    def _entry(self, job: Job) -> bytes:
        runner = self._options.runner_id
        fields = {
            "PRIORITY": PRIORITY_INFO,
            "SYSLOG_IDENTIFIER": runner,
            "HERO_RUNNER": runner,
            "HERO_NAMESPACE": self._namespace,
            "HERO_JOB_ID": job.id,
        }
        return encode(fields)

    # -- patience ------------------------------------------------------------------------------------------------

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until Redis does it, for ever: what we hold is in no queue, and would be lost with us."""
        pause_s = 0.0
        while True:
            try:
                return await call()
            except (RedisUnavailable, PermissionDenied) as exc:
                pause_s = _longer(pause_s, exc)
            await asyncio.sleep(pause_s)

    async def _until_redis_answers(self, call: Callable[[], Awaitable[T]], stop: StopRequest) -> T | None:
        """Call until Redis answers, or the runner is to stop; then the answer is ``None``."""
        pause_s = 0.0
        while True:
            try:
                return await call()
            except (RedisUnavailable, PermissionDenied, CorruptRecord) as exc:
                pause_s = _longer(pause_s, exc)
            if await stop.takes_no_more_within(pause_s):
                return None


def _longer(pause_s: float, exc: Exception) -> float:
    if not pause_s:
        logger.warning("%s; trying again until it works", exc)
    return min(max(2 * pause_s, FIRST_PAUSE_S), MAX_PAUSE_S)


async def _was_stopped(ending: Ending, stop: StopRequest) -> bool:
    if ending.how is How.EXITED and ending.return_code == -SIGTERM:
        return await stop.comes_within(OWN_SIGTERM_S)
    return ending.how is How.STOPPED
