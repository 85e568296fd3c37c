"""Pure: which runners an operation is meant for, from ids, globs and labels."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import Fault, InvalidInput, RunnerNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hero_supervisor.runner import Runner

ALL: Final = "*"


def select(known: Iterable[Runner], patterns: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    """Return the ids of the runners that match any of the patterns and have all the labels, in the order of ``known``.

    Args:
        known: All runners.
        patterns: Ids, or globs of ids as in fnmatch(3). None at all, with labels given, matches every id. ``*`` is all
            of them, also when there are none.
        labels: Labels and their values.

    Raises:
        InvalidInput: Neither patterns nor labels are given.
        RunnerNotFound: A pattern matches no id, or the labels match no runner.
    """
    if not patterns and not labels:
        raise InvalidInput([Fault("runners", "ids, globs or labels are needed; '*' means all")])
    runners = {runner.id: runner for runner in known}
    for pattern in patterns:
        if pattern != ALL and not fnmatch.filter(runners, pattern):
            raise RunnerNotFound(
                f"cannot find runner '{pattern}'", hint="list the runners: herosup runner list", runner=pattern
            )
    found = [id for id in runners if not patterns or any(fnmatch.fnmatchcase(id, pattern) for pattern in patterns)]
    labelled = [id for id in found if labels.items() <= runners[id].labels.items()]
    if labels and not labelled:
        wanted = ", ".join(f"{name}={value}" for name, value in labels.items())
        raise RunnerNotFound(f"cannot find a runner with the labels {wanted}", labels=dict(labels))
    return labelled
