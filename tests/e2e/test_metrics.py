"""``/metrics`` of a service with jobs, deaths and a Redis that is away."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from hero_supervisor import Job
from hero_supervisor.job import JobStatus
from hero_supervisor.rpc_client import RpcClient
from tests.e2e.conftest import eventually
from tests.metrics_reading import Labels, labels, read

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(120)


def scraped(service: Service) -> dict[str, dict[Labels, float]]:
    response = httpx.get(f"{service.url}/metrics", timeout=10)
    assert response.status_code == 200
    return read(response.content)


def test_jobs_and_deaths_are_counted(service: Service) -> None:
    service.add("sh", executor="shell")
    with RpcClient(service.url) as client:
        assert client.queue_and_wait("sh", Job(payload="sleep 0.2")).status is JobStatus.FINISHED
        assert client.queue_and_wait("sh", Job(payload="exit 3")).status is JobStatus.ERROR
        client.queue_job_to_runner("sh", Job(id="long", payload="sleep 2"))
        eventually(lambda: client.get_job_status("long") is JobStatus.STARTED)
        assert scraped(service)["hero_queue_jobs"][labels(runner="sh", place="taken")] == 1
        os.kill(client.get_runner_status("sh").main_pid or 0, signal.SIGKILL)
        (result,) = client.wait_for_jobs(("long",))
        assert result.status is JobStatus.FINISHED  # another process did it
    eventually(lambda: "hero_runner_exits_total" in scraped(service), timeout_s=10)
    found = scraped(service)
    assert found["hero_systemd_up"] == found["hero_redis_up"] == {labels(): 1}
    assert found["hero_runners"][labels(state="running")] == 1
    assert found["hero_runner_instances_running"] == {labels(runner="sh"): 1}
    assert found["hero_runner_exits_total"] == {labels(runner="sh", reason="signal"): 1}
    assert found["hero_runner_restarts_total"] == {labels(runner="sh", reason="signal"): 1}
    assert found["hero_jobs_queued_total"] == {labels(runner="sh"): 3}
    assert found["hero_jobs_ended_total"][labels(runner="sh", outcome="finished")] == 2
    assert found["hero_jobs_ended_total"][labels(runner="sh", outcome="error")] == 1
    assert found["hero_jobs_recovered_total"] == {labels(runner="sh"): 1}
    assert found["hero_queue_jobs"][labels(runner="sh", place="taken")] == 0
    assert found["hero_job_run_seconds_count"] == found["hero_job_wait_seconds_count"] == {labels(runner="sh"): 3}
    assert 2.2 < found["hero_job_run_seconds_sum"][labels(runner="sh")] < 5
    assert found["hero_job_wait_seconds_sum"][labels(runner="sh")] < 2
    assert found["hero_rpc_requests_total"][labels(method="queue_and_wait", outcome="ok")] == 2
    service.rpc.call("remove_runner", {"runner": "sh"})
    found = scraped(service)
    assert labels(runner="sh") not in found.get("hero_runner_instances_running", {})
    assert not any(dict(each).get("runner") for samples in found.values() for each in samples)


def test_a_redis_that_does_not_answer_leaves_the_rest(service: Service) -> None:
    service.add("a")
    pid = int(service.show("MainPID", f"{service.namespace}-redis.service"))
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        found = scraped(service)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - began < 6
    assert found["hero_redis_up"] == {labels(): 0}
    assert found["hero_systemd_up"] == {labels(): 1}
    assert found["hero_runner_instances_running"] == {labels(runner="a"): 1}
    assert "hero_queue_jobs" not in found
    eventually(lambda: scraped(service)["hero_redis_up"] == {labels(): 1}, timeout_s=10)
