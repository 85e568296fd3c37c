"""How ``herosup`` fails: the exit code of every kind of error, and how an error is shown."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import HeroError

from .output import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

FAILED: Final = 1
USAGE: Final = 2
#: The runner is not running; the job has not ended.
NOT_THERE_YET: Final = 3
#: What a shell reports for a program that SIGINT or SIGPIPE ended.
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

#: Kinds with an exit code of their own. ``invalid-…`` is 2; every other kind is 1.
_CODES: Final = {
    "method-not-found": USAGE,
    "not-found": 4,
    "runner-not-found": 4,
    "job-not-found": 4,
    "operation-not-found": 4,
    "schedule-not-found": 4,
    "service-unreachable": 5,
    "key-not-found": 4,
    "permission-denied": 6,
    "wrong-secret": 6,
    "too-many-tries": 6,
    "job-not-ended": NOT_THERE_YET,
    "nothing-ended": NOT_THERE_YET,
    "timeout": 124,
}

# The paragraph mark keeps the lines as they are.
EPILOG: Final = """\b
Exit codes:
  0    done
  1    the operation failed
  2    wrong usage or invalid input
  3    the runner is not running, the job or run has not ended
  4    no such runner, job, schedule, operation or key
  5    the service cannot be reached
  6    denied
  124  not done in time
"""


class WrongUsage(HeroError):
    """The arguments do not fit together."""

    kind = "invalid-usage"


class SomeFailed(HeroError):
    """An operation on several runners failed for at least one of them."""

    kind = "some-failed"


class Cancelled(HeroError):
    """An operation on several runners was cancelled half way."""

    kind = "cancelled"


class NotConfirmed(HeroError):
    """Somebody was asked, and did not say yes."""

    kind = "not-confirmed"


class JobFailed(HeroError):
    """A job ended with an error."""

    kind = "job-failed"


class JobNotEnded(HeroError):
    """A job has no result yet."""

    kind = "job-not-ended"


class NotSound(HeroError):
    """Something in Redis is not as it has to be."""

    kind = "not-sound"


def exit_code_of(kind: str) -> int:
    """Return the exit code of a kind of error."""
    if kind.startswith("invalid-"):
        return USAGE
    return _CODES.get(kind, FAILED)


def show_error(error: HeroError, *, as_json: bool) -> None:
    """Write an error to standard error: one JSON object, or its message and hint on a line each."""
    show_fields({"error": error.message, **error.data()}, as_json=as_json)


def show_fields(fields: Mapping[str, object], *, as_json: bool) -> None:
    """Write an error given as its fields; ``error`` is the message, ``hint`` may be missing."""
    if as_json:
        sys.stderr.write(json.dumps(fields, default=str) + "\n")
        return
    # A job's error has many lines. Indented, none of them passes for a line of ours.
    message = visible(fields["error"], keep="\n\t").strip("\n").replace("\n", "\n  ")
    sys.stderr.write(f"error: {message}\n")
    if fields.get("hint"):
        sys.stderr.write(f"hint: {visible(fields['hint'])}\n")
