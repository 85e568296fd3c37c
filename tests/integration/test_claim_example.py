"""docs/examples/claim-worker.pl: the claim protocol as another language speaks it, with no library of ours."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.job import Job, JobStatus
from hero_supervisor.queue import claims
from hero_supervisor.queue.ledger import Death
from tests.conftest import missing
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hero_supervisor.client import JobClient

EXAMPLE = Path(__file__).parents[2] / "docs/examples/claim-worker.pl"
SCRIPTS = Path(claims.__file__).parent / "lua"

Start = "Callable[[], Worker]"


class Worker:
    def __init__(self, redis_url: str, namespace: str) -> None:
        self.holder = uuid.uuid4().hex
        perl = shutil.which("perl") or missing("there is no perl")
        known = {"HERO_RUNNER": "r", "HERO_NAMESPACE": namespace, "HERO_REDIS_URL": redis_url, "HERO_UNIT": "u"}
        environment = {**known, "INVOCATION_ID": self.holder, "PATH": "/usr/bin:/bin"}
        self.process = subprocess.Popen([perl, str(EXAMPLE), str(SCRIPTS)], env=environment)


@pytest.fixture
def start(redis_url: str, namespace: str) -> Iterator[Callable[[], Worker]]:
    workers: list[Worker] = []

    def start() -> Worker:
        workers.append(Worker(redis_url, namespace))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait()


async def run(client: JobClient, payload: str, **fields: object) -> tuple[JobStatus, str | None]:
    job = Job.from_data({"payload": payload, "runner": "r", **fields})
    result = await client.wait_for_result(await client.enqueue(job), timeout_s=20)
    return result.status, result.result if result.status is JobStatus.FINISHED else result.error


async def test_it_executes_jobs_well_and_badly(client: JobClient, start: Callable[[], Worker]) -> None:
    start()
    assert await run(client, "echo hi") == (JobStatus.FINISHED, "hi\n")
    assert await run(client, "exit 3") == (JobStatus.ERROR, "exit code 3")
    assert await run(client, "ping") == (JobStatus.FINISHED, "pong")
    assert await run(client, "sleep 30", timeout=1) == (JobStatus.ERROR, "timed out after 1 s")
    assert await run(client, "exit 1", max_retries=1, retry_delay_s=0.1) == (JobStatus.ERROR, "exit code 1")


async def test_a_job_that_runs_is_cancelled(client: JobClient, start: Callable[[], Worker]) -> None:
    start()
    await client.enqueue(Job(id="j", payload="sleep 30", runner="r"))

    async def has_started() -> bool:
        return await client.get_job_status("j") is JobStatus.STARTED

    await eventually(has_started)
    await client.cancel_job("j")
    result = await client.wait_for_result("j", timeout_s=10)
    assert result.status is JobStatus.CANCELLED


async def test_it_gives_back_what_it_has_when_it_is_stopped(client: JobClient, start: Callable[[], Worker]) -> None:
    worker = start()
    await client.enqueue(Job(id="j", payload="sleep 30", runner="r"))

    async def has_started() -> bool:
        return await client.get_job_status("j") is JobStatus.STARTED

    await eventually(has_started)
    worker.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.process.wait, 10) == 0
    state = await client.get_job_state("j")
    assert (state.status, state.crashes) == (JobStatus.DISPATCHED, 0)


async def test_what_it_had_when_it_was_killed_goes_to_the_next_and_scripts_may_be_forgotten(
    client: JobClient, start: Callable[[], Worker]
) -> None:
    worker = start()
    await client.enqueue(Job(id="j", payload="echo $$; sleep 0.5", runner="r"))

    async def has_started() -> bool:
        return await client.get_job_status("j") is JobStatus.STARTED

    await eventually(has_started)
    worker.process.kill()
    await client.ledger.recover("r", worker.holder, Death("signal", "its runner was killed", is_counted=True))
    await client._store.redis.script_flush()
    start()
    result = await client.wait_for_result("j", timeout_s=10)
    assert (result.status, (await client.get_job_state("j")).crashes) == (JobStatus.FINISHED, 1)
