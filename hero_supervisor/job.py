"""A job as data: a script with metadata, the states it goes through, and what makes it valid.

The ten fields and their JSON form are the original's, so its clients and runners read ours and we read theirs.
Where a job is stored is the business of ``queue/`` and ``client.py``.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import msgspec
from msgspec import Meta

from . import schema
from .definition.labels import LabelKey, LabelValue
from .definition.limits import JobLimits
from .errors import Fault, InvalidJob

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Most bytes of a payload, and of all environment variables together.
MAX_PAYLOAD_BYTES: Final = 1024 * 1024
MAX_ENV_BYTES: Final = 64 * 1024
#: Most bytes of output or error text that are kept as a job's result.
MAX_RESULT_BYTES: Final = 1024 * 1024
#: Most bytes of the JSON text of a job's progress.
MAX_PROGRESS_BYTES: Final = 4 * 1024
#: Seconds a job may run when it does not say.
DEFAULT_TIMEOUT_S: Final = 300
#: Longest time from now to a job's execution, and longest time that a result is kept, in seconds.
MAX_AHEAD_S: Final = 366 * 86_400
#: Most jobs that one job may wait for.
MAX_PREREQUISITES: Final = 100

JobId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)",
        description="Id of a job: letters, digits, '.', '_' and '-'; at most 128 characters.",
    ),
]
Name = Annotated[str, Meta(max_length=256)]


class JobStatus(StrEnum):
    """Where a job is in its life. The words are the original's, as they stand in Redis."""

    #: Stored, in no queue.
    CREATED = "created"
    #: Queued, and its time has not come: it was given one, or is to be tried again.
    SCHEDULED = "scheduled"
    #: Queued, and other jobs have to end first.
    WAITING_FOR_PREREQUISITES = "waiting_for_prerequisites"
    #: In a runner's queue, or taken from it and not begun.
    DISPATCHED = "dispatched"
    #: A runner executes it.
    STARTED = "started"
    #: A runner executes it, and has been told to stop.
    STOPPING = "stopping"
    #: Ended well; it has a result.
    FINISHED = "finished"
    #: Ended badly; it has an error.
    ERROR = "error"
    #: Ended because somebody did not want it any more, or because a prerequisite did not end well.
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether a job in this state never changes again by itself."""
        return self in {JobStatus.FINISHED, JobStatus.ERROR, JobStatus.CANCELLED}


class CrashPolicy(StrEnum):
    """What becomes of a job whose runner died over it. Stops by an operator and reboots do not count."""

    #: Another attempt, up to ``max_crashes`` times; then it is a dead letter.
    RETRY = "retry"
    #: It ends with an error.
    FAIL = "fail"
    #: It ends with an error and is a dead letter.
    DEAD = "dead"


class PrerequisitePolicy(StrEnum):
    """What becomes of a job when another that it waits for does not end well."""

    #: It is cancelled.
    CANCEL = "cancel"
    #: It is executed all the same.
    RUN = "run"


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A script with the metadata needed to run it."""

    #: Identity; a UUID when not given.
    id: JobId = msgspec.field(default_factory=lambda: str(uuid.uuid4()))
    #: Who asked for it; free text, handed to the script.
    caller_id: Name = ""
    #: What it belongs to; free text, handed to the script.
    context_id: Name = ""
    #: The script.
    payload: str
    #: Id of the runner whose queue it goes into; filled in when it is queued.
    runner: Name = ""
    #: What interprets the payload; the runner's own executor when empty.
    executor: Name = ""
    #: Seconds it may run.
    timeout: Annotated[int, Meta(ge=1, le=7 * 86_400)] = DEFAULT_TIMEOUT_S
    #: Environment variables of the script.
    env_vars: dict[str, str] = {}
    #: Made and last changed, UTC.
    created_at: schema.Moment = msgspec.field(default_factory=lambda: datetime.now(UTC))
    updated_at: schema.Moment = msgspec.field(default_factory=lambda: datetime.now(UTC))
    #: Signatures of the job by its signatories; kept as given, not verified.
    signatures: list[dict[str, str]] = []
    #: From 0, the last, to 9, the first to be executed.
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    #: Not to be executed before this time, or before so many seconds have passed since it was queued.
    run_at: schema.Moment | None = None
    delay_s: Annotated[float, Meta(ge=0, le=MAX_AHEAD_S)] = 0.0
    #: Jobs that have to end first, and what happens when one of them does not end well.
    prerequisites: Annotated[tuple[JobId, ...], Meta(max_length=MAX_PREREQUISITES)] = ()
    on_prerequisite_failure: PrerequisitePolicy = PrerequisitePolicy.CANCEL
    #: How often it is tried again after it ended with an error, and the pauses before: the first one, doubled each
    #: time, up to the longest; each up to a quarter shorter or longer.
    max_retries: Annotated[int, Meta(ge=0, le=1000)] = 0
    retry_delay_s: Annotated[float, Meta(ge=0, le=86_400)] = 1.0
    retry_max_delay_s: Annotated[float, Meta(ge=0, le=MAX_AHEAD_S)] = 300.0
    #: What happens when its runner dies over it, and how often it is tried again then.
    on_crash: CrashPolicy = CrashPolicy.RETRY
    max_crashes: Annotated[int, Meta(ge=0, le=1000)] = 3
    #: Seconds after which it is asked to stop by itself, before ``timeout``.
    soft_timeout: Annotated[int, Meta(ge=1, le=7 * 86_400)] | None = None
    #: Two jobs with the same key are one: the second is not stored, and the first one's id is the answer. Kept a day.
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    #: Seconds that it is kept after its end; a week when not given.
    result_ttl_s: Annotated[int, Meta(ge=1, le=MAX_AHEAD_S)] | None = None
    #: What jobs are found by.
    labels: Annotated[dict[LabelKey, LabelValue], Meta(max_length=64)] = {}
    #: What jobs can be awaited by together.
    group: Name = ""
    #: What it may take of the machine; only for runners of the protocol ``unit``, and within their limits.
    limits: JobLimits | None = None

    @classmethod
    def from_data(cls, data: object) -> Self:
        """Build a job from decoded JSON.

        Raises:
            InvalidJob: With the path of every fault.
        """
        try:
            job = msgspec.convert(data, cls)
        except msgspec.ValidationError:
            return schema.convert(data, cls, error=InvalidJob, rules=faults_in)  # slower; it tells every fault
        return schema.check(job, faults_in, error=InvalidJob)

    def checked(self) -> Self:
        """Return this job, built in code, if it is valid.

        Raises:
            InvalidJob: With the path of every fault.
        """
        return self.from_data(msgspec.to_builtins(self))


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands: its status, and its result or error once it has ended."""

    job_id: str
    status: JobStatus
    #: What the script printed; only when ``finished``.
    result: str | None = None
    #: What went wrong; only when ``error`` or ``cancelled``.
    error: str | None = None
    #: Why it ended otherwise than well, in a word: docs/jobs.md lists them; '' while there is nothing to say.
    reason: str = ""


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job is, how it got there, and what is next."""

    job_id: str
    status: JobStatus
    #: Id of the runner whose queue it is in.
    runner: str
    #: How often it has been given to somebody.
    attempt: int
    #: How many attempts ended with an error, and how many with the end of whoever had it.
    failures: int
    crashes: int
    #: Who has it; '' when nobody does.
    holder: str
    #: Why it, or its last attempt, ended otherwise than well, in a word: docs/jobs.md lists them.
    reason: str
    #: What went wrong the last time.
    error: str | None
    #: What its handler told of it.
    progress: Any
    #: When it may be executed, while it is scheduled; when it was last queued and started, and when it ended.
    due_at: schema.Moment | None
    queued_at: schema.Moment | None
    started_at: schema.Moment | None
    ended_at: schema.Moment | None


def faults_in(job: Job) -> Iterable[Fault]:
    """Yield what is wrong with a job whose types are right."""
    for name in ("payload", "caller_id", "context_id", "runner", "executor", "group", "idempotency_key"):
        yield from schema.text_faults(name, getattr(job, name) or "")
    yield from _time_faults(job)
    if job.id in job.prerequisites:
        yield Fault("prerequisites", "must be other jobs")
    if len(job.payload.encode(errors="replace")) > MAX_PAYLOAD_BYTES:
        yield Fault("payload", f"must be at most {MAX_PAYLOAD_BYTES} bytes")
    for name, value in job.env_vars.items():
        path = f"env_vars.{name[:80]}"
        if not name or "=" in name:
            yield Fault(path, "must be a variable name: not empty, without '='")
        yield from schema.text_faults(path, name)
        yield from schema.text_faults(path, value)
    if len(msgspec.json.encode(job.env_vars)) > MAX_ENV_BYTES:
        yield Fault("env_vars", f"must be at most {MAX_ENV_BYTES} bytes in all")


def _time_faults(job: Job) -> Iterable[Fault]:
    if job.run_at is not None and job.delay_s:
        yield Fault("run_at", "at most one of run_at and delay_s can be given")
    if job.run_at is not None and job.run_at > datetime.now(UTC) + timedelta(seconds=MAX_AHEAD_S):
        yield Fault("run_at", f"must be at most {MAX_AHEAD_S} seconds from now")
    if job.soft_timeout is not None and job.soft_timeout >= job.timeout:
        yield Fault("soft_timeout", "must be less than timeout")


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of jobs: what it is and how it stands, without its payload and its result."""

    id: str
    #: Id of the runner it went to; empty when it was never queued.
    runner: str = ""
    #: What interprets the payload.
    executor: str = ""
    #: Null only when ``fault`` is set.
    status: JobStatus | None = None
    #: When it was made; null only when ``fault`` is set.
    created_at: schema.Moment
    #: Null when whoever stored it did not say.
    updated_at: schema.Moment | None = None
    #: As the job says.
    caller_id: str = ""
    context_id: str = ""
    labels: dict[str, str] = {}
    #: Its place in the list; give it as ``after_cursor`` to read on from here.
    cursor: str = ""
    #: Why its record cannot be read; null when it can. Such a job is listed, so that somebody finds it.
    fault: str | None = None
