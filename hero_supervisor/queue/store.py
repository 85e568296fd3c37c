"""Jobs in Redis, as clients see them: every reading, and every change that is not the business of who executes them.

All changes are Lua scripts, and all may be repeated: a caller that got no answer calls again (``scripts.py``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hero_supervisor.errors import Conflict, HeroError, JobNotFound

from . import records
from .connection import close
from .records import FIELD_LIMITS, JOB_FIELDS, RESULT_FIELDS, STATE_FIELDS, SUMMARY_FIELDS
from .scripts import Scripts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hero_supervisor.job import Job, JobResult, JobState, JobStatus, JobSummary

    from .connection import RedisServer
    from .keys import Keys
    from .records import RawValue
    from .scripts import Argument

#: Jobs read at a time. Results may have a megabyte each, lines of a list have some hundred bytes.
RESULTS_PER_READ: Final = 50
SUMMARIES_PER_READ: Final = 250
#: What is counted of the jobs of a group, and the longest number that Redis makes.
GROUP_COUNTS: Final = ("open", "finished", "error", "cancelled")
MAX_DIGITS: Final = 19
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class StoredJob(NamedTuple):
    """A job as it is stored, and its status."""

    job: Job
    status: JobStatus


class JobStore:
    """The jobs of one namespace on one server. Every method raises what ``RedisServer.call`` names."""

    def __init__(self, server: RedisServer, keys: Keys) -> None:
        self.keys = keys
        self.server = server
        self.redis = server.commands()
        self.scripts = Scripts(server, self.redis, keys)

    async def aclose(self) -> None:
        """Close all connections."""
        await close(self.redis)

    async def ping(self) -> None:
        """Return when Redis answers and accepts writes."""
        async with self.server.call():
            # Refused like any write on a replica, when memory is full, or when the disk fails; changes nothing.
            await self.redis.lpushx(self.keys.probe, "")

    # -- changes -------------------------------------------------------------------------------------------------

    async def report(self, job_id: str, status: JobStatus, field: str | None = None, text: str = "") -> None:
        """Take down what somebody who executes a job by other means reports. Repeating it changes nothing.

        Args:
            job_id: The job.
            status: Its status.
            field: ``output`` or ``error``, with a final status.
            text: What that field is to hold.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended otherwise.
            InvalidInput: The text could not be read back: it is too large, or not Unicode text.
        """
        records.check_result(text)
        arguments = (field, text) if field else ()
        answer = await self.scripts.run_for("report", job_id, status.value, *arguments)
        _accept(answer, job_id, f"report '{status}' of")

    async def cancel(self, job_id: str, reason: str) -> bool:
        """Cancel a job; whoever executes it is told. Repeating it changes nothing.

        Returns:
            Whether it has ended by that; otherwise it is being stopped.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended otherwise.
        """
        answer = (await self.scripts.run_for("cancel", job_id, reason))[0]
        if answer != b"stopping":
            _accept(answer, job_id, "cancel")
        return bool(answer == b"ok")

    async def retry(self, job_id: str) -> None:
        """Queue a job that has ended once more, as if it had never been executed.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has not ended.
        """
        _accept(await self.scripts.run_for("retry", job_id), job_id, "retry")

    async def delete(self, job_id: str) -> None:
        """Forget a job, also in the index and in its queue; those that wait for it are cancelled.

        Raises:
            JobNotFound: No job has this id.
            Conflict: Somebody executes it.
        """
        _accept(await self.scripts.run_for("delete", job_id), job_id, "delete")

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

    async def read_state(self, job_id: str) -> JobState:
        """Return where a job is and how it got there; raises like ``read_job``."""
        [values] = await self._read([job_id], STATE_FIELDS)
        if isinstance(values, HeroError):
            raise values
        return records.state_from(job_id, values)

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

    async def read_glances(self, job_ids: Sequence[str]) -> list[records.JobGlance | None]:
        """Return what is to be seen of each job; one without status when it is not there, ``None`` when unreadable."""
        return [_glance(*each) for each in zip(job_ids, await self._read(job_ids, records.GLANCE_FIELDS), strict=True)]

    async def key_exists(self, key: str) -> bool:
        """Tell whether a key exists."""
        async with self.server.call():
            return bool(await self.redis.exists(key))

    async def group_counts(self, name: str) -> dict[str, int]:
        """Return how many jobs of a group are ``open``, ``finished``, ``error``, ``cancelled``; {} without any."""
        async with self.server.call():
            found: Any = await self.redis.hmget(self.keys.group(name), GROUP_COUNTS)
        return {
            count: int(value)
            for count, value in zip(GROUP_COUNTS, found, strict=True)
            if value and value.isdigit() and len(value) <= MAX_DIGITS
        }

    async def list_depth(self, name: str) -> int:
        """Return how many ids a Redis list holds."""
        async with self.server.call():
            return await self.redis.llen(name)

    # -- inside --------------------------------------------------------------------------------------------------

    async def summaries(self, entries: Sequence[tuple[str, int]]) -> list[JobSummary]:
        """Return the summaries of jobs, in order; those that have vanished are left out.

        Args:
            entries: Id and time of creation, in microseconds since the epoch, of each.
        """
        found = []
        values = await self._read([job_id for job_id, _ in entries], SUMMARY_FIELDS)
        for (job_id, created_usec), raw in zip(entries, values, strict=True):
            indexed_at = _EPOCH + timedelta(microseconds=created_usec)
            if isinstance(raw, JobNotFound):
                continue
            if isinstance(raw, HeroError):
                found.append(records.unreadable(job_id, raw, indexed_at=indexed_at))
            else:
                found.append(records.summary_from(job_id, raw, indexed_at=indexed_at))
        return found

    async def _read(self, job_ids: Sequence[str], names: Sequence[str]) -> list[list[RawValue] | HeroError]:
        if not job_ids:
            return []
        found = await self.scripts.read(job_ids, limits_of(names))
        return [_checked(job_id, values) for job_id, values in zip(job_ids, found, strict=True)]


def limits_of(names: Iterable[str]) -> list[Argument]:
    """Return names of fields and how long each may be, alternating, as scripts take them."""
    return [argument for name in names for argument in (name, FIELD_LIMITS[name])]


def _checked(job_id: str, values: object) -> list[RawValue] | HeroError:
    if values is None:
        return JobNotFound(f"cannot find job '{job_id}'", job_id=job_id)
    if isinstance(values, list):
        return values
    return records.corrupt(job_id, "record", "is not a hash")


def _glance(job_id: str, values: list[RawValue] | HeroError) -> records.JobGlance | None:
    if isinstance(values, HeroError):
        return records.JobGlance(None) if isinstance(values, JobNotFound) else None
    try:
        return records.glance_from(job_id, values)
    except HeroError:
        return None


def _accept(answer: bytes, job_id: str, verb: str) -> None:
    if answer == b"missing":
        raise JobNotFound(f"cannot {verb} job '{job_id}': it does not exist", job_id=job_id)
    if answer != b"ok":
        status = answer.decode(errors="replace")
        raise Conflict(f"cannot {verb} job '{job_id}': it is '{status}'", job_id=job_id, status=status)


def usec_of(moment: datetime) -> int:
    """Return a time in microseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
