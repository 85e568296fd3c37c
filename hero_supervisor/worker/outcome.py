"""Pure: how a script ended, into what its job becomes."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from hero_supervisor.queue.claims import ERROR, FINISHED

from .results import Outcome


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a script."""

    #: Exit code, or the negative number of the signal that killed it.
    return_code: int
    #: What it printed, bounded.
    output: str = ""
    #: The end of what it printed on stderr.
    error_tail: str = ""


def outcome_of_script(ending: Ending) -> Outcome:
    """Return what a script that ended by itself means for its job."""
    return Outcome(FINISHED, ending.output) if ending.return_code == 0 else Outcome(ERROR, _error_text(ending))


def _error_text(ending: Ending) -> str:
    """Say what went wrong in the first line, and what the script said about it below."""
    reason = _reason(ending.return_code)
    lines = ending.error_tail.rstrip().splitlines()
    if not lines:
        return reason
    # The last line of a traceback is the exception, and most programs' last words are the reason.
    headline = f"{lines[-1].strip()} ({reason})"
    return headline if len(lines) == 1 else "\n".join([headline, "", *lines])


def _reason(return_code: int) -> str:
    if return_code > 0:
        return f"exit code {return_code}"
    try:
        return f"killed by {signal.Signals(-return_code).name}"
    except ValueError:
        return f"killed by signal {-return_code}"
