"""Programs on the SDK as real processes: their signals, exit codes, words to systemd, and log."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.drain import DRAINED_STATUS
from hero_supervisor.job import Job, JobStatus
from hero_supervisor.queue.ledger import Death
from tests.redis_fixtures import eventually
from tests.worker_fixtures import ends, run, status_is

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hero_supervisor.client import JobClient
    from tests.worker_fixtures import StartRunner

PROGRAM = """
import asyncio, logging, sys, threading, time
from hero_supervisor.worker import Worker

worker = Worker(stop_grace_s=0.2)

@worker.executor("wait")
async def wait(job):
    await asyncio.Event().wait()

@worker.executor("deaf")
async def deaf(job):
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

@worker.executor("stuck")
def stuck(job):
    threading.Event().wait()

@worker.executor("block")
async def block(job):
    time.sleep(1000)

@worker.executor("log")
def log(job):
    job.log.info("by the job's logger")
    logging.getLogger("somebody").warning("by another\\nin two lines")
    thread = threading.Thread(target=job.log.error, args=("by a thread",))
    thread.start()
    thread.join()

worker.run()
"""
#: What makes a worker one that somebody watches.
SUPERVISED = {"INVOCATION_ID": "0123456789abcdef", "HERO_UNIT": "hero-runner-r.service", "HERO_NODE_ID": "node"}


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """Give a socket that stands for systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


async def begun(client: JobClient, executor: str) -> str:
    job_id = await client.enqueue(Job(runner="r", payload="", executor=executor))
    await status_is(client, job_id, JobStatus.STARTED)
    return job_id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("executor", ["wait", "deaf", "stuck"])
async def test_what_outlasts_the_grace_goes_back_and_the_process_ends(
    client: JobClient, start_runner: StartRunner, executor: str, number: signal.Signals
) -> None:
    worker = start_runner(program=PROGRAM)
    job_id = await begun(client, executor)
    worker.send_signal(number)
    async with asyncio.timeout(5):
        assert await ends(worker) == 0
    assert await client.get_job_status(job_id) is JobStatus.DISPATCHED


async def test_what_cannot_be_broken_off_is_left_to_the_supervisor(
    client: JobClient, start_runner: StartRunner
) -> None:
    worker = start_runner(program=PROGRAM, HERO_CONCURRENCY="2", **SUPERVISED)
    stuck, waits = await begun(client, "stuck"), await begun(client, "wait")
    worker.send_signal(signal.SIGTERM)
    assert await ends(worker) == 0
    # Its thread may go on as long as the process does, and nobody knows better than systemd when that has ended.
    assert await client.get_job_status(stuck) is JobStatus.STARTED
    assert await client.get_job_status(waits) is JobStatus.DISPATCHED
    death = Death("operator", "its runner was stopped on request", is_counted=False)
    assert list(await client.ledger.recover("r", SUPERVISED["INVOCATION_ID"], death)) == [stuck]


async def test_a_second_signal_kills(client: JobClient, start_runner: StartRunner) -> None:
    worker = start_runner("--stop-grace", "60", "--executor", "shell")
    job_id = await client.enqueue(Job(runner="r", payload="sleep 600"))
    await status_is(client, job_id, JobStatus.STARTED)
    holders = (await client.ledger.look("r", grace_s=60)).holders
    assert [record.pid for record in holders.values()] == [worker.pid]
    worker.send_signal(signal.SIGTERM)
    status = Path(f"/proc/{worker.pid}/status")
    await eventually(lambda: not catches(status.read_text(), signal.SIGTERM))
    worker.send_signal(signal.SIGTERM)
    assert await ends(worker) == -signal.SIGTERM


def catches(status: str, number: signal.Signals) -> bool:
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


async def test_a_drained_worker_says_so_with_its_status(client: JobClient, start_runner: StartRunner) -> None:
    worker = start_runner(program=PROGRAM)
    assert (await run(client, executor="log")).status is JobStatus.FINISHED
    worker.send_signal(signal.SIGUSR1)
    assert await ends(worker) == DRAINED_STATUS


async def test_a_worker_that_was_taken_for_dead_ends_with_a_message(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    worker = start_runner(program=PROGRAM, HERO_CONCURRENCY="2", **SUPERVISED)
    for executor in ("wait", "stuck"):
        await begun(client, executor)
    death = Death("exit", "its runner ended", is_counted=True)
    await client.ledger.recover("r", SUPERVISED["INVOCATION_ID"], death)
    assert await ends(worker) == 1
    assert "cannot take jobs of 'r' any more: this process was taken for dead" in (tmp_path / "out").read_text()


async def test_systemd_is_told_how_it_goes(
    client: JobClient, start_runner: StartRunner, systemd: socket.socket, tmp_path: Path
) -> None:
    worker = start_runner(program=PROGRAM, NOTIFY_SOCKET=str(tmp_path / "notify"))
    assert await asyncio.to_thread(systemd.recv, 100) == b"READY=1"
    assert worker.poll() is None
    assert (await client.ledger.look("r", grace_s=60)).holders
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(systemd.recv, 100) == b"STOPPING=1"
    assert await ends(worker) == 0


async def test_the_watchdog_is_fed_from_the_event_loop(
    client: JobClient, start_runner: StartRunner, systemd: socket.socket, tmp_path: Path
) -> None:
    start_runner(program=PROGRAM, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
    words = [await asyncio.to_thread(systemd.recv, 100) for _ in range(5)]
    assert words.count(b"WATCHDOG=1") >= 4
    await begun(client, "block")
    systemd.settimeout(0.5)
    assert await asyncio.to_thread(is_silent, systemd)


def is_silent(sock: socket.socket) -> bool:
    """Return whether nothing comes for a while, after what is on its way."""
    for _ in range(5):
        try:
            sock.recv(100)
        except TimeoutError:
            return True
    return False


async def test_without_a_journal_lines_of_jobs_are_on_stderr(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    start_runner(program=PROGRAM)
    await run(client, executor="log")
    printed = (tmp_path / "out").read_text()
    assert "by the job's logger\nby another\nin two lines\nby a thread\n" in printed


def test_faults_of_the_environment_are_all_told() -> None:
    variables = {"HERO_CONCURRENCY": "many", "HERO_REDIS_URL": "http://h", "PATH": os.environ["PATH"]}
    program = "from hero_supervisor.worker import Worker; Worker()"
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=30)
    last = done.stderr.splitlines()[-1]
    for fault in (
        "cannot accept these settings",
        "HERO_CONCURRENCY: must be",
        "runner: is required",
        "redis_url: must",
    ):
        assert fault in last
