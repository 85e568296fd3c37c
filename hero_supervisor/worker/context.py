"""What a handler knows of its job, and how it speaks of it."""

from __future__ import annotations

import logging
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hero_supervisor.errors import Fault, InvalidInput
from hero_supervisor.job import MAX_PROGRESS_BYTES

from .interruption import Interruption, JobInterrupted, SoftTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from hero_supervisor.job import Job

_logger = logging.getLogger("hero_supervisor.job")

#: The job that the running code belongs to: what it logs is tagged with that.
current_job: Final[ContextVar[JobContext | None]] = ContextVar("current_job", default=None)


class JobContext:
    """One attempt at a job, as its handler sees it. Its methods may be called from any thread."""

    def __init__(self, job: Job, attempt: int, on_progress: Callable[[JobContext], None]) -> None:
        """Args: the job, the number of this attempt, and who is told that there is progress to be sent."""
        self.job = job
        #: From 1; with ``job_id`` it names this execution, for those who must not do a thing twice.
        self.attempt = attempt
        #: When its time is up, by ``time.monotonic``, in seconds.
        self.deadline = time.monotonic() + job.timeout
        #: Set when it should end: it was cancelled, its (soft) timeout has passed, or the worker stops.
        self.cancelled = threading.Event()
        self._interruption: Interruption | None = None
        self._on_progress = on_progress
        self._progress: bytes | None = None
        self._is_announced = False

    @property
    def job_id(self) -> str:
        """Id of the job."""
        return self.job.id

    @property
    def payload(self) -> str:
        """What is to be done; what it means is between the caller and the handler."""
        return self.job.payload

    @property
    def caller_id(self) -> str:
        """Who asked for it."""
        return self.job.caller_id

    @property
    def context_id(self) -> str:
        """What it belongs to."""
        return self.job.context_id

    @property
    def env_vars(self) -> Mapping[str, str]:
        """Variables that came with it. They are not put into this process's environment."""
        return self.job.env_vars

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.job.labels

    @property
    def remaining_s(self) -> float:
        """Seconds until its time is up; 0 when it is."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines are tagged with the job, also from threads that the handler has started."""
        return _JobLogger(_logger, {"job_id": self.job_id, "attempt": self.attempt})

    def progress(self, value: object) -> None:
        """Tell how far it is. It is sent with the next sign of life; of several values meanwhile, the last.

        Args:
            value: Anything that has a JSON form, of at most ``MAX_PROGRESS_BYTES`` bytes.

        Raises:
            InvalidInput: It has none, or a longer one.
        """
        self._progress = _encoded(value)
        if not self._is_announced:
            self._is_announced = True
            self._on_progress(self)

    def check(self) -> None:
        """Return if it may go on; for handlers that cannot be interrupted, between two steps.

        Raises:
            SoftTimeout: Its soft timeout has passed.
            JobInterrupted: It was cancelled, its time is up, or the worker stops.
        """
        if self._interruption is Interruption.SOFT_TIMEOUT:
            raise SoftTimeout(f"cannot go on with job '{self.job_id}': its soft timeout has passed")
        if self._interruption is not None:
            reason = self._interruption.name.lower().replace("_", " ")
            raise JobInterrupted(f"cannot go on with job '{self.job_id}': {reason}")

    # -- for the worker ------------------------------------------------------------------------------------------

    @property
    def interruption(self) -> Interruption | None:
        """Why it should end, if it should."""
        return self._interruption

    def interrupt(self, why: Interruption) -> bool:
        """Note why it should end; return whether that is new: a lesser reason changes nothing."""
        if self._interruption is not None and why.value <= self._interruption.value:
            return False
        self._interruption = why
        self.cancelled.set()
        return True

    def take_progress(self) -> bytes | None:
        """Return the last progress, as JSON; from now on the next one is announced again."""
        self._is_announced = False
        return self._progress


class _JobLogger(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **(self.extra or {})}}


def _encoded(value: object) -> bytes:
    try:
        raw = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.EncodeError) as exc:
        raise InvalidInput([Fault("progress", f"has no JSON form: {exc}")]) from exc
    if len(raw) > MAX_PROGRESS_BYTES:
        raise InvalidInput([Fault("progress", f"must be at most {MAX_PROGRESS_BYTES} bytes of JSON")])
    return raw
