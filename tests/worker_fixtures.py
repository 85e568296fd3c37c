"""Workers for tests: the bundled one and programs on the SDK as processes, and workers in the test's process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from hero_supervisor.job import Job, JobResult, JobStatus
from hero_supervisor.worker import StopRequest, Worker
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hero_supervisor.client import JobClient


class StartRunner(Protocol):
    def __call__(
        self, *options: str, url: str = ..., namespace: str = ..., program: str | None = ..., **variables: str
    ) -> subprocess.Popen[bytes]: ...


@pytest.fixture
def start_runner(redis_url: str, namespace: str, tmp_path: Path) -> Iterator[StartRunner]:
    """Start ``hero-runner`` for runner ``r``, or a program; what it prints goes to ``tmp_path/out``."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(
        *options: str, url: str = redis_url, namespace: str = namespace, program: str | None = None, **more: str
    ) -> subprocess.Popen[bytes]:
        own = {name: value for name, value in os.environ.items() if name not in {"INVOCATION_ID", "JOURNAL_STREAM"}}
        variables = {"HERO_REDIS_URL": url, "HERO_NAMESPACE": namespace, "HERO_RUNNER": "r", "SECRET": "runner's own"}
        what = ["-m", "hero_supervisor.worker"] if program is None else ["-c", program]
        with (tmp_path / "out").open("ab") as out:
            words = [sys.executable, "-W", "error", *what, *options]
            process = subprocess.Popen(words, env={**own, **variables, **more}, stdout=out, stderr=out)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[StopRequest]:
    """Have a worker serve within the block; it is stopped after it, if not in it."""
    stop = StopRequest()
    task = asyncio.create_task(worker.serve(stop))
    try:
        yield stop
        stop.make()
        async with asyncio.timeout(15):
            await task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def run(client: JobClient, payload: str = "", **fields: Any) -> JobResult:
    job_id = await client.enqueue(Job(**{"runner": "r", "payload": payload, **fields}))
    return await client.wait_for_result(job_id, timeout_s=20)


async def status_is(client: JobClient, job_id: str, status: JobStatus) -> None:
    async def holds() -> bool:
        return await client.get_job_status(job_id) is status

    await eventually(holds)


async def waiting(client: JobClient) -> int:
    """Return how many jobs of runner ``r`` may be taken."""
    return (await client.ledger.look("r", grace_s=60)).pending


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def peak_kib_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])


async def ends(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, 15)
