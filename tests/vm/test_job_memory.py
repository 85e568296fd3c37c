"""Jobs that run out of memory: what becomes of them, and of the jobs beside them. Here the kernel enforces limits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.jobs import JobsUnderFire
from tests.chaos.nemeses import exhaust_memory
from tests.e2e.conftest import Service, eventually, service, stopped_service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["service", "stopped_service"]

pytestmark = pytest.mark.timeout(300)

#: Fills more than the runner may have.
GLUTTON = f"exec {sys.executable} -IS -c \"import time; kept = b'x' * {200 * 2**20}; time.sleep(1000)\""
LIMITS = {"memory_max_bytes": "60M"}


@pytest.mark.parametrize("protocol", ["claim", "unit"])
def test_a_job_that_kills_its_runner_is_a_dead_letter_with_the_reason(service: Service, protocol: str) -> None:
    service.add("r", executor="shell", protocol=protocol, sandbox="trusted", restart_delay_s=3, limits=LIMITS)
    job: dict[str, Any] = {"id": "glutton", "payload": GLUTTON, "max_crashes": 1}
    service.rpc.call("queue_job_to_runner", {"runner": "r", "job": job})
    service.rpc.call("queue_job_to_runner", {"runner": "r", "job": {"id": "good", "payload": "echo fine"}})
    eventually(lambda: service.rpc.call("get_job_status", ["glutton"]) == "error", timeout_s=120)
    state = service.rpc.call("get_job_state", ["glutton"])
    assert (state["reason"], state["crashes"], state["attempt"]) == ("oom-kill", 2, 2)
    assert [each["id"] for each in service.rpc.call("list_dead_jobs", ["r"])] == ["glutton"]
    eventually(lambda: service.rpc.call("get_job_status", ["good"]) == "finished", timeout_s=60)


@pytest.mark.parametrize("protocol", ["claim", "unit"])
async def test_no_job_is_lost_when_those_beside_it_exhaust_the_memory(
    service: Service, figures: Callable[..., None], tmp_path: Path, protocol: str
) -> None:
    run = JobsUnderFire(service, protocol=protocol, instances=2, seed="vm", folder=tmp_path, limits=LIMITS)
    outcome = await run.run(30, exhaust_memory, kills=3, pause_s=1.0)
    figures(f"memory exhausted, {protocol} x 2", **outcome.figures())
    outcome.check()
