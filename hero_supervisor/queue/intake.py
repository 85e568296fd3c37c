"""How jobs come into a queue.

Jobs that are queued one by one at the same moment, by the many callers of one process, are brought together: a call to
Redis costs us as much as ten jobs in it. Nobody waits for that longer than until the event loop turns. Calls do not
wait for each other, and a runner's jobs go in calls of their own, so one call's fault is not that of other runners.
"""

from __future__ import annotations

import asyncio
from copy import copy
from itertools import chain, groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from hero_supervisor.errors import CorruptRecord, HeroError, JobExists, JobNotFound, QueueFull

from . import records
from .store import usec_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hero_supervisor.job import Job

    from .scripts import Scripts

    Answer = str | HeroError

#: Jobs, and bytes of their payloads, stored in one call: Redis does nothing else meanwhile.
JOBS_PER_CALL: Final = 200
BYTES_PER_CALL: Final = 4 * 1024 * 1024
#: Most jobs that a queue holds when its settings say nothing else.
MAX_QUEUE_LENGTH: Final = 5_000_000
#: Seconds that an idempotency key is kept.
IDEMPOTENCY_S: Final = 86_400


class _Item(NamedTuple):
    """A job on its way into a queue."""

    job: Job
    runner: str
    encoded: bytes

    @classmethod
    def of(cls, job: Job) -> _Item:
        return cls(job, job.runner, _encoded(job))


class Intake:
    """Stores and queues the jobs of one namespace. Every method raises what ``RedisServer.call`` names."""

    def __init__(self, scripts: Scripts) -> None:
        """Args: what changes Redis."""
        self._scripts = scripts
        self._waiting: list[tuple[_Item, asyncio.Future[Answer]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Wait for the calls that are under way; each has its own time limit."""
        if self._sending:
            await asyncio.wait(self._sending)

    async def enqueue(self, job: Job) -> Answer:
        """Store a valid job and queue it for its runner, together with others that come now; as ``enqueue_many``."""
        item = _Item.of(job)
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send_all)
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, answer))
        return await answer

    async def enqueue_many(self, jobs: Sequence[Job], *, is_queued: bool = True) -> list[Answer]:
        """Store valid jobs and queue each for its runner; not if ``is_queued`` is false. Repeating it changes nothing.

        Returns:
            For each job its id, or that of the job with its idempotency key; or why it was not accepted:
            ``JobExists``: another job has its id; ``QueueFull``, also for a prerequisite that 10,000 jobs wait for;
            ``JobNotFound``: a prerequisite does not exist; ``CorruptRecord``: a key has another type.

        Raises:
            InvalidJob: The signatures of one are too large; none is stored then.
        """
        return await self._send([_Item.of(job) for job in jobs], is_queued=is_queued)

    async def _send(self, items: Sequence[_Item], *, is_queued: bool = True) -> list[Answer]:
        answers: list[Answer] = []
        for start, end in _calls(items):
            head = ("queue" if is_queued else "store", MAX_QUEUE_LENGTH, IDEMPOTENCY_S)
            encoded = [item.encoded for item in items[start:end]]
            found = await self._scripts.run("enqueue", items[start].runner, *head, *encoded)
            answers += [_answer(item.job, *answer) for item, answer in zip(items[start:end], found, strict=True)]
        return answers

    def _send_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for runner, group in groupby(sorted(waiting, key=_runner_of), _runner_of):
            task = asyncio.create_task(self._send_group(list(group)), name=f"queue-jobs-of-{runner}")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send_group(self, group: Sequence[tuple[_Item, asyncio.Future[Answer]]]) -> None:
        futures = [future for _, future in group]
        try:
            answers = await self._send([item for item, _ in group])
        except Exception as exc:  # it is raised where the job was queued
            for future in futures:
                if not future.done():  # else its caller has gone
                    # Each raises its own: a shared one would collect the traceback of every caller.
                    future.set_exception(copy(exc))
            return
        for future, answer in zip(futures, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def _runner_of(waiting: tuple[_Item, asyncio.Future[Answer]]) -> str:
    return waiting[0].runner


def _calls(items: Sequence[_Item]) -> Iterable[tuple[int, int]]:
    """Yield which jobs are stored together: neighbours of one runner, not too many."""
    start = size = 0
    for i, item in enumerate(items):
        if i > start and (item.runner != items[start].runner or i - start == JOBS_PER_CALL or size > BYTES_PER_CALL):
            yield start, i
            start, size = i, 0
        size += len(item.encoded)
    if items:
        yield start, len(items)


def _encoded(job: Job) -> bytes:
    """Return a job as an argument of ``enqueue.lua``."""
    content: dict[str, object] = {
        "id": job.id,
        "digest": records.digest_of(job),
        "created": usec_of(job.created_at),
        "priority": job.priority,
        "prerequisites": job.prerequisites,
        "fields": list(chain.from_iterable(records.to_fields(job).items())),
    }
    if job.run_at is not None:
        content["at"] = usec_of(job.run_at) // 1000
    if job.delay_s:
        content["delay"] = round(job.delay_s * 1000)
    if job.idempotency_key:
        content["idem"] = job.idempotency_key
    if job.group:
        content["group"] = job.group
    return msgspec.msgpack.encode(content)


def _answer(job: Job, answer: bytes, job_id: bytes) -> str | HeroError:
    found = job_id.decode()
    match answer:
        case b"ok":
            return found
        case b"full":
            text = f"cannot queue job '{job.id}': the queue of '{job.runner}' is full"
            return QueueFull(text, hint="try again later", job_id=job.id, runner=job.runner)
        case b"no-prerequisite":
            return JobNotFound(f"cannot queue job '{job.id}': its prerequisite '{found}' does not exist", job_id=found)
        case b"busy":
            text = f"cannot queue job '{job.id}': as many jobs as may wait for '{found}' already"
            return QueueFull(text, hint="try again when some have ended", job_id=job.id, runner=job.runner)
        case b"corrupt":
            text = f"cannot queue job '{job.id}': the record of its {found} is of another type"
            return CorruptRecord(text, hint="check_integrity mends groups", job_id=job.id)
        case _:
            return JobExists(f"cannot store job '{found}': another job has this id", job_id=found)
