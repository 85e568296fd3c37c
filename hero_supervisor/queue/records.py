"""Pure: a job into the fields of its Redis hash, and back.

Writers of these hashes are many: this program, the original's clients, runners in any language. So what is read is
checked like any input. Of a foreign job only ``payload`` is required; the original's documents call the other
fields required as well, but its clients differed over the years. Booleans, nulls and nesting do not exist in a
hash: every value is text, ``env_vars`` and ``signatures`` are JSON text.

====================================  ==================================================================
field                                 content
====================================  ==================================================================
``id`` … ``updated_at``               the ten fields of the original's job
``signatures``                        JSON list, only when there are any
``status``                            see ``JobStatus``; absent means ``dispatched``, as every foreign client
                                      stores a job in order to queue it
``output`` or ``result``              what it printed; we write ``output``, other runners either
``error``                             what went wrong
====================================  ==================================================================

The rest is ours. Times are in milliseconds since the epoch.

====================================  ==================================================================
``priority`` … ``group``              the options of a job that are not as usual, under their own names
``digest``                            hash of the content, so that storing the same job twice is one job
``foreign``                           ``1`` for a job that a foreign client has pushed
``attempt``                           how often it was given to somebody
``failures``, ``crashes``             how many attempts ended with an error, or with the end of the runner
``holder``                            who has it, or is to take it: a process, see ``queue/keys.py``
``list``                              the list in which it was put for its holder
``offered``                           which run of that process was to take it from the list (``settle.lua``);
                                      '' for one that was taken before it was seen there
``run``                               which one was first seen to have it
``place``                             where it stands among the pending ones of its queue
``due``                               when it may be executed
``unmet``                             how many jobs it waits for
``cancel``                            why it is to be stopped
``reason``                            why it, or its last attempt, ended otherwise than well
``progress``                          what its handler told of it, JSON
``queued_at``, ``started_at``,        when it was last queued and started, and when it ended
``ended_at``
====================================  ==================================================================
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from hero_supervisor import schema
from hero_supervisor.errors import CorruptRecord, Fault, InvalidInput, InvalidJob
from hero_supervisor.job import (
    MAX_PAYLOAD_BYTES,
    MAX_PREREQUISITES,
    MAX_PROGRESS_BYTES,
    MAX_RESULT_BYTES,
    Job,
    JobResult,
    JobState,
    JobStatus,
    JobSummary,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hero_supervisor.errors import HeroError

#: A field as ``read.lua`` answers it: its bytes, ``None`` when absent, or its length when that is over the limit.
RawValue = bytes | int | None

#: Most bytes of the JSON text of all signatures.
MAX_SIGNATURES_BYTES: Final = 64 * 1024
#: The time given to a job whose maker did not say when.
UNKNOWN_TIME: Final = datetime.fromtimestamp(0, UTC)

_NAME_LIMIT = 4 * 256  # 256 characters of at most four bytes
_WORD_LIMIT = 64
# JSON of other writers may escape each character: six bytes for one.
_ENV_LIMIT = 6 * 64 * 1024
#: Most bytes of each field that are fetched; a hash of a hostile writer may hold 512 MB in one.
FIELD_LIMITS: Final = {
    "id": _NAME_LIMIT,
    "caller_id": _NAME_LIMIT,
    "context_id": _NAME_LIMIT,
    "payload": MAX_PAYLOAD_BYTES,
    "runner": _NAME_LIMIT,
    "executor": _NAME_LIMIT,
    "timeout": _WORD_LIMIT,
    "env_vars": _ENV_LIMIT,
    "created_at": _WORD_LIMIT,
    "updated_at": _WORD_LIMIT,
    "signatures": 6 * MAX_SIGNATURES_BYTES,
    "status": _WORD_LIMIT,
    "output": MAX_RESULT_BYTES,
    "result": MAX_RESULT_BYTES,
    "error": MAX_RESULT_BYTES,
    **dict.fromkeys(("run_at", "delay_s", "max_retries", "retry_delay_s", "retry_max_delay_s"), _WORD_LIMIT),
    **dict.fromkeys(("priority", "on_prerequisite_failure", "on_crash", "max_crashes"), _WORD_LIMIT),
    **dict.fromkeys(("soft_timeout", "result_ttl_s"), _WORD_LIMIT),
    "idempotency_key": _NAME_LIMIT,
    "group": _NAME_LIMIT,
    "prerequisites": MAX_PREREQUISITES * 132,
    "labels": 64 * 256,
    "limits": 256,
    **dict.fromkeys(("attempt", "failures", "crashes", "due", "queued_at", "started_at", "ended_at"), _WORD_LIMIT),
    "holder": _NAME_LIMIT,
    "reason": _WORD_LIMIT,
    "progress": MAX_PROGRESS_BYTES,
}
#: Options of a job; those that are as usual are not stored.
_OPTIONS: Final = Job.__struct_fields__[Job.__struct_fields__.index("priority") :]
_USUAL: Final = {name: getattr(Job(payload=""), name) for name in _OPTIONS}
#: Fields that are stored as JSON.
_JSON: Final = frozenset({"env_vars", "signatures", "prerequisites", "labels", "limits"})
#: Fields that are stored as decimal numbers.
_NUMBERS: Final = frozenset({
    *("timeout", "priority", "delay_s", "max_retries", "retry_delay_s", "retry_max_delay_s", "max_crashes"),
    *("soft_timeout", "result_ttl_s"),
})  # fmt: skip
#: All that JSON has for the numbers that options may be, as in 0.30000000000000004 and 1e-05.
_NUMBER: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,20})?(e-?[0-9]{1,3})?")
JOB_FIELDS: Final = (
    *("id", "caller_id", "context_id", "payload", "runner", "executor", "timeout", "env_vars"),
    *("created_at", "updated_at", "signatures"),
    *_OPTIONS,
)
RESULT_FIELDS: Final = ("status", "output", "result", "error", "reason")
SUMMARY_FIELDS: Final = (
    *("runner", "executor", "status", "created_at", "updated_at", "caller_id", "context_id", "labels"),
)
STATE_FIELDS: Final = (
    *("status", "runner", "attempt", "failures", "crashes", "holder", "reason", "error", "progress"),
    *("due", "queued_at", "started_at", "ended_at"),
)

GLANCE_FIELDS: Final = ("status", "runner", "attempt", "reason", "progress")


class JobGlance(NamedTuple):
    """What those see who only watch a job go by."""

    #: ``None`` when there is no such job any more.
    status: JobStatus | None
    runner: str = ""
    attempt: int = 0
    reason: str = ""
    progress: object = None


def to_fields(job: Job) -> dict[str, str]:
    """Return the hash fields of a valid job, without status, digest and queue.

    Raises:
        InvalidJob: Its signatures are too large to be read back.
    """
    fields = {name: getattr(job, name) for name in ("id", "caller_id", "context_id", "payload", "runner", "executor")}
    fields["timeout"] = str(job.timeout)
    fields["env_vars"] = msgspec.json.encode(job.env_vars).decode()
    fields["created_at"] = to_text(job.created_at)
    fields["updated_at"] = to_text(job.updated_at)
    if job.signatures:
        fields["signatures"] = msgspec.json.encode(job.signatures).decode()
        if len(fields["signatures"].encode()) > MAX_SIGNATURES_BYTES:
            raise InvalidJob([Fault("signatures", f"must be at most {MAX_SIGNATURES_BYTES} bytes in all")])
    fields.update((name, _text_of(value)) for name in _OPTIONS if (value := getattr(job, name)) != _USUAL[name])
    return fields


def _text_of(value: object) -> str:
    if isinstance(value, datetime):
        return to_text(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def to_text(moment: datetime) -> str:
    """Return a time as RFC 3339, UTC, ending in Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def digest_of(job: Job) -> str:
    """Return a hash of what a job is, without its times.

    A client that got no answer sends the job again, and its library may stamp the copy with another time.
    """
    content = msgspec.to_builtins(job)
    del content["created_at"], content["updated_at"]
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def job_from(job_id: str, values: Sequence[RawValue], *, names: Sequence[str] = JOB_FIELDS) -> Job:
    """Build a job from the values of its fields, all if not given.

    Raises:
        CorruptRecord: A field is missing or is not what it should be; the job and the field are named.
    """
    raw = _Record(job_id, names, values)
    data: dict[str, object] = {"id": job_id, "created_at": UNKNOWN_TIME, "updated_at": UNKNOWN_TIME}
    for name in names:
        text = raw.text(name)
        if text or (text is not None and name == "payload"):
            data[name] = _decoded(raw, name, text)
    if data["id"] != job_id:
        raise raw.corrupt("id", "is not the id in the name of the key")
    try:
        return Job.from_data(data)
    except InvalidJob as exc:
        fault = exc.faults[0]
        raise raw.corrupt(fault.path, fault.message) from exc


def status_from(job_id: str, value: RawValue) -> JobStatus:
    """Return the status that the field ``status`` holds.

    Raises:
        CorruptRecord: It holds no status.
    """
    return _Record(job_id, ("status",), [value]).status()


def check_result(text: str) -> None:
    """Refuse an output or error text that we would not read back.

    Raises:
        InvalidInput: It is too large, or not Unicode text.
    """
    faults = list(schema.text_faults("result", text.replace("\0", "")))
    if len(text.encode(errors="replace")) > MAX_RESULT_BYTES:
        faults.append(Fault("result", f"must be at most {MAX_RESULT_BYTES} bytes"))
    if faults:
        raise InvalidInput(faults)


def result_from(job_id: str, values: Sequence[RawValue]) -> JobResult:
    """Build a result from the values of ``RESULT_FIELDS``.

    Raises:
        CorruptRecord: A field is not what it should be; the job and the field are named.
    """
    raw = _Record(job_id, RESULT_FIELDS, values)
    status = raw.status()
    reason = raw.text("reason") or ""
    if status is JobStatus.FINISHED:
        output = raw.text("output")
        return JobResult(job_id=job_id, status=status, result=raw.text("result") if output is None else output)
    error = raw.text("error") if status in {JobStatus.ERROR, JobStatus.CANCELLED} else None
    return JobResult(job_id=job_id, status=status, error=error, reason=reason)


def state_from(job_id: str, values: Sequence[RawValue]) -> JobState:
    """Build a state from the values of ``STATE_FIELDS``; raises like ``result_from``."""
    raw = _Record(job_id, STATE_FIELDS, values)
    return JobState(
        job_id=job_id,
        status=raw.status(),
        runner=raw.text("runner") or "",
        attempt=raw.number("attempt") or 0,
        failures=raw.number("failures") or 0,
        crashes=raw.number("crashes") or 0,
        holder=raw.text("holder") or "",
        reason=raw.text("reason") or "",
        error=raw.text("error"),
        progress=raw.json("progress"),
        due_at=raw.moment("due"),
        queued_at=raw.moment("queued_at"),
        started_at=raw.moment("started_at"),
        ended_at=raw.moment("ended_at"),
    )


def glance_from(job_id: str, values: Sequence[RawValue]) -> JobGlance:
    """Build a glance from the values of ``GLANCE_FIELDS``; raises like ``result_from``."""
    raw = _Record(job_id, GLANCE_FIELDS, values)
    return JobGlance(
        status=raw.status(),
        runner=raw.text("runner") or "",
        attempt=raw.number("attempt") or 0,
        reason=raw.text("reason") or "",
        progress=raw.json("progress"),
    )


def summary_from(job_id: str, values: Sequence[RawValue], *, indexed_at: datetime) -> JobSummary:
    """Build a summary from the values of ``SUMMARY_FIELDS``; what is corrupt is told in ``fault``.

    Args:
        job_id: Id in the name of the key.
        values: Values of ``SUMMARY_FIELDS``.
        indexed_at: When the index says that the job was made.
    """
    raw = _Record(job_id, SUMMARY_FIELDS, values)
    try:
        return JobSummary(
            id=job_id,
            runner=raw.text("runner") or "",
            executor=raw.text("executor") or "",
            status=raw.status(),
            created_at=raw.time("created_at") or indexed_at,
            updated_at=raw.time("updated_at"),
            caller_id=raw.text("caller_id") or "",
            context_id=raw.text("context_id") or "",
            labels=msgspec.convert(raw.json("labels") or {}, dict[str, str]),
        )
    except CorruptRecord as exc:
        return unreadable(job_id, exc, indexed_at=indexed_at)
    except msgspec.ValidationError:
        return unreadable(job_id, raw.corrupt("labels", "are not labels"), indexed_at=indexed_at)


def unreadable(job_id: str, reason: HeroError, *, indexed_at: datetime) -> JobSummary:
    """Return the summary of a job whose record cannot be read."""
    return JobSummary(id=job_id, created_at=indexed_at, fault=str(reason))


class _Record:
    """The fetched fields of one hash."""

    def __init__(self, job_id: str, names: Sequence[str], values: Sequence[RawValue]) -> None:
        self._job_id = job_id
        self._values = dict(zip(names, values, strict=True))

    def corrupt(self, field: str, reason: str) -> CorruptRecord:
        return corrupt(self._job_id, field, reason)

    def text(self, name: str) -> str | None:
        value = self._values[name]
        if value is None:
            return None
        if isinstance(value, int):
            raise self.corrupt(name, f"has {value} bytes; at most {FIELD_LIMITS[name]} are accepted")
        try:
            return value.decode()
        except UnicodeDecodeError as exc:
            raise self.corrupt(name, "is not valid UTF-8") from exc

    def status(self) -> JobStatus:
        text = self.text("status")
        try:
            return JobStatus(text) if text else JobStatus.DISPATCHED
        except ValueError as exc:
            raise self.corrupt("status", f"is not a status: {text!r}") from exc

    def time(self, name: str) -> datetime | None:
        text = self.text(name)
        try:
            return msgspec.convert(text, datetime) if text else None
        except msgspec.ValidationError as exc:
            raise self.corrupt(name, "is not an RFC 3339 time") from exc

    def number(self, name: str) -> int | None:
        text = self.text(name)
        if text and not re.fullmatch("[0-9]{1,15}", text):
            raise self.corrupt(name, "is not a whole number")
        return int(text) if text else None

    def moment(self, name: str) -> datetime | None:
        number = self.number(name)
        try:
            return None if number is None else datetime.fromtimestamp(number / 1000, UTC)
        except (OverflowError, ValueError) as exc:
            raise self.corrupt(name, "is not a time in milliseconds") from exc

    def json(self, name: str) -> object:
        text = self.text(name)
        try:
            return msgspec.json.decode(text) if text else None
        except (msgspec.DecodeError, RecursionError) as exc:
            raise self.corrupt(name, "is not JSON") from exc


def corrupt(job_id: str, field: str, reason: str) -> CorruptRecord:
    """Return the error for a job whose record cannot be read."""
    return CorruptRecord(f"cannot read job '{job_id}': its {field} {reason}", job_id=job_id, field=field)


def _decoded(raw: _Record, name: str, text: str) -> object:
    if name in _NUMBERS:
        if not _NUMBER.fullmatch(text):
            raise raw.corrupt(name, "is not a number")
        return int(text) if text.isdigit() else float(text)
    if name in _JSON:
        value = raw.json(name)
        empty: object = {} if name in {"env_vars", "labels"} else []
        return empty if value is None else value
    return text
