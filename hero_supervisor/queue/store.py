"""Jobs in Redis: every reading and every change, each one atomic.

This is the floor that ``client.py`` and the bundled runner share. All changes are Lua scripts (the ``.lua`` files
here; their heads tell keys, arguments and answers), and all may be repeated: a caller that got no answer calls again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hero_supervisor.errors import Conflict, HeroError, JobExists, JobNotFound
from hero_supervisor.job import JobStatus

from . import records
from .records import FIELD_LIMITS, JOB_FIELDS, RESULT_FIELDS, SUMMARY_FIELDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from hero_supervisor.job import Job, JobResult, JobSummary

    from .connection import RedisServer
    from .keys import Keys
    from .records import RawValue

#: Seconds that a reply list is kept for whoever asked for the job.
REPLY_EXPIRY_S: Final = 3600
#: Jobs read at a time. Results may have a megabyte each, lines of a list have some hundred bytes.
RESULTS_PER_READ: Final = 50
SUMMARIES_PER_READ: Final = 250
#: Ids at the head of a queue that are searched for one that was put back already.
_REQUEUE_SEARCH: Final = 1000
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class StoredJob(NamedTuple):
    """A job as it is stored, and its status."""

    job: Job
    status: JobStatus


class JobStore:
    """The jobs of one namespace on one server. Every method raises what ``RedisServer.call`` names."""

    def __init__(self, server: RedisServer, keys: Keys) -> None:
        self.keys = keys
        self._server = server
        self._redis = server.commands()
        self._scripts = {
            path.name: self._redis.register_script(path.read_text(encoding="utf-8"))
            for path in files(__package__).iterdir()
            if path.name.endswith(".lua")
        }

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Return when Redis answers and accepts writes."""
        async with self._server.call():
            # Refused like any write on a replica, when memory is full, or when the disk fails; changes nothing.
            await self._redis.lpushx(self.keys.probe, "")

    # -- changes -------------------------------------------------------------------------------------------------

    async def enqueue(self, job: Job, queue: str | None) -> None:
        """Store a valid job and append its id to a queue; to none if it is ``None``. Repeating it changes nothing.

        Raises:
            JobExists: Another job has this id, or it is in another queue.
            InvalidJob: Its signatures are too large.
        """
        fields = chain.from_iterable(records.to_fields(job).items())
        args: tuple[str | int, ...] = (job.id, records.digest_of(job), _usec(job.created_at), _now(), *fields)
        keys = (self.keys.job(job.id), self.keys.job_index, *([queue] if queue else []))
        if await self._run("enqueue.lua", keys, args) != "ok":
            raise JobExists(f"cannot store job '{job.id}': another job has this id", job_id=job.id)

    async def dispatch(self, job_id: str, queue: str) -> None:
        """Append a stored job's id to a queue. Repeating it changes nothing.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It was queued already, to another queue.
        """
        answer = await self._run("dispatch.lua", (self.keys.job(job_id), queue), (job_id, _now()))
        _accept(answer, job_id, "queue")

    async def set_status(self, job_id: str, status: JobStatus) -> None:
        """Change the status of a job that has not ended. Repeating it changes nothing.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended, in another status.
        """
        answer = await self._run("set_status.lua", (self.keys.job(job_id),), (status.value, _now()))
        _accept(answer, job_id, f"set to '{status}'")

    async def finish(self, job_id: str, status: JobStatus, text: str, *, reply: bool = False) -> None:
        """End a job. Repeating it changes nothing.

        Args:
            job_id: The job.
            status: ``finished`` or ``error``.
            text: Its output, or its error.
            reply: Also push the text to the reply list.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended otherwise.
            InvalidInput: The text could not be read back: it is too large, or not Unicode text.
        """
        records.check_result(text)
        field = "output" if status is JobStatus.FINISHED else "error"
        keys = (self.keys.job(job_id), *([self.keys.reply_queue(job_id)] if reply else []))
        answer = await self._run("finish.lua", keys, (status.value, _now(), field, text, REPLY_EXPIRY_S))
        _accept(answer, job_id, f"end with '{status}'")

    async def requeue(self, job_id: str, queue: str) -> None:
        """Put a job that was taken and has not ended back to the head of a queue. Repeating it changes nothing.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended.
        """
        args = (job_id, _now(), _REQUEUE_SEARCH)
        _accept(await self._run("requeue.lua", (self.keys.job(job_id), queue), args), job_id, "queue again")

    async def delete(self, job_id: str) -> None:
        """Forget a job, also in the index and in its queue.

        Raises:
            JobNotFound: No job has this id.
            Conflict: A runner executes it.
        """
        answer = await self._run("delete.lua", (self.keys.job(job_id), self.keys.job_index), (job_id,))
        _accept(answer, job_id, "delete")

    # -- readings ------------------------------------------------------------------------------------------------

    async def read_job(self, job_id: str) -> StoredJob:
        """Return a job and its status.

        Raises:
            JobNotFound: No job has this id.
            CorruptRecord: Its record cannot be read.
        """
        [values] = await self._read([job_id], ("status", *JOB_FIELDS))
        if isinstance(values, HeroError):
            raise values
        return StoredJob(records.job_from(job_id, values[1:]), records.status_from(job_id, values[0]))

    async def read_result(self, job_id: str) -> JobResult:
        """Return how a job stands; raises like ``read_job``."""
        [outcome] = await self.read_results([job_id])
        if isinstance(outcome, HeroError):
            raise outcome
        return outcome

    async def read_results(self, job_ids: Sequence[str]) -> list[JobResult | HeroError]:
        """Return how each job stands, or why that cannot be told. Meant for ``RESULTS_PER_READ`` ids at a time."""
        outcomes: list[JobResult | HeroError] = []
        for job_id, values in zip(job_ids, await self._read(job_ids, RESULT_FIELDS), strict=True):
            try:
                outcomes.append(values if isinstance(values, HeroError) else records.result_from(job_id, values))
            except HeroError as exc:
                outcomes.append(exc)
        return outcomes

    async def summaries(self, *, most: int) -> AsyncIterator[JobSummary]:
        """Yield what the index holds, newest first; ids whose job has vanished are left out.

        Args:
            most: Entries of the index that are looked at.
        """
        seen: set[str] = set()
        for start in range(0, most, SUMMARIES_PER_READ):
            entries = await self._index(start, min(start + SUMMARIES_PER_READ, most) - 1)
            # A job stored meanwhile moves the others down: then the end of one page is the head of the next.
            fresh = {job_id: score for job_id, score in entries if job_id not in seen}
            seen.update(fresh)
            for job_id, values in zip(fresh, await self._read(list(fresh), SUMMARY_FIELDS), strict=True):
                if isinstance(values, JobNotFound):
                    continue
                indexed_at = _EPOCH + timedelta(microseconds=fresh[job_id])
                if isinstance(values, HeroError):
                    yield records.unreadable(job_id, values, indexed_at=indexed_at)
                else:
                    yield records.summary_from(job_id, values, indexed_at=indexed_at)
            if len(entries) < SUMMARIES_PER_READ:
                return

    async def key_exists(self, key: str) -> bool:
        """Tell whether a key exists."""
        async with self._server.call():
            return bool(await self._redis.exists(key))

    async def queue_depth(self, queue: str) -> int:
        """Return how many ids a queue holds."""
        async with self._server.call():
            return await self._redis.llen(queue)

    # -- inside --------------------------------------------------------------------------------------------------

    async def _run(self, script: str, keys: Iterable[str], args: Iterable[str | int]) -> str:
        async with self._server.call():
            answer: bytes = await self._scripts[script](tuple(keys), tuple(args))
        return answer.decode(errors="replace")

    async def _read(self, job_ids: Sequence[str], names: Sequence[str]) -> list[list[RawValue] | HeroError]:
        if not job_ids:
            return []
        args: list[str | int] = []
        for name in names:
            args += (name, FIELD_LIMITS[name])
        async with self._server.call():
            found = await self._scripts["read.lua"]([self.keys.job(job_id) for job_id in job_ids], args)
        return [_checked(job_id, values) for job_id, values in zip(job_ids, found, strict=True)]

    async def _index(self, first: int, last: int) -> list[tuple[str, float]]:
        async with self._server.call():
            entries: Any = await self._redis.zrevrange(self.keys.job_index, first, last, withscores=True)
        return [(member.decode(errors="replace"), score) for member, score in entries]


def _checked(job_id: str, values: object) -> list[RawValue] | HeroError:
    if values is None:
        return JobNotFound(f"cannot find job '{job_id}'", job_id=job_id)
    if isinstance(values, list):
        return values
    return records.corrupt(job_id, "record", "is not a hash")


def _accept(answer: str, job_id: str, verb: str) -> None:
    if answer == "missing":
        raise JobNotFound(f"cannot {verb} job '{job_id}': it does not exist", job_id=job_id)
    if answer != "ok":
        raise Conflict(f"cannot {verb} job '{job_id}': it is '{answer}'", job_id=job_id, status=answer)


def _now() -> str:
    return records.to_text(datetime.now(UTC))


def _usec(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
