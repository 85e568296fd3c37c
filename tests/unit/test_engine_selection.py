from __future__ import annotations

import pytest

from hero_supervisor.engine.selection import select
from hero_supervisor.errors import InvalidInput, RunnerNotFound
from hero_supervisor.runner import Runner

KNOWN = [
    Runner(id="web-1", command=("x",), labels={"tier": "front", "zone": "a"}),
    Runner(id="web-2", command=("x",), labels={"tier": "front"}),
    Runner(id="db", command=("x",), labels={"tier": "back"}),
]


@pytest.mark.parametrize(
    ("patterns", "labels", "expected"),
    [
        (["*"], {}, ["web-1", "web-2", "db"]),
        (["db"], {}, ["db"]),
        (["db", "web-*", "web-1"], {}, ["web-1", "web-2", "db"]),
        (["web-[2-9]"], {}, ["web-2"]),
        ([], {"tier": "front"}, ["web-1", "web-2"]),
        (["*-1"], {"tier": "front"}, ["web-1"]),
        ([], {"tier": "front", "zone": "a"}, ["web-1"]),
    ],
)
def test_runners_are_chosen_by_ids_globs_and_labels(
    patterns: list[str], labels: dict[str, str], expected: list[str]
) -> None:
    assert select(KNOWN, patterns, labels) == expected


@pytest.mark.parametrize(
    ("patterns", "labels", "named"),
    [
        (["nope"], {}, "'nope'"),
        (["db", "x-*"], {}, "'x-*'"),
        ([], {"tier": "x"}, "tier=x"),
        (["db"], {"tier": "front"}, "tier"),
    ],
)
def test_what_matches_nothing_is_named(patterns: list[str], labels: dict[str, str], named: str) -> None:
    with pytest.raises(RunnerNotFound) as caught:
        select(KNOWN, patterns, labels)
    assert named in caught.value.message


def test_all_runners_may_be_none() -> None:
    assert select([], ["*"], {}) == []


def test_all_runners_have_to_be_asked_for() -> None:
    with pytest.raises(InvalidInput, match="'\\*' means all"):
        select(KNOWN, [], {})
