"""Workers as real processes while their Redis goes away, stalls, and forgets."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from hero_supervisor.client import JobClient
from hero_supervisor.errors import RedisUnavailable
from hero_supervisor.job import Job, JobStatus
from tests.redis_fixtures import RedisProcess, eventually
from tests.worker_fixtures import ends, run, status_is

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worker_fixtures import StartRunner

#: A worker that writes down which jobs it executes.
NOTES = """
import asyncio, os
from hero_supervisor.worker import Worker

worker = Worker()

@worker.executor("note")
async def note(job):
    with open(os.environ["NOTES"] + "/notes", "a") as notes:
        notes.write(job.job_id + "\\n")
    await asyncio.sleep(0.002)

worker.run()
"""


def notes_in(path: Path) -> list[str]:
    notes = path / "notes"
    return notes.read_text().split() if notes.exists() else []


async def misbehave(redis: RedisProcess, how: str) -> None:
    if how == "killed":
        redis.stop()
        redis.start()
        return
    if how == "stalled":
        # Longer than a call waits: what was sent meanwhile arrives after it was given up.
        os.kill(redis.pid, signal.SIGSTOP)
        await asyncio.sleep(5.2)
        os.kill(redis.pid, signal.SIGCONT)
        return
    async with Redis(unix_socket_path=str(redis.socket)) as admin:
        if how == "scripts flushed":
            await admin.script_flush()
        else:
            await admin.client_kill_filter(_type="normal", skipme=True)


async def test_a_result_in_hand_is_written_when_redis_is_back(
    own_redis: RedisProcess, start_runner: StartRunner, tmp_path: Path
) -> None:
    start_runner("--executor", "shell", url=own_redis.url, namespace="hero")
    async with JobClient.connect(own_redis.url) as client:
        wait = f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"
        await client.enqueue(Job(id="a", runner="r", payload=f"{wait}; echo kept; touch {tmp_path}/done"))
        await status_is(client, "a", JobStatus.STARTED)
        # Redis may say so before the runner has its answer, which would be lost with it.
        await eventually((tmp_path / "begun").exists)
        own_redis.stop()
        (tmp_path / "go").touch()
        await eventually((tmp_path / "done").exists)
        await eventually(lambda: "trying again" in (tmp_path / "out").read_text())
        own_redis.start()
        assert (await client.wait_for_result("a", timeout_s=10)).result == "kept\n"
        assert (await run(client, "echo next")).result == "next\n"


async def test_a_runner_waits_for_a_redis_that_starts_later(tmp_path: Path, start_runner: StartRunner) -> None:
    redis = RedisProcess(tmp_path)
    start_runner(url=redis.url, namespace="hero")
    await eventually(lambda: "trying again" in (tmp_path / "out").read_text())
    redis.start()
    try:
        async with JobClient.connect(redis.url) as client:
            assert (await run(client, "print(1)")).result == "1\n"
    finally:
        redis.stop()


async def test_a_runner_without_redis_can_be_stopped(tmp_path: Path, start_runner: StartRunner) -> None:
    runner = start_runner(url=f"unix://{tmp_path}/none.sock")
    await eventually(lambda: "trying again" in (tmp_path / "out").read_text())
    runner.send_signal(signal.SIGTERM)
    assert await ends(runner) == 0
    assert (tmp_path / "out").read_text().count("trying again") == 1


@pytest.mark.parametrize("how", ["killed", "connections killed", "stalled", "scripts flushed"])
@pytest.mark.parametrize("concurrency", ["1", "8"])
async def test_no_job_is_lost_or_run_twice_when_redis_misbehaves(
    own_redis: RedisProcess, start_runner: StartRunner, tmp_path: Path, how: str, concurrency: str
) -> None:
    start_runner(program=NOTES, url=own_redis.url, namespace="hero", HERO_CONCURRENCY=concurrency, NOTES=str(tmp_path))
    async with JobClient.connect(own_redis.url) as client:
        jobs = [Job(runner="r", payload="") for _ in range(600)]
        await client.enqueue_many(jobs)
        for seen in (20, 150, 300) if how != "stalled" else (20,):
            await eventually(lambda seen=seen: len(notes_in(tmp_path)) >= seen, timeout_s=20)  # type: ignore[misc]
            await misbehave(own_redis, how)
        results = [await client.wait_for_result(job.id, timeout_s=30) for job in jobs]
    assert {result.status for result in results} == {JobStatus.FINISHED}
    assert sorted(notes_in(tmp_path)) == sorted(job.id for job in jobs)


async def test_a_job_that_runs_through_an_outage_is_not_begun_again(
    own_redis: RedisProcess, start_runner: StartRunner, tmp_path: Path
) -> None:
    start_runner("--executor", "shell", url=own_redis.url, namespace="hero", HERO_CONCURRENCY="2")
    async with JobClient.connect(own_redis.url) as client:
        payload = f"echo x >> {tmp_path}/runs; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo once"
        await client.enqueue(Job(id="a", runner="r", payload=payload))
        await eventually((tmp_path / "runs").exists)
        own_redis.stop()
        await eventually(lambda: "trying again" in (tmp_path / "out").read_text())
        own_redis.start()
        with suppress(RedisUnavailable):
            await client.ping()  # the connection that was lost is noticed by using it
        # Taken after the outage, so the worker has been told all that it has.
        assert (await run(client, "echo next")).result == "next\n"
        (tmp_path / "go").touch()
        assert (await client.wait_for_result("a", timeout_s=10)).result == "once\n"
    assert (tmp_path / "runs").read_text() == "x\n"
