"""Every error this package raises on purpose, as one tree.

::

    HeroError
    ├─ InvalidInput              lists every fault with its path
    │  ├─ InvalidRunner
    │  ├─ InvalidJob
    │  ├─ InvalidProbe
    │  ├─ InvalidSchedule
    │  └─ InvalidSettings
    ├─ NotFound
    │  ├─ RunnerNotFound
    │  ├─ JobNotFound
    │  ├─ ScheduleNotFound
    │  ├─ OperationNotFound
    │  └─ KeyNotFound
    ├─ Conflict
    │  ├─ RunnerExists
    │  ├─ JobExists
    │  ├─ UnitExists
    │  ├─ KeyExists
    │  ├─ QueueFull
    │  ├─ HolderFenced
    │  └─ StateLocked
    ├─ UnitFailed
    │  ├─ CommandNotExecutable
    │  └─ DependencyNotReady
    ├─ OperationTimeout
    ├─ Unavailable
    │  ├─ SystemdUnavailable
    │  ├─ RedisUnavailable
    │  ├─ JournalUnavailable
    │  ├─ StateUnavailable
    │  ├─ TooManyStreams
    │  └─ AddressUnavailable
    ├─ CorruptRecord
    ├─ RedisTooOld
    ├─ SystemdRefused
    └─ PermissionDenied
       └─ WrongSecret
          └─ TooManyTries

A class names the condition. ``kind`` is its stable word on the wire: clients branch on it, never on text.
Messages are lower case, begin with "cannot" and name the thing and the cause; ``hint`` is the next step.
JSON-RPC codes are given in one table, ``rpc/codes.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class HeroError(Exception):
    """Anything that this package reports as wrong."""

    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def data(self) -> dict[str, object]:
        """Return the kind, the facts and the hint, ready to be encoded as JSON."""
        hint = {"hint": self.hint} if self.hint else {}
        return {"kind": self.kind, **self.facts, **hint}


class Fault(NamedTuple):
    """One thing that is wrong with an input: where, and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class InvalidInput(HeroError):
    """The input does not have the shape, type or range that is asked for."""

    kind = "invalid-input"
    subject: ClassVar[str] = "this input"

    def __init__(self, faults: Sequence[Fault], *, hint: str | None = None) -> None:
        text = "; ".join(map(str, faults))
        listed = [fault._asdict() for fault in faults]
        super().__init__(f"cannot accept {self.subject}: {text}", hint=hint, faults=listed)
        self.faults = tuple(faults)


class InvalidRunner(InvalidInput):
    """A runner definition is not valid."""

    kind = "invalid-runner"
    subject = "this runner definition"


class InvalidJob(InvalidInput):
    """A job is not valid."""

    kind = "invalid-job"
    subject = "this job"


class InvalidProbe(InvalidInput):
    """A probe is not valid."""

    kind = "invalid-probe"
    subject = "this probe"


class InvalidSchedule(InvalidInput):
    """A schedule is not valid."""

    kind = "invalid-schedule"
    subject = "this schedule"


class InvalidSettings(InvalidInput):
    """A setting of the service is not valid."""

    kind = "invalid-settings"
    subject = "these settings"


class NotFound(HeroError):
    """The thing named does not exist."""

    kind = "not-found"


class RunnerNotFound(NotFound):
    """No runner has this id."""

    kind = "runner-not-found"


class JobNotFound(NotFound):
    """No job has this id."""

    kind = "job-not-found"


class ScheduleNotFound(NotFound):
    """A runner has no schedule of this id."""

    kind = "schedule-not-found"


class OperationNotFound(NotFound):
    """No operation has this id."""

    kind = "operation-not-found"


class KeyNotFound(NotFound):
    """No key has this id or name."""

    kind = "key-not-found"


class Conflict(HeroError):
    """The operation does not fit the present state."""

    kind = "conflict"


class RunnerExists(Conflict):
    """A runner of this id exists already."""

    kind = "runner-exists"


class JobExists(Conflict):
    """A job of this id exists already."""

    kind = "job-exists"


class UnitExists(Conflict):
    """A systemd unit of this name is loaded and running already."""

    kind = "unit-exists"


class KeyExists(Conflict):
    """A key of this name exists already."""

    kind = "key-exists"


class QueueFull(Conflict):
    """A queue holds as many jobs as it may."""

    kind = "queue-full"


class HolderFenced(Conflict):
    """This process may not take jobs any more: it was taken for dead, and others have its jobs."""

    kind = "holder-fenced"


class StateLocked(Conflict):
    """Another supervisor uses the same state directory."""

    kind = "state-locked"


class UnitFailed(HeroError):
    """A unit did not reach the state that was asked for."""

    kind = "unit-failed"


class CommandNotExecutable(UnitFailed):
    """The command of a unit does not exist or cannot be executed."""

    kind = "command-not-executable"


class DependencyNotReady(UnitFailed):
    """A runner that this one comes after is not there."""

    kind = "dependency-not-ready"


class OperationTimeout(HeroError):
    """No outcome was seen in time; the operation may still be going on."""

    kind = "timeout"


class Unavailable(HeroError):
    """Something this service depends on does not answer."""

    kind = "unavailable"


class SystemdUnavailable(Unavailable):
    """The systemd manager cannot be reached over D-Bus."""

    kind = "systemd-unavailable"


class RedisUnavailable(Unavailable):
    """Redis does not answer, or not in time."""

    kind = "redis-unavailable"


class JournalUnavailable(Unavailable):
    """The journal cannot be read."""

    kind = "journal-unavailable"


class StateUnavailable(Unavailable):
    """The state directory cannot be written to."""

    kind = "state-unavailable"


class AddressUnavailable(Unavailable):
    """The service cannot listen on its address."""

    kind = "address-unavailable"


class TooManyStreams(Unavailable):
    """As many streams of events, or connections for them, as may be are open."""

    kind = "too-many-streams"


class CorruptRecord(HeroError):
    """Stored data does not have the form that this version writes or accepts."""

    kind = "corrupt-record"


class RedisTooOld(HeroError):
    """Redis does not know commands that are needed."""

    kind = "redis-too-old"


class SystemdRefused(HeroError):
    """systemd answered a call with an error that has no class of its own."""

    kind = "systemd-refused"


class PermissionDenied(HeroError):
    """The caller may not do this."""

    kind = "permission-denied"


class WrongSecret(PermissionDenied):
    """The caller showed a secret that is not known here, or has expired."""

    kind = "wrong-secret"


class TooManyTries(WrongSecret):
    """Too many wrong secrets came from there lately."""

    kind = "too-many-tries"
