"""Why an attempt is broken off, and the exceptions by which handlers hear and speak of it."""

from __future__ import annotations

from enum import Enum


class Interruption(Enum):
    """Why an attempt is to end before it would by itself. Each stands above those before it."""

    #: Its soft timeout has passed; it may still end well.
    SOFT_TIMEOUT = 1
    #: The worker stops, and its grace has passed.
    STOPPING = 2
    #: Somebody does not want the job any more.
    CANCELLED = 3
    #: Its timeout has passed.
    TIMEOUT = 4
    #: This process may not have jobs any more.
    FENCED = 5


class GiveUp(Exception):
    """Raised by a handler: the job ends with this error, and is not tried again whatever its policy says."""


class JobFailed(Exception):
    """Raised by a handler: its text is the attempt's error as it is, without a traceback."""


class JobInterrupted(Exception):
    """Raised by ``JobContext.check``: the job was cancelled, its time is up, or the worker stops."""


class SoftTimeout(JobInterrupted):
    """The job's soft timeout has passed. Raised once where an ``async`` handler waits, and by ``JobContext.check``."""


class Released(Exception):
    """Raised by our own handlers: the job was not executed to its end, and another is to take it."""
