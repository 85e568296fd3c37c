"""Pure: why a run ended, in a word and in a sentence, and the record that says so.

What ended a run comes first. A stop that somebody asked for is the reason even when the program had to be killed for
it, or ended with an error on the way: that is told by the result and the exit status. One that ended by itself has
the reason by which systemd calls it failed. The start limit comes before these, since it is why nothing follows; what
the last run did is still in the result, the exit status and the sentence.
"""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from hero_supervisor.records import ExitReason, ExitRecord
from hero_supervisor.systemd.start_failures import EXIT_STATUSES, EXITED

from .folder import identify

if TYPE_CHECKING:
    from hero_supervisor.unit import UnitStatus

    from .folder import Run

#: systemd's words for how a unit ended, apart from those that mean an exit by itself.
REASONS: Final = {
    "signal": ExitReason.SIGNAL,
    "core-dump": ExitReason.CORE_DUMP,
    "oom-kill": ExitReason.OOM_KILL,
    "timeout": ExitReason.TIMEOUT,
    "watchdog": ExitReason.WATCHDOG,
    "start-limit-hit": ExitReason.START_LIMIT,
    "resources": ExitReason.NOT_STARTED,
}
_STOPS: Final = {
    ExitReason.OPERATOR: "it was stopped on request, or together with the machine",
    ExitReason.REPLACED: "the supervisor stopped it to start it anew",
    ExitReason.MAX_AGE: "the supervisor stopped it because it had reached its maximum age",
    ExitReason.UNHEALTHY: "the supervisor stopped it because it was unhealthy",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def reason_of(run: Run, cause: ExitReason | None = None) -> ExitReason:
    """Return why a run ended.

    Args:
        run: A run that has ended.
        cause: Why the supervisor was about to stop it, if it was. It counts only if the run was stopped at all.
    """
    if run.is_stopped:
        return cause or ExitReason.OPERATOR
    if run.is_given_up:
        return ExitReason.START_LIMIT
    return _own_reason(run)


def _own_reason(run: Run) -> ExitReason:
    # Now and then systemd sees the signal before it hears of the lack of memory.
    if run.is_oom and run.signal_number == signal.SIGKILL:
        return ExitReason.OOM_KILL
    if run.exit_code in EXIT_STATUSES:
        return ExitReason.NOT_STARTED
    return REASONS.get(run.result, ExitReason.EXIT)


def explain(run: Run, reason: ExitReason) -> str:
    """Return the reason as a sentence, without capital and full stop."""
    if reason in _STOPS:
        return _STOPS[reason] + _manner_of_stop(run)
    if reason is ExitReason.START_LIMIT:
        return f"{explain(run, _own_reason(run))}; systemd gave up, for it was started too often in a short time"
    return _explain_end(run, reason)


def _manner_of_stop(run: Run) -> str:
    if run.result == "timeout":
        return "; it did not end by its stop timeout and was killed"
    return "" if run.result == "success" else f"; it ended with {_end_of_process(run)}"


def _explain_end(run: Run, reason: ExitReason) -> str:
    not_ready = "" if run.is_up else " before it was ready"
    sentences = {
        ExitReason.SIGNAL: f"its program was killed by {_end_of_process(run)}{not_ready}",
        ExitReason.CORE_DUMP: f"its program crashed with {_end_of_process(run)} and dumped core{not_ready}",
        ExitReason.OOM_KILL: "it ran out of memory and was killed",
        ExitReason.TIMEOUT: "a timeout of its unit ran out"
        if run.is_up
        else "it was not ready within its start timeout",
        ExitReason.WATCHDOG: "it did not send its watchdog sign of life in time and was killed",
        ExitReason.START_LIMIT: "it was not started: it had been started too often in a short time",
        ExitReason.NOT_STARTED: f"its program was not executed: {_fault_before_program(run)}",
    }
    return sentences.get(reason) or f"its program {_manner_of_exit(run)}"


def _manner_of_exit(run: Run) -> str:
    """Return how a program ended that was not killed: also by one of the signals that count as a clean end."""
    not_ready = " without having said that it is ready" if run.result == "protocol" else ""
    if run.signal_number:
        return f"was ended by {_end_of_process(run)}{not_ready}"
    if run.exit_code is None and run.result in {"success", "protocol"}:
        return f"ended by itself, cleanly{not_ready}"
    return f"ended by itself with {_end_of_process(run)}{not_ready}"


def _end_of_process(run: Run) -> str:
    if run.exit_code is not None:
        return f"exit status {run.exit_code}"
    return signal_name(run.signal_number) if run.signal_number else f"the result '{run.result}'"


def _fault_before_program(run: Run) -> str:
    if run.exit_code in EXIT_STATUSES:
        name, fault = EXIT_STATUSES[run.exit_code]
        return f"{fault} ({run.exit_code}/{name})"
    return "systemd could not prepare its process; a file it needs (its environment file?) cannot be read"


def signal_name(number: int) -> str:
    """Return the name of a signal, as in SIGKILL or SIGRTMIN+3."""
    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def add_status(run: Run, status: UnitStatus) -> None:
    """Add what systemd knows of a run that it still has: how a clean end came about, and whether it starts it again."""
    if status.exec_main_code and run.exit_code is None and run.signal_number is None:
        if status.exec_main_code == EXITED:
            run.exit_code = status.exec_main_status
        else:
            run.signal_number = status.exec_main_status
    if run.is_restart_due is None and _waits(status):
        run.is_restart_due = True


def has_ended(status: UnitStatus) -> bool:
    """Whether the run of a unit that a status names is over."""
    return status.active_state in {"inactive", "failed"} or _waits(status)


def _waits(status: UnitStatus) -> bool:
    # systemd 254 and later also say auto-restart-queued.
    return status.sub_state.startswith("auto-restart")


def remember(run: Run, record: ExitRecord) -> None:
    """Add to a run that was read again what its earlier record says beyond that: the journal does not keep all."""
    if run.exit_code is None and run.signal_number is None:
        run.exit_code = record.exit_code
        run.signal_number = signal.Signals.__members__.get(record.signal or "")
    if run.is_restart_due is None:
        run.is_restart_due = record.will_restart
    if run.started_usec is None and record.started_at is not None:
        run.started_usec = (record.started_at - _EPOCH) // timedelta(microseconds=1)


def record_of(run: Run, namespace: str, *, cause: ExitReason | None = None, log_tail: tuple[str, ...]) -> ExitRecord:
    """Return the record of a run that has ended.

    Args:
        run: The run; its unit is a runner's.
        namespace: First part of the unit's name.
        cause: As for ``reason_of``.
        log_tail: The last lines that it wrote, oldest first.
    """
    runner, instance = identify(run.unit, namespace) or ("", 1)
    reason, ended_usec = reason_of(run, cause), run.ended_usec or 0
    return ExitRecord(
        runner=runner,
        instance=instance,
        unit=run.unit,
        invocation_id=run.invocation_id,
        reason=reason,
        explanation=explain(run, reason),
        result=run.result,
        exit_code=run.exit_code,
        signal=signal_name(run.signal_number) if run.signal_number else None,
        started_at=None if run.started_usec is None else _moment(run.started_usec),
        ended_at=_moment(ended_usec),
        # The clock may have been set back meanwhile.
        duration_s=None if run.started_usec is None else max(0, ended_usec - run.started_usec) / 1e6,
        memory_peak_bytes=run.memory_peak_bytes,
        cpu_s=None if run.cpu_nsec is None else run.cpu_nsec / 1e9,
        will_restart=bool(run.is_restart_due),
        log_tail=log_tail,
        cursor=run.cursor,
    )


def _moment(usec: int) -> datetime:
    return _EPOCH + timedelta(microseconds=usec)
