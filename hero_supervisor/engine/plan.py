"""Pure: what a new definition of a runner changes, and whether its processes have to be started anew for it.

Live is what only the supervisor acts on, and what systemd changes in a unit that runs: the limits of its control group.
All else is in the unit that runs until it is replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from hero_supervisor.records import ChangeEffect, FieldChange, PlanAction, RunnerPlan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hero_supervisor.runner import Runner

#: Fields whose change needs no restart.
LIVE_FIELDS: Final = frozenset(
    {
        "after",
        "allow_secret_env",
        "autostart",
        "demand",
        "idle_ping",
        "instances",
        "labels",
        "liveness_probe",
        "limits.cpu_quota_percent",
        "limits.cpu_weight",
        "limits.io_weight",
        "limits.memory_high_bytes",
        "limits.memory_max_bytes",
        "limits.memory_swap_max_bytes",
        "limits.tasks_max",
        "max_age_jitter_s",
        "readiness_probe",
        "max_age_s",
        "reload_signal",
        "restart_calendar",
        "backoff.delay_s",
        "backoff.factor",
        "backoff.give_up_after",
        "backoff.jitter",
        "backoff.max_delay_s",
    }
)


def plan(before: Runner | None, after: Runner) -> RunnerPlan:
    """Return what replacing a definition by another changes.

    Args:
        before: The present one; ``None`` when the runner is new.
        after: The one to come.
    """
    if before is None:
        return RunnerPlan(id=after.id, action=PlanAction.ADD, changes=())
    changes = tuple(_changes("", msgspec.to_builtins(before), msgspec.to_builtins(after)))
    return RunnerPlan(id=after.id, action=_action(changes), changes=changes)


def _action(changes: tuple[FieldChange, ...]) -> PlanAction:
    if not changes:
        return PlanAction.NOTHING
    needs_restart = any(change.effect is ChangeEffect.RESTART for change in changes)
    return PlanAction.RESTART if needs_restart else PlanAction.CHANGE


def _changes(path: str, before: dict[str, Any], after: dict[str, Any]) -> Iterable[FieldChange]:
    """Yield the fields that differ; parts of a definition that have fields themselves are compared field by field."""
    for name, value in after.items():
        field = f"{path}{name}"
        if before[name] == value:
            continue
        if name in {"backoff", "limits", "log_rate"}:
            yield from _changes(f"{field}.", before[name], value)
        else:
            effect = ChangeEffect.LIVE if field in LIVE_FIELDS else ChangeEffect.RESTART
            yield FieldChange(field=field, before=before[name], after=value, effect=effect)
