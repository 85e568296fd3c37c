"""Metrics: what is measured as text, and the text read as Prometheus reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hero_supervisor import Runner
from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.client import JobClient
from hero_supervisor.errors import RedisUnavailable
from hero_supervisor.histogram import Histogram
from hero_supervisor.metrics import render
from hero_supervisor.operations.measures import Measures
from hero_supervisor.ports import ExitKind
from hero_supervisor.queue import figures
from hero_supervisor.records import ExitReason
from hero_supervisor.rpc import Tally
from hero_supervisor.testing import InMemoryExitSource, InMemoryLogSource, InMemoryProcessManager
from hero_supervisor.web import http_app
from tests.metrics_reading import Labels, labels, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hero_supervisor.supervisor import Supervisor

ROOT = Path(__file__).parents[2]


def measures(**given: Any) -> Measures:
    nothing: dict[str, Any] = {"statuses": None, "queues": None, "exits": {}, "systemd_s": 0.1, "redis_s": 0.2}
    nothing |= {"systemd_reconnects": 2, "redis_failures": {"redis-unavailable": 4}, "lag_s": 0.3}
    return Measures(**{**nothing, **given})


def queue(*counts: object, sizes: tuple[int, ...] = (0, 0, 0, 0, 0), oldest: object = None) -> figures.QueueFigures:
    return figures.read([[str(each).encode() for each in counts], list(sizes), oldest])


def test_what_cannot_be_had_is_left_out_and_said() -> None:
    found = read(render(measures(), Tally()))
    assert found["hero_systemd_up"] == found["hero_redis_up"] == {labels(): 0}
    assert found["hero_systemd_reconnects_total"] == {labels(): 2}
    assert found["hero_redis_failures_total"] == {labels(kind="redis-unavailable"): 4}
    assert found["hero_event_loop_lag_seconds"] == {labels(): 0.3}
    assert "hero_runners" not in found
    assert "hero_queue_jobs" not in found
    assert found["process_resident_memory_bytes"][labels()] > 1e6
    (build,) = found["hero_build_info"]
    assert dict(build).keys() == {"version", "python"}


def test_a_queue_is_told_with_its_places_counts_and_times() -> None:
    counts = ("finished", 3, "error", 1, "recovered", 2, "run:5", 2, "run:100", 1, "run:inf", 1, "run:ms", 1500)
    found = read(render(measures(queues={"a": queue(*counts, sizes=(4, 3, 2, 1, 0), oldest=b"2500")}), Tally()))
    assert found["hero_redis_up"] == {labels(): 1}
    assert found["hero_queue_jobs"][labels(runner="a", place="pending")] == 4
    assert found["hero_queue_jobs"][labels(runner="a", place="taken")] == 1
    assert found["hero_queue_oldest_seconds"] == {labels(runner="a"): 2.5}
    assert found["hero_jobs_ended_total"][labels(runner="a", outcome="finished")] == 3
    assert found["hero_jobs_ended_total"][labels(runner="a", outcome="cancelled")] == 0
    assert found["hero_jobs_recovered_total"] == {labels(runner="a"): 2}
    buckets = found["hero_job_run_seconds_bucket"]
    assert [buckets[labels(runner="a", le=le)] for le in ("0.001", "0.005", "0.1", "3600.0", "+Inf")] == [0, 2, 3, 3, 4]
    assert found["hero_job_run_seconds_count"] == {labels(runner="a"): 4}
    assert found["hero_job_run_seconds_sum"] == {labels(runner="a"): 1.5}
    assert "hero_job_wait_seconds_bucket" not in found


def test_what_others_wrote_into_the_counts_hides_nothing() -> None:
    found = read(render(measures(queues={"a": queue("finished", 3, "error", "many", "run:5", "-1")}), Tally()))
    assert found["hero_jobs_ended_total"][labels(runner="a", outcome="finished")] == 3


def test_ends_are_told_by_reason_and_restarts_apart() -> None:
    exits = {
        ExitKind("a", ExitReason.SIGNAL, will_restart=True): 2,
        ExitKind("a", ExitReason.SIGNAL, will_restart=False): 1,
        ExitKind("b", ExitReason.OPERATOR, will_restart=False): 1,
    }
    found = read(render(measures(exits=exits), Tally()))
    assert found["hero_runner_exits_total"] == {
        labels(runner="a", reason="signal"): 3,
        labels(runner="b", reason="operator"): 1,
    }
    assert found["hero_runner_restarts_total"] == {labels(runner="a", reason="signal"): 2}


def test_a_name_that_needs_escaping_comes_back(tmp_path: Path) -> None:
    tally = Tally()
    tally.count('a"\\\n', None, 0.1)
    assert labels(method='a"\\\n', outcome="ok") in read(render(measures(), tally))["hero_rpc_requests_total"]


def test_the_scripts_count_by_the_same_bounds() -> None:
    lua = (ROOT / "hero_supervisor/queue/lua/common.lua").read_text()
    found = re.search(r"BOUNDS_MS = \{(.*)\}", lua)
    assert found is not None
    assert tuple(map(int, found[1].split(", "))) == figures.BOUNDS_MS


@pytest.mark.parametrize(("seconds", "counts"), [(0, [1, 0, 0]), (1, [1, 0, 0]), (1.1, [0, 1, 0]), (9, [0, 0, 1])])
def test_a_time_is_counted_by_the_first_bound_that_it_does_not_exceed(seconds: float, counts: list[int]) -> None:
    histogram = Histogram((1.0, 5.0))
    histogram.observe(seconds)
    assert (histogram.counts, histogram.sum_s, histogram.total) == (counts, seconds, 1)


async def test_failed_calls_of_redis_are_counted_by_kind() -> None:
    client = JobClient("unix:///nowhere/redis.sock")
    for _ in range(2):
        with pytest.raises(RedisUnavailable):
            await client.ping()
    assert client.failures == {"redis-unavailable": 2}
    await client.close()


def test_every_metric_is_documented() -> None:
    documented = set(re.findall(r"`(hero_[a-z_]+)", (ROOT / "docs/metrics.md").read_text()))
    families = (ROOT / "hero_supervisor/metrics/families.py").read_text()
    names = set(re.findall(r'"(hero_[a-z_]+)"', families)) | {"hero_systemd_up", "hero_redis_up"}
    missing = {name for name in names if not any(each.startswith(name) for each in documented)}
    assert not missing


# -- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def supervisor(tmp_path: Path) -> Supervisor:
    builder = SupervisorBuilder().state_dir(tmp_path).exit_source(InMemoryExitSource())
    return await builder.process_manager(InMemoryProcessManager()).log_source(InMemoryLogSource()).build()


@pytest.fixture
async def client(supervisor: Supervisor) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(http_app(supervisor, is_loopback=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def scraped(client: httpx.AsyncClient) -> dict[str, dict[Labels, float]]:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(response.content)


async def call(client: httpx.AsyncClient, method: str, **params: object) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    assert (await client.post("/", json=request)).status_code == 200


async def test_calls_are_counted_by_their_own_names_and_kinds(client: httpx.AsyncClient) -> None:
    await call(client, "list_runners")
    await call(client, "get_runner_status", runner="nobody")
    await call(client, "job.status", job_id="j")  # another name of get_job_status
    for number in range(3):
        await call(client, f"made_up_{number}")
    found = await scraped(client)
    assert found["hero_rpc_requests_total"] == {
        labels(method="list_runners", outcome="ok"): 1,
        labels(method="get_runner_status", outcome="runner-not-found"): 1,
        labels(method="get_job_status", outcome="redis-unavailable"): 1,
        labels(method="unknown", outcome="method-not-found"): 3,
    }
    assert found["hero_rpc_request_seconds_count"][labels(method="unknown")] == 3


async def test_runners_are_counted_by_state_and_those_removed_are_gone(
    client: httpx.AsyncClient, supervisor: Supervisor
) -> None:
    # Not opened: no Redis. Runners are added to what it holds in memory.
    supervisor._state.open()
    await supervisor.add_runner(Runner(id="a", command=("/bin/true",), instances=2))
    await supervisor.add_runner(Runner(id="b", command=("/bin/true",)))
    await supervisor.start_runner("a")
    counts: Any = supervisor._exits.counts
    counts[ExitKind("b", ExitReason.EXIT, will_restart=True)] += 1
    found = await scraped(client)
    assert found["hero_runners"][labels(state="running")] == 1
    assert found["hero_runners"][labels(state="stopped")] == 1
    assert found["hero_runner_instances_wanted"] == {labels(runner="a"): 2, labels(runner="b"): 0}
    assert found["hero_runner_instances_running"] == {labels(runner="a"): 2, labels(runner="b"): 0}
    assert found["hero_runner_restarts_total"] == {labels(runner="b", reason="exit"): 1}
    await supervisor.remove_runner("b")
    found = await scraped(client)
    assert labels(runner="b") not in found["hero_runner_instances_wanted"]
    assert "hero_runner_restarts_total" not in found
    supervisor._state.close()


async def test_a_scrape_is_a_read(tmp_path: Path) -> None:
    builder = SupervisorBuilder().state_dir(tmp_path).admin_secrets("s")
    supervisor = await builder.process_manager(InMemoryProcessManager()).log_source(InMemoryLogSource()).build()
    transport = httpx.ASGITransport(http_app(supervisor, is_loopback=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/metrics", headers={"Authorization": "Bearer s"})).status_code == 200
