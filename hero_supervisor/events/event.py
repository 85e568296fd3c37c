"""What is told: one type for each topic. Plain data; docs/events.md tells it to those who receive it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec

from hero_supervisor.job import JobStatus
from hero_supervisor.records import ExitRecord, LogRecord, OperationState, RunnerState, Verb
from hero_supervisor.schema import Moment


class Topic(StrEnum):
    """What an event is about."""

    #: A runner was added, changed or removed, or one of its instances is in another state.
    RUNNER = "runner"
    #: A run of an instance has ended; about a second after its end.
    EXIT = "exit"
    #: A job is in another state, or its handler told of its progress.
    JOB = "job"
    #: An operation on many runners has begun or ended.
    OPERATION = "operation"
    #: A runner, or a job, has written a line. These are many: they are sent only to those who ask for them.
    LOG = "log"


#: What is followed when nothing is said.
DEFAULT_TOPICS: Final = (Topic.RUNNER, Topic.EXIT, Topic.JOB, Topic.OPERATION)


class RunnerNewsKind(StrEnum):
    """What has become of a runner."""

    ADDED = "added"
    #: It has another definition.
    UPDATED = "updated"
    REMOVED = "removed"
    #: An instance is in another state, or in the same one with another run.
    STATE = "state"


class RunnerChange(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a runner, or of one of its instances."""

    change: RunnerNewsKind
    #: What is wanted of it: running, stopped, drained, or ended; null when it is removed.
    desired: str | None = None
    #: How the instance is, and how it was when that was last looked at; null for other changes, and when unknown.
    status: RunnerState | None = None
    previous: RunnerState | None = None
    #: The instance's process and run; null while there is none.
    main_pid: int | None = None
    invocation_id: str | None = None
    #: How often systemd started it again by itself since it was started.
    restarts: int | None = None
    #: systemd's word for how the last run ended: success, exit-code, signal, …
    result: str | None = None
    #: When the supervisor starts it again, after systemd has given it up; null when it does not.
    next_start: Moment | None = None


class JobChange(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands now. States in between are left out when they pass faster than they are looked at."""

    #: Null when the job was deleted, or has been forgotten some time after its end.
    status: JobStatus | None
    #: How often it has been given to somebody.
    attempt: int = 0
    #: Why it, or its last attempt, ended otherwise than well, in a word.
    reason: str = ""
    #: What its handler told of it.
    progress: Any = None


class OperationChange(msgspec.Struct, frozen=True, kw_only=True):
    """Where an operation on many runners is."""

    id: str
    verb: Verb
    #: ``running`` tells that it has begun.
    state: OperationState
    started_at: Moment
    #: Null while it runs.
    ended_at: Moment | None
    #: How many runners it is about, and for how many of them it failed.
    runners: int
    failed: int


class GapCause(StrEnum):
    """Why events are missing."""

    #: The follower comes back with a cursor of another run of the supervisor.
    RESTARTED = "restarted"
    #: It comes back too late: what happened since was forgotten, or was not watched.
    FORGOTTEN = "forgotten"
    #: It did not take events as fast as they came.
    SLOW = "slow"
    #: What they are learnt from could not be watched for a while.
    BLIND = "blind"


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """What is missing."""

    cause: GapCause
    #: Topics of which events may be missing.
    topics: tuple[Topic, ...]
    #: How many are missing; null when nobody knows.
    lost: int | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="topic"):
    """Something that has happened; ``topic`` tells which of the types below it is."""

    topic: ClassVar[Topic | None] = None

    #: Give it as ``since`` to go on after this event.
    cursor: str
    #: When the supervisor learnt of it.
    at: Moment
    #: What it is about, where it is about such a thing: a runner, one of its instances (from 1), a job.
    runner: str | None = None
    instance: int | None = None
    job_id: str | None = None


class RunnerEvent(Event, frozen=True, kw_only=True, tag="runner"):
    """A runner, or an instance, has changed."""

    topic: ClassVar[Topic | None] = Topic.RUNNER
    data: RunnerChange


class ExitEvent(Event, frozen=True, kw_only=True, tag="exit"):
    """A run has ended, as ``get_runner_exits`` tells it."""

    topic: ClassVar[Topic | None] = Topic.EXIT
    data: ExitRecord


class JobEvent(Event, frozen=True, kw_only=True, tag="job"):
    """A job has changed."""

    topic: ClassVar[Topic | None] = Topic.JOB
    data: JobChange


class OperationEvent(Event, frozen=True, kw_only=True, tag="operation"):
    """An operation on many runners has begun or ended."""

    topic: ClassVar[Topic | None] = Topic.OPERATION
    data: OperationChange


class LogEvent(Event, frozen=True, kw_only=True, tag="log"):
    """A line was written."""

    topic: ClassVar[Topic | None] = Topic.LOG
    data: LogRecord


class GapEvent(Event, frozen=True, kw_only=True, tag="gap"):
    """Events are missing here: look at everything anew, then go on."""

    data: Gap


def topics_of(event: Event) -> tuple[Topic, ...]:
    """Return what an event is about: of a gap, all that may be missing."""
    if isinstance(event, GapEvent):
        return event.data.topics
    return (event.topic,) if event.topic else ()


#: For decoding: ``msgspec.json.decode(text, type=AnyEvent)``.
AnyEvent = RunnerEvent | ExitEvent | JobEvent | OperationEvent | LogEvent | GapEvent
