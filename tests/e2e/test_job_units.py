"""Jobs that are units of their own, with the installed program: they do not notice that it is killed."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.client import JobClient
from hero_supervisor.job import Job, JobStatus
from tests.e2e.conftest import SCOPE, eventually, systemctl

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Service
    from tests.redis_fixtures import RedisProcess

pytestmark = pytest.mark.timeout(120)

JOBS = 100


def journal() -> str:
    """Return what was logged lately."""
    command = ["journalctl", *SCOPE, "--no-pager", "--since=-2min"]
    return subprocess.run(command, capture_output=True, text=True, check=True, errors="replace").stdout


async def test_a_hundred_jobs_run_once_each_though_the_supervisor_is_killed(
    stopped_service: Service, own_redis: RedisProcess, tmp_path: Path
) -> None:
    """Some end while there is no supervisor, some before and some after, well and badly."""
    service, ran = stopped_service, tmp_path / "ran"
    ids = [f"job{number}" for number in range(JOBS)]
    service.start("--redis-url", own_redis.url)
    service.add("sh", command=["/bin/sh", "{payload_file}"], protocol="unit", concurrency=JOBS, sandbox="trusted")
    async with JobClient.connect(own_redis.url, service.namespace) as jobs:
        script = f"echo $HERO_JOB_ID >>{ran}; sleep $DELAY; echo $HERO_JOB_ID $HERO_ATTEMPT; exit $STATUS"
        delays = [0.5 + 4 * number / JOBS for number in range(JOBS)]
        await jobs.enqueue_many(
            [
                Job(id=id, runner="sh", payload=script, env_vars={"DELAY": str(delay), "STATUS": str(number % 2)})
                for number, (id, delay) in enumerate(zip(ids, delays, strict=True))
            ]
        )
        eventually(lambda: ran.exists() and len(ran.read_text().split()) == JOBS, timeout_s=20)
        service.kill()
        eventually(lambda: "failed" in systemctl("list-units", "--all", "--plain", f"{service.namespace}-job-*"))
        await asyncio.to_thread(service.start, "--redis-url", own_redis.url)
        outcomes = [await jobs.wait_for_result(id, timeout_s=30) for id in ids]
    assert sorted(ran.read_text().split()) == sorted(ids)
    assert [each.result for each in outcomes[::2]] == [f"{id} 1\n" for id in ids[::2]]
    assert {each.status for each in outcomes[1::2]} == {JobStatus.ERROR}
    assert {each.error for each in outcomes[1::2]} == {"exit code 1"}
    eventually(lambda: not systemctl("list-units", "--all", "--plain", "--no-legend", f"{service.namespace}-job-*"))
    assert not list((service.state_dir / "jobs").iterdir())


async def test_no_job_is_lost_when_the_supervisor_is_killed_again_and_again(
    stopped_service: Service, own_redis: RedisProcess
) -> None:
    service = stopped_service
    service.start("--redis-url", own_redis.url)
    service.add("sh", command=["/bin/sh", "{payload_file}"], protocol="unit", concurrency=8, sandbox="trusted")
    async with JobClient.connect(own_redis.url, service.namespace) as jobs:
        ids = [await jobs.enqueue(Job(runner="sh", payload=f"sleep 0.{n % 4}; echo {n}")) for n in range(JOBS)]
        for _ in range(4):
            service.kill()
            await asyncio.to_thread(service.start, "--redis-url", own_redis.url)
        outcomes = [await jobs.wait_for_result(id, timeout_s=60) for id in ids]
    assert [each.result for each in outcomes] == [f"{n}\n" for n in range(JOBS)]


async def test_a_thousand_jobs_at_once_do_not_throw_systemd_off_the_bus(
    stopped_service: Service, own_redis: RedisProcess
) -> None:
    """PID 1 has a match rule for each unit job, and 512 of them on a bus."""
    service = stopped_service
    service.start("--redis-url", own_redis.url)
    service.add("sh", command=["/bin/sh", "{payload_file}"], protocol="unit", concurrency=1000, sandbox="trusted")
    async with JobClient.connect(own_redis.url, service.namespace) as jobs:
        await jobs.enqueue_many(
            [Job(id=str(n), runner="sh", payload="sleep 6; echo $HERO_ATTEMPT") for n in range(1000)]
        )
        outcomes = [await jobs.wait_for_result(str(n), timeout_s=100) for n in range(1000)]
    assert {each.result for each in outcomes} == {"1\n"}
    eventually(
        lambda: not systemctl("list-units", "--plain", "--no-legend", f"{service.namespace}-job-*"), timeout_s=20
    )
    assert "not allowed to add more match rules" not in journal()
