"""How soon the first job of a runner that has no instance is executed: its arrival starts one."""

from __future__ import annotations

import time
from datetime import datetime
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(600)

ROUNDS = 20


def _has_no_unit(service: Service) -> bool:
    return not service.rpc.call("get_runner_status", {"runner": "first"})["main_pid"]


def test_start_on_the_first_job(service: Service, figure: Callable[..., None]) -> None:
    service.add(
        "first", executor="shell", instances=0, demand={"min_instances": 0, "max_instances": 1, "cool_down_s": 0.2}
    )
    started_s = []
    for _ in range(ROUNDS):
        eventually(lambda: _has_no_unit(service), timeout_s=20)
        began_s = time.time()
        job_id = service.rpc.call("queue_job_to_runner", {"runner": "first", "job": {"payload": "true"}})
        assert service.rpc.call("wait_for_jobs", {"job_ids": [job_id], "timeout": 30})[0]["status"] == "finished"
        state: dict[str, Any] = service.rpc.call("get_job_state", {"job_id": job_id})
        started_s.append(datetime.fromisoformat(state["started_at"]).timestamp() - began_s)
    slowest = quantiles(started_s, n=20, method="inclusive")[-1]
    figure(f"first job at 0 instances, from queue_job_to_runner to started, median of {ROUNDS}", median(started_s), "s")
    figure("the same, p95", slowest, "s", 0.3)
