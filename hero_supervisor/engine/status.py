"""Pure: what systemd says of a runner's units, in our words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from hero_supervisor.records import InstanceStatus, RunnerState, RunnerStatus
from hero_supervisor.unit import UnitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hero_supervisor.state import Desired

_STATES: Final = {
    "active": RunnerState.RUNNING,
    "reloading": RunnerState.RUNNING,
    "activating": RunnerState.STARTING,
    "deactivating": RunnerState.STOPPING,
    "failed": RunnerState.FAILED,
}
#: By what is wanted of a runner that has no processes.
_WITHOUT_PROCESSES: Final = {"running": RunnerState.RUNNING, "drained": RunnerState.STOPPING}
#: The first of these that an instance is in is what the runner is in.
_WORST_FIRST: Final = (
    RunnerState.FAILED,
    RunnerState.BACKOFF,
    RunnerState.STOPPING,
    RunnerState.STARTING,
    RunnerState.STOPPED,
    RunnerState.RUNNING,
)


def state_of(unit: UnitStatus, next_start: datetime | None = None, *, is_ready: bool = True) -> RunnerState:
    """Return the state of a unit.

    Args:
        unit: What systemd says.
        next_start: When we will start it again, if we will.
        is_ready: What its readiness probe says.
    """
    if unit.active_state == "active" and not is_ready:
        return RunnerState.STARTING
    if waits(unit) or next_start is not None:
        return RunnerState.BACKOFF
    return _STATES.get(unit.active_state, RunnerState.STOPPED)


def waits(unit: UnitStatus) -> bool:
    """Whether systemd starts a unit again after a pause."""
    # Version 254 and later also say auto-restart-queued.
    return unit.sub_state.startswith("auto-restart")


def instance_status(
    runner: str, instance: int, unit: UnitStatus, next_start: datetime | None = None, *, is_ready: bool = True
) -> InstanceStatus:
    """Return the status of an instance."""
    return InstanceStatus(
        id=runner,
        instance=instance,
        status=state_of(unit, next_start, is_ready=is_ready),
        unit=unit.name,
        active_state=unit.active_state,
        sub_state=unit.sub_state,
        main_pid=unit.main_pid or None,
        invocation_id=unit.invocation_id or None,
        since=datetime.fromtimestamp(unit.state_change_usec / 1e6, UTC) if unit.state_change_usec else None,
        restarts=unit.restarts,
        result=unit.result,
        exit_status=unit.exec_main_status if unit.exec_main_code else None,
        next_start=next_start,
    )


def status_without_processes(runner: str, desired: Desired) -> RunnerStatus:
    """Return the status of a runner whose jobs are units: it runs when it takes jobs, and stops while it drains."""
    status = _WITHOUT_PROCESSES.get(desired.value, RunnerState.STOPPED)
    unit = UnitStatus("", active_state="active" if status is RunnerState.RUNNING else "inactive")
    fields = msgspec.structs.asdict(instance_status(runner, 0, unit)) | {"status": status}
    return RunnerStatus(**fields, desired=desired.value, instances=())


def runner_status(desired: Desired, instances: Sequence[InstanceStatus]) -> RunnerStatus:
    """Return the status of a runner from that of its instances, of which there is at least one."""
    worst = min(instances, key=lambda each: _WORST_FIRST.index(each.status))
    return RunnerStatus(**msgspec.structs.asdict(worst), desired=desired.value, instances=tuple(instances))
