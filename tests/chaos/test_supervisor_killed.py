"""Case 1: the supervisor is killed at any point of any operation, over and over."""

from __future__ import annotations

import random
import secrets
import time
from typing import TYPE_CHECKING, Any

import pytest

from .fleet import BUSY, QUIET, Fleet, Load, settled, stored_runners

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(900)


def kill_over_and_over(service: Service, *, rounds: int, seed: str) -> dict[str, Any]:
    """Kill the supervisor under load at random moments, and return figures; fails when anything is wrong after one."""
    fleet, rng = Fleet(service), random.Random(seed)  # noqa: S311  # it guards nothing
    done, times_s = 0, []
    errors: list[str] = []
    for number in range(rounds):
        with Load(service, f"{seed}-{number}") as load:
            time.sleep(rng.uniform(0.02, 0.5))
            service.kill()
        done, errors = done + load.done, errors + load.errors
        service.start()
        took_s, faults = settled(fleet, timeout_s=5)
        faults += load.lost()
        assert not faults, f"seed {seed}, round {number}: {faults}; calls that failed: {load.errors}"
        times_s.append(took_s)
    assert not errors, f"seed {seed}: {errors}"
    assert [end for id in QUIET for end in service.rpc.call("get_runner_exits", [id])] == []
    for id in stored_runners(service).keys() & BUSY:
        runs = [end["invocation_id"] for end in service.rpc.call("get_runner_exits", {"runner": id, "limit": 1000})]
        assert len(runs) == len(set(runs))
    return {"seed": seed, "kills": rounds, "operations": done, "longest_until_all_is_well_s": max(times_s)}


def test_50_kills_of_the_supervisor_under_load_change_nothing_nobody_asked_for(
    service: Service, figures: Callable[..., None]
) -> None:
    found = kill_over_and_over(service, rounds=50, seed=secrets.token_hex(4))
    figures("1. kill -9 of the supervisor under load", **found)
    assert found["longest_until_all_is_well_s"] < 1
