"""Pure: why a process that had jobs is no more, and whether its jobs may have been the cause.

A crash is counted against the jobs that the process had. What an operator, the supervisor or the host did is not, nor
a stop for which we do not know better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hero_supervisor.exits.verdict import REASONS, signal_name
from hero_supervisor.queue.ledger import Death
from hero_supervisor.records import ExitReason
from hero_supervisor.state import Desired
from hero_supervisor.systemd.start_failures import EXITED

if TYPE_CHECKING:
    from hero_supervisor.unit import UnitStatus

REBOOT: Final = Death("reboot", "its host was restarted", is_counted=False)
#: Nobody here knows more of a process than that it is silent, or did not do what it was told.
SILENT: Final = Death("lease-lost", "its runner gave no sign of life for 30 s", is_counted=True)
DISOBEDIENT: Final = Death("lease-lost", "its runner did not stop another job in time", is_counted=False)
#: The process is not the unit's any more, and systemd does not know how it ended.
UNKNOWN: Final = Death("exit", "its runner ended", is_counted=True)
#: Reasons that no job is to blame for.
UNCOUNTED: Final = frozenset({ExitReason.OPERATOR, ExitReason.REPLACED, ExitReason.MAX_AGE})
_REPLACED: Final = {
    ExitReason.REPLACED: "the supervisor stopped its runner to start it anew",
    ExitReason.MAX_AGE: "the supervisor stopped its runner because that had reached its maximum age",
}
#: It was killed for another job.
KILLED: Final = Death(ExitReason.REPLACED.value, _REPLACED[ExitReason.REPLACED], is_counted=False)


def is_over(unit: UnitStatus, invocation_id: str) -> bool | None:
    """Whether a run has ended, with all its processes; ``None`` while they are being ended."""
    if unit.invocation_id != invocation_id or unit.active_state in {"inactive", "failed"}:
        return True
    if unit.sub_state == "auto-restart" or unit.sub_state.startswith("auto-restart-"):
        return True
    return None if unit.active_state == "deactivating" else False


def death_of(unit: UnitStatus, invocation_id: str, *, desired: Desired, cause: ExitReason | None) -> Death:
    """Return why a run is no more.

    Args:
        unit: What systemd says of its unit now.
        invocation_id: The run.
        desired: What is wanted of its runner.
        cause: Why the supervisor was about to stop it, if it was.
    """
    if cause in _REPLACED:
        return Death(cause.value, _REPLACED[cause], is_counted=False)
    if cause is ExitReason.UNHEALTHY:
        return Death(cause.value, "the supervisor stopped its runner because that was unhealthy", is_counted=True)
    if desired is not Desired.RUNNING:
        return Death(ExitReason.OPERATOR.value, "its runner was stopped on request", is_counted=False)
    if unit.invocation_id != invocation_id:
        return UNKNOWN
    if unit.result == "success" and not unit.sub_state.startswith("auto-restart"):
        return Death(ExitReason.OPERATOR.value, "its runner was stopped on request", is_counted=False)
    return Death(REASONS.get(unit.result, ExitReason.EXIT).value, f"its runner {_manner(unit)}", is_counted=True)


def _manner(unit: UnitStatus) -> str:
    match unit.result:
        case "oom-kill":
            return "ran out of memory and was killed"
        case "timeout":
            return "did not end in time and was killed"
        case "watchdog":
            return "did not send its watchdog sign of life in time and was killed"
    if unit.exec_main_code == EXITED:
        return f"ended with exit status {unit.exec_main_status}"
    return f"was killed by {signal_name(unit.exec_main_status)}"
