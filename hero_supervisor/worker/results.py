"""Pure: what a handler returns or raises, into how its attempt ends."""

from __future__ import annotations

import traceback
from concurrent.futures import thread
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from hero_supervisor.job import MAX_RESULT_BYTES
from hero_supervisor.queue.claims import ERROR, FAILED, FINISHED, RELEASED

from .interruption import GiveUp, JobFailed, Released, SoftTimeout

if TYPE_CHECKING:
    from types import TracebackType

#: Characters of an exception's own line, and of the traceback below it, that are kept.
HEADLINE_CHARS: Final = 2 * 1024
TRACEBACK_CHARS: Final = 8 * 1024
#: Where frames are that come before the handler's own.
_AROUND: Final = (str(Path(__file__).parent), thread.__file__)


class Outcome(NamedTuple):
    """How an attempt ends: one of the words of ``queue/claims.py``, and its output or error."""

    word: str
    text: str = ""


def outcome_of_value(value: object) -> Outcome:
    """Return the outcome of a handler that returned: its text, or the JSON form of anything else."""
    if isinstance(value, str):
        return Outcome(FINISHED, value)
    if value is None:
        return Outcome(FINISHED)
    try:
        raw = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.EncodeError) as exc:
        return Outcome(FAILED, f"cannot store the result: {type(value).__name__} has no JSON form: {exc}")
    if len(raw) > MAX_RESULT_BYTES:
        return Outcome(FAILED, f"cannot store the result: it has {len(raw)} bytes of JSON, {MAX_RESULT_BYTES} are kept")
    return Outcome(FINISHED, raw.decode())


def outcome_of_exception(exc: BaseException, *, soft_timeout_s: int | None) -> Outcome:
    """Return the outcome of a handler that raised."""
    if isinstance(exc, Released):
        return Outcome(RELEASED)
    if isinstance(exc, GiveUp):
        return Outcome(FAILED, str(exc) or "GiveUp")
    if isinstance(exc, JobFailed):
        return Outcome(ERROR, str(exc) or "JobFailed")
    if _is_soft_timeout(exc):
        return Outcome(ERROR, f"timed out after {soft_timeout_s} s (soft timeout)")
    return Outcome(ERROR, error_text(exc))


def error_text(exc: BaseException) -> str:
    """Say what went wrong in the first line, and where below: bounded, and without the frames of this package."""
    headline = _cut("".join(traceback.format_exception_only(exc)).strip(), HEADLINE_CHARS)
    lines = "".join(traceback.format_exception(type(exc), exc, _inner(exc.__traceback__))).rstrip()
    if len(lines) > TRACEBACK_CHARS:
        lines = "…\n" + lines[-TRACEBACK_CHARS:].partition("\n")[2]
    return f"{headline}\n\n{lines}"


def _is_soft_timeout(exc: BaseException) -> bool:
    """Whether it is one; in task groups it comes wrapped."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.subgroup(SoftTimeout) is not None
    return isinstance(exc, SoftTimeout)


def _inner(frames: TracebackType | None) -> TracebackType | None:
    """Return the frames from the handler on."""
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename.startswith(_AROUND):
        frames = frames.tb_next
    return frames


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
