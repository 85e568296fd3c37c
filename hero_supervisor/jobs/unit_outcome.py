"""Pure: how a job's unit ended, into what becomes of the job.

- Exit status 0: it has finished, with what it wrote to standard output.
- Another exit status: an error; it is retried as often as the job says. So is what ran for longer than it may.
- A signal, a core dump, lack of memory: the death of whoever executed it, by the job's own doing. That is a crash, for
  which the job's ``on_crash`` and ``max_crashes`` are, as it is when a job kills a worker process.
- A stop of its unit, by whomever: given back, uncounted. A job that was to be stopped has that in its record, and ends.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hero_supervisor.exits.verdict import REASONS, signal_name
from hero_supervisor.queue.claims import CRASHED, ERROR, FINISHED, RELEASED, Ended
from hero_supervisor.records import ExitReason
from hero_supervisor.systemd.start_failures import EXIT_STATUSES, EXITED
from hero_supervisor.unit.end import DEAD

if TYPE_CHECKING:
    from hero_supervisor.job import Job
    from hero_supervisor.runner import Runner
    from hero_supervisor.unit import UnitEnd

TIMEOUT: Final = "timeout"
#: Seconds by which a time that systemd measures may fall short of what it was told.
_SLACK_S: Final = 0.05


def outcome_of(end: UnitEnd, job: Job, runner: Runner, *, attempt: int, output: str) -> Ended:
    """Return what an attempt of a job has come to.

    Args:
        end: How its unit ended; it is over.
        job: The job.
        runner: The runner, as it was when the unit was started.
        attempt: Which attempt.
        output: What it wrote to standard output.
    """

    def ended(outcome: str, text: str = "", reason: str = "") -> Ended:
        return Ended(job.id, attempt, outcome, text, reason)

    if end.sub_state != DEAD and end.result == "oom-kill":
        return ended(CRASHED, "its job ran out of memory and was killed", ExitReason.OOM_KILL.value)
    if _is_late(end, job.timeout) and end.was_stopped and end.result == TIMEOUT:
        return ended(ERROR, f"timed out after {job.timeout} s", TIMEOUT)
    if end.was_stopped:
        return ended(RELEASED, reason=ExitReason.OPERATOR.value)
    if end.exec_main_code == EXITED:
        return ended(FINISHED, output) if not end.exec_main_status else ended(ERROR, _exit_text(end.exec_main_status))
    if _was_asked_to_stop(end, job, runner):
        return ended(ERROR, f"timed out after {job.soft_timeout} s", TIMEOUT)
    if not end.exec_main_code:
        return ended(ERROR, f"cannot start its unit: its result is '{end.result}'", ExitReason.NOT_STARTED.value)
    reason = REASONS.get(end.result, ExitReason.SIGNAL)
    return ended(CRASHED, f"killed by {signal_name(end.exec_main_status)}", reason.value)


def with_last_words(ended: Ended, words: str) -> Ended:
    """Return an error that says in its first line what went wrong, and below what the job said about it.

    The last line of a traceback is the exception, and most programs' last words are the reason. What systemd wrote
    about a program that it could not execute is no better than what its exit status says.
    """
    lines = words.rstrip().splitlines()
    if not lines or ended.text in _NOT_EXECUTED:
        return ended
    headline = f"{lines[-1].strip()} ({ended.text})"
    return replace(ended, text=headline if len(lines) == 1 else "\n".join([headline, "", *lines]))


def _is_late(end: UnitEnd, limit_s: float) -> bool:
    return end.duration_s >= limit_s - _SLACK_S


def _was_asked_to_stop(end: UnitEnd, job: Job, runner: Runner) -> bool:
    """Whether a process was killed by the signal that it is sent when its soft timeout is over."""
    number = signal.Signals[runner.stop_signal].value
    return job.soft_timeout is not None and _is_late(end, job.soft_timeout) and end.exec_main_status == number


def _exit_text(status: int) -> str:
    if status not in EXIT_STATUSES:
        return f"exit code {status}"
    name, fault = EXIT_STATUSES[status]
    return f"exit code {status}: {fault} ({name})"


#: The errors of programs that were never executed.
_NOT_EXECUTED: Final = frozenset(map(_exit_text, EXIT_STATUSES))
