from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from hero_supervisor.definition.limits import Limits
from hero_supervisor.definition.restart import Backoff
from hero_supervisor.engine.plan import LIVE_FIELDS, plan
from hero_supervisor.records import ChangeEffect, PlanAction
from hero_supervisor.runner import Runner

BEFORE = Runner(id="a", command=("x",), limits=Limits(memory_max_bytes=100))


def test_a_runner_that_is_not_there_is_added() -> None:
    assert plan(None, BEFORE).action is PlanAction.ADD


def test_the_same_definition_changes_nothing() -> None:
    same = plan(BEFORE, Runner(id="a", command=("x",), limits=Limits(memory_max_bytes=100)))
    assert (same.action, same.changes) == (PlanAction.NOTHING, ())


@pytest.mark.parametrize(
    ("after", "action", "field", "effect"),
    [
        (replace(BEFORE, command=("y",)), PlanAction.RESTART, "command", ChangeEffect.RESTART),
        (replace(BEFORE, env={"A": "b"}), PlanAction.RESTART, "env", ChangeEffect.RESTART),
        (replace(BEFORE, labels={"a": "b"}), PlanAction.CHANGE, "labels", ChangeEffect.LIVE),
        (replace(BEFORE, instances=3), PlanAction.CHANGE, "instances", ChangeEffect.LIVE),
        (replace(BEFORE, limits=Limits()), PlanAction.CHANGE, "limits.memory_max_bytes", ChangeEffect.LIVE),
        (
            replace(BEFORE, limits=Limits(memory_max_bytes=100, open_files=9)),
            PlanAction.RESTART,
            "limits.open_files",
            ChangeEffect.RESTART,
        ),
        (replace(BEFORE, backoff=Backoff(delay_s=9)), PlanAction.CHANGE, "backoff.delay_s", ChangeEffect.LIVE),
        (
            replace(BEFORE, backoff=Backoff(fast_retries=9)),
            PlanAction.RESTART,
            "backoff.fast_retries",
            ChangeEffect.RESTART,
        ),
    ],
)
def test_each_field_says_whether_its_change_needs_a_restart(
    after: Runner, action: PlanAction, field: str, effect: ChangeEffect
) -> None:
    result = plan(BEFORE, after)
    (change,) = result.changes
    assert (result.action, change.field, change.effect) == (action, field, effect)


def test_before_and_after_are_told() -> None:
    (change,) = plan(BEFORE, replace(BEFORE, command=("y", "z"))).changes
    assert (list(change.before), list(change.after)) == (["x"], ["y", "z"])


def test_every_live_field_is_one_of_a_runner() -> None:
    fields = set()
    for name, value in msgspec.to_builtins(BEFORE).items():
        fields |= {f"{name}.{inner}" for inner in value} if isinstance(value, dict) else {name}
    assert fields | {"labels", "after"} >= LIVE_FIELDS
