from __future__ import annotations

import pytest

from hero_supervisor.engine.order import cycle_faults, stages

AFTER = {"web": ["app", "cache"], "app": ["db"], "cache": [], "db": [], "other": []}


def test_each_runner_comes_after_those_it_waits_for() -> None:
    assert stages(["web", "other", "app", "db", "cache"], AFTER) == [["other", "db", "cache"], ["app"], ["web"]]


def test_runners_that_are_not_chosen_are_not_added() -> None:
    assert stages(["web", "db"], AFTER) == [["web", "db"]]
    assert stages([], AFTER) == []


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ({"a": ["a"]}, "a after a"),
        ({"a": ["b"], "b": ["a"]}, "after"),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "after"),
    ],
)
def test_a_runner_that_waits_for_itself_is_refused(after: dict[str, list[str]], message: str) -> None:
    (fault,) = cycle_faults("a", after)
    assert fault.path == "after"
    assert message in fault.message


def test_runners_without_a_cycle_are_accepted() -> None:
    assert list(cycle_faults("web", AFTER)) == []
