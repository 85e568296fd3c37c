from __future__ import annotations

import pytest

from hero_supervisor.definition.restart import RestartPolicy
from hero_supervisor.engine.verdict import Verdict, verdict
from hero_supervisor.state import Desired
from hero_supervisor.unit import UnitStatus

ALWAYS, ON_FAILURE, NEVER = RestartPolicy


def unit(active_state: str, *, has_run: bool = True) -> UnitStatus:
    return UnitStatus("a.service", active_state=active_state, invocation_id="1" * 32 if has_run else "")


@pytest.mark.parametrize("policy", RestartPolicy)
@pytest.mark.parametrize("state", ["active", "activating", "reloading", "deactivating"])
def test_what_systemd_works_on_is_left_to_it(policy: RestartPolicy, state: str) -> None:
    assert verdict(policy, Desired.RUNNING, unit(state)) is Verdict.LEAVE


@pytest.mark.parametrize("desired", [Desired.STOPPED, Desired.ENDED])
@pytest.mark.parametrize("state", ["inactive", "failed", "active"])
def test_what_is_not_meant_to_run_is_left_alone(desired: Desired, state: str) -> None:
    assert verdict(ALWAYS, desired, unit(state)) is Verdict.LEAVE


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_run_that_was_stopped_for_another_is_followed_by_it(state: str) -> None:
    assert verdict(NEVER, Desired.RUNNING, unit(state), is_replaced=True) is Verdict.START
    assert verdict(NEVER, Desired.STOPPED, unit(state), is_replaced=True) is Verdict.LEAVE


@pytest.mark.parametrize(("has_ended_well", "expected"), [(True, Verdict.ENDED), (False, Verdict.START)])
def test_what_systemd_has_forgotten_is_started_unless_it_ended_well(*, has_ended_well: bool, expected: Verdict) -> None:
    lost = unit("inactive", has_run=False)
    assert verdict(NEVER, Desired.RUNNING, lost, has_ended_well=has_ended_well) is expected


@pytest.mark.parametrize("policy", RestartPolicy)
def test_what_is_not_there_is_started(policy: RestartPolicy) -> None:
    assert verdict(policy, Desired.RUNNING, unit("inactive", has_run=False)) is Verdict.START


@pytest.mark.parametrize(
    ("policy", "expected"), [(ALWAYS, Verdict.RETRY), (ON_FAILURE, Verdict.RETRY), (NEVER, Verdict.ENDED)]
)
def test_what_failed_for_good_is_tried_again_if_its_policy_says_so(policy: RestartPolicy, expected: Verdict) -> None:
    assert verdict(policy, Desired.RUNNING, unit("failed")) is expected


@pytest.mark.parametrize("policy", RestartPolicy)
def test_what_ended_without_failing_has_ended(policy: RestartPolicy) -> None:
    assert verdict(policy, Desired.RUNNING, unit("inactive")) is Verdict.ENDED
