"""A job as data: a script with metadata, the states it goes through, and what makes it valid.

The ten fields and their JSON form are the original's, so its clients and runners read ours and we read theirs.
Where a job is stored is the business of ``queue/`` and ``client.py``.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import msgspec
from msgspec import Meta

from . import schema
from .errors import Fault, InvalidJob

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Most bytes of a payload, and of all environment variables together.
MAX_PAYLOAD_BYTES: Final = 1024 * 1024
MAX_ENV_BYTES: Final = 64 * 1024
#: Most bytes of output or error text that are kept as a job's result.
MAX_RESULT_BYTES: Final = 1024 * 1024
#: Seconds a job may run when it does not say.
DEFAULT_TIMEOUT_S: Final = 300

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
    #: In a runner's queue, or taken from it and not begun.
    DISPATCHED = "dispatched"
    #: A runner executes it.
    STARTED = "started"
    #: Ended well; it has a result.
    FINISHED = "finished"
    #: Ended badly; it has an error.
    ERROR = "error"

    @property
    def is_final(self) -> bool:
        """Whether a job in this state never changes again."""
        return self in {JobStatus.FINISHED, JobStatus.ERROR}


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
    created_at: Annotated[datetime, Meta(tz=True)] = msgspec.field(default_factory=lambda: datetime.now(UTC))
    updated_at: Annotated[datetime, Meta(tz=True)] = msgspec.field(default_factory=lambda: datetime.now(UTC))
    #: Signatures of the job by its signatories; kept as given, not verified.
    signatures: list[dict[str, str]] = []

    @classmethod
    def from_data(cls, data: object) -> Self:
        """Build a job from decoded JSON.

        Raises:
            InvalidJob: With the path of every fault.
        """
        return schema.convert(data, cls, error=InvalidJob, rules=faults_in)

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
    #: What went wrong; only when ``error``.
    error: str | None = None


class JobBuilder:
    """Builds a valid job step by step.

    >>> JobBuilder().caller_id("ops").payload("echo hi").executor("shell").build().timeout
    300
    """

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}

    def _with(self, name: str, value: object) -> Self:
        self._fields[name] = value
        return self

    def id(self, value: str) -> Self:
        """Set the identity; a UUID otherwise."""
        return self._with("id", value)

    def caller_id(self, value: str) -> Self:
        """Set who asks for the job."""
        return self._with("caller_id", value)

    def context_id(self, value: str) -> Self:
        """Set what the job belongs to."""
        return self._with("context_id", value)

    def payload(self, value: str) -> Self:
        """Set the script."""
        return self._with("payload", value)

    def runner(self, value: str) -> Self:
        """Set the id of the runner that is to execute it."""
        return self._with("runner", value)

    def executor(self, value: str) -> Self:
        """Set what interprets the script."""
        return self._with("executor", value)

    def timeout(self, seconds: int) -> Self:
        """Set how many seconds it may run."""
        return self._with("timeout", seconds)

    def env_var(self, name: str, value: str) -> Self:
        """Add one environment variable of the script."""
        return self._with("env_vars", {**self._fields.get("env_vars", {}), name: value})

    def env_vars(self, values: Mapping[str, str]) -> Self:
        """Add environment variables of the script."""
        return self._with("env_vars", {**self._fields.get("env_vars", {}), **values})

    def signature(self, public_key: str, signature: str) -> Self:
        """Add a signature, kept as given."""
        entry = {"public_key": public_key, "signature": signature}
        return self._with("signatures", [*self._fields.get("signatures", []), entry])

    def build(self) -> Job:
        """Return the job.

        Raises:
            InvalidJob: With the path of every fault.
        """
        return Job.from_data(self._fields)


def faults_in(job: Job) -> Iterable[Fault]:
    """Yield what is wrong with a job whose types are right."""
    for name in ("payload", "caller_id", "context_id", "runner", "executor"):
        yield from schema.text_faults(name, getattr(job, name))
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


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of jobs: what it is and how it stands, without its payload and its result."""

    id: str
    #: Id of the runner it went to; empty when it was never queued.
    runner: str = ""
    executor: str = ""
    #: Null only when ``fault`` is set.
    status: JobStatus | None = None
    created_at: datetime
    #: Null when whoever stored it did not say.
    updated_at: datetime | None = None
    #: Why its record cannot be read; null when it can. Such a job is listed, so that somebody finds it.
    fault: str | None = None
