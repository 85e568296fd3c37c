"""What is said of a Redis that may lose jobs."""

from __future__ import annotations

from typing import Any

import pytest

from hero_supervisor.queue.preflight import _too_old, warnings_in

GOOD = {"redis_version": "7.0.15", "maxmemory": 0, "maxmemory_policy": "noeviction", "aof_enabled": 1}


def test_a_good_one_is_not_talked_about() -> None:
    assert warnings_in(GOOD) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"maxmemory": 1000, "maxmemory_policy": "allkeys-lru"}, "noeviction"),
        ({"aof_enabled": 0}, "appendonly"),
        ({"cluster_enabled": 1}, "cluster"),
    ],
)
def test_what_may_cost_jobs_is_said_with_what_to_do(change: dict[str, Any], word: str) -> None:
    [warning] = warnings_in(GOOD | change)
    assert word in warning


@pytest.mark.parametrize(
    ("version", "is_too_old"),
    [("6.0.16", True), ("5.0", True), ("6.2.0", False), ("7.2.4", False), ("8.0", False), ("", False)],
)
def test_a_version_that_lacks_commands_is_refused(version: str, is_too_old: bool) -> None:
    assert (_too_old("x", GOOD | {"redis_version": version}) is not None) is is_too_old
