"""The bundled worker as a real process: stops and drains."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.drain import DRAINED_STATUS
from hero_supervisor.job import Job, JobStatus
from tests.redis_fixtures import eventually
from tests.worker_fixtures import ends, is_alive, run, status_is, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient
    from tests.worker_fixtures import StartRunner


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_runner_stops_in_two_seconds(
    client: JobClient, start_runner: StartRunner, number: signal.Signals
) -> None:
    runner = start_runner()
    await run(client, "ping")
    runner.send_signal(number)
    async with asyncio.timeout(2):
        assert await ends(runner) == 0


async def test_a_job_that_ends_within_the_grace_has_its_result(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    runner = start_runner("--executor", "shell")
    payload = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo whole"
    await client.enqueue(Job(id="a", runner="r", payload=payload))
    await status_is(client, "a", JobStatus.STARTED)
    await client.enqueue(Job(id="b", runner="r", payload="echo not taken"))
    runner.send_signal(signal.SIGTERM)
    (tmp_path / "go").touch()
    assert await ends(runner) == 0
    assert (await client.get_job_result("a")).result == "whole\n"
    assert await client.get_job_status("b") is JobStatus.DISPATCHED


async def test_a_job_that_outlasts_the_grace_goes_back_to_the_head(
    client: JobClient, start_runner: StartRunner, raw: Redis, tmp_path: Path
) -> None:
    runner = start_runner("--executor", "shell", "--stop-grace", "0.2")
    payload = f"trap '' TERM; echo $$ > {tmp_path}/pid; sleep 600; echo woken"
    await client.enqueue(Job(id="a", runner="r", payload=payload))
    await client.enqueue(Job(id="b", runner="r", payload="echo b"))
    await eventually((tmp_path / "pid").exists)
    runner.send_signal(signal.SIGTERM)
    assert await ends(runner) == 0
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert await raw.zrange(client.keys.queue("r", "pending"), 0, -1) == ["a", "b"]
    assert await client.get_job_status("a") is JobStatus.DISPATCHED
    assert not await raw.exists(client.keys.reply_queue("a"))


async def test_a_script_that_systemd_ends_together_with_the_runner_goes_back(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    runner = start_runner("--executor", "shell")
    payload = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 600"
    await client.enqueue(Job(id="a", runner="r", payload=payload))
    await eventually((tmp_path / "pid").exists)
    # KillMode=control-group signals each process; here the script dies first.
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    runner.send_signal(signal.SIGTERM)
    assert await ends(runner) == 0
    assert await client.get_job_status("a") is JobStatus.DISPATCHED
    assert await waiting(client) == 1


async def test_a_job_put_back_is_done_by_the_next_runner(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    first = start_runner("--executor", "shell", "--stop-grace", "0")
    payload = f"echo x >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) = 2 ] || sleep 600; echo done"
    await client.enqueue(Job(id="a", runner="r", payload=payload))
    await eventually((tmp_path / "runs").exists)
    first.send_signal(signal.SIGTERM)
    assert await ends(first) == 0
    start_runner("--executor", "shell")
    assert (await client.wait_for_result("a", timeout_s=10)).result == "done\n"


async def test_a_runner_that_drains_finishes_its_job_and_takes_no_other(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    runner = start_runner("--executor", "shell", "--stop-grace", "0")
    first = await client.enqueue(
        Job(runner="r", payload=f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo done")
    )
    await status_is(client, first, JobStatus.STARTED)
    second = await client.enqueue(Job(runner="r", payload="echo second"))
    runner.send_signal(signal.SIGUSR1)
    await asyncio.sleep(0.3)  # longer than the grace of a stop
    (tmp_path / "go").touch()
    assert (await client.wait_for_result(first, timeout_s=10)).result == "done\n"
    assert await ends(runner) == DRAINED_STATUS
    assert await client.get_job_status(second) is JobStatus.DISPATCHED


async def test_a_runner_that_drains_can_still_be_stopped(client: JobClient, start_runner: StartRunner) -> None:
    runner = start_runner("--executor", "shell", "--stop-grace", "0")
    job = await client.enqueue(Job(runner="r", payload="sleep 600"))
    await status_is(client, job, JobStatus.STARTED)
    runner.send_signal(signal.SIGUSR1)
    runner.send_signal(signal.SIGTERM)
    assert await ends(runner) == 0
    assert await client.get_job_status(job) is JobStatus.DISPATCHED


async def test_an_idle_runner_drains_at_once(client: JobClient, start_runner: StartRunner) -> None:
    runner = start_runner()
    await run(client, "print(1)")
    runner.send_signal(signal.SIGUSR1)
    assert await ends(runner) == DRAINED_STATUS


async def test_stopping_again_and_again_loses_no_job(client: JobClient, start_runner: StartRunner) -> None:
    jobs = [Job(runner="r", payload="echo done", executor="shell") for _ in range(300)]
    await asyncio.gather(*map(client.enqueue, jobs))
    waits = asyncio.gather(*(client.wait_for_result(job.id, timeout_s=50) for job in jobs))
    for _ in range(6):
        runner = start_runner("--stop-grace", "0")
        before = await waiting(client)

        async def has_worked(before: int = before) -> bool:
            return await waiting(client) < max(before - 10, 1)

        await eventually(has_worked)
        runner.send_signal(signal.SIGTERM)
        assert await ends(runner) == 0
    start_runner()
    assert {result.result for result in await waits} == {"done\n"}
