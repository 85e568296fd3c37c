"""Pure: which runner comes before which, from their ``after``."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from hero_supervisor.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def cycle_faults(runner: str, after: Mapping[str, Iterable[str]]) -> Iterable[Fault]:
    """Yield a fault if a runner would wait for itself.

    Args:
        runner: Id of the runner whose definition is looked at.
        after: For every runner, itself included, the ids of those it waits for.
    """
    try:
        TopologicalSorter(after).prepare()
    except CycleError as exc:
        names = [str(name) for name in exc.args[1]]
        if runner in names:
            yield Fault("after", f"makes the runners wait for one another: {' after '.join(names[::-1])}")


def stages(runners: Iterable[str], after: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Group runners so that each comes in a later group than all it waits for; the order within a group is kept.

    Args:
        runners: The ids to group; those they wait for are not added.
        after: For every runner the ids of those it waits for; without a cycle.
    """
    chosen = list(runners)
    sorter = TopologicalSorter({runner: set(after.get(runner, ())) & set(chosen) for runner in chosen})
    sorter.prepare()
    groups = []
    while sorter.is_active():
        ready = set(sorter.get_ready())
        groups.append([runner for runner in chosen if runner in ready])
        sorter.done(*ready)
    return groups
