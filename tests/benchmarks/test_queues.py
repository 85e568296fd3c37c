"""Ours beside RQ, arq, dramatiq and a plain loop over BLPOP, on one Redis that keeps an append-only file.

The programs are in ``queue_peers``. Figures of all are from one run; a peer that is not installed, or fails, is said
and left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Final

import pytest
from redis import Redis

from tests.benchmarks.keep_alive import Http

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.redis_fixtures import RedisProcess

pytestmark = pytest.mark.timeout(600)

PROGRAMS: Final = Path(__file__).parent / "queue_peers"
PEERS: Final = Path(__file__).parents[2] / ".cache/queue-peers/bin/python"
#: Program, interpreter, number of jobs to drain, number of questions; slow ones get fewer.
QUEUES: Final = {
    "ours": ("ours.py", sys.executable, 5000, 300),
    "plain loop": ("raw.py", str(PEERS), 5000, 300),
    "dramatiq": ("with_dramatiq.py", str(PEERS), 5000, 300),
    "RQ": ("with_rq.py", str(PEERS), 1000, 300),
    "arq": ("with_arq.py", str(PEERS), 1000, 20),
}
#: Seconds over which an idle worker is watched, and seconds that a worker has to begin.
IDLE_S: Final = 10
START_S: Final = 2


def run(queue: str, redis: RedisProcess, *words: str) -> dict[str, Any]:
    """Run a program to its end, and return what it tells."""
    program, python, _, _ = QUEUES[queue]
    command = [python, str(PROGRAMS / program), redis.url, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=PROGRAMS)
    if done.returncode:
        return {"fault": (done.stderr.strip().splitlines() or ["it ended with an error"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def serving(queue: str, redis: RedisProcess) -> subprocess.Popen[bytes]:
    program, python, _, _ = QUEUES[queue]
    command = [python, str(PROGRAMS / program), redis.url, "serve"]
    worker = subprocess.Popen(command, cwd=PROGRAMS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(START_S)  # no queue's worker tells when it has begun
    return worker


def calls_of(redis: RedisProcess) -> int:
    with Redis.from_url(redis.url) as client:
        return int(client.info("stats")["total_commands_processed"])


def test_queues_side_by_side(redis: RedisProcess, capsys: pytest.CaptureFixture[str]) -> None:
    rows: dict[str, dict[str, Any]] = {}
    for queue, (_, _, jobs, questions) in QUEUES.items():
        with Redis.from_url(redis.url) as client:
            client.flushall()
            before = client.info("memory")["used_memory"]
            rows[queue] = run(queue, redis, "drain", str(jobs))
            kept = client.info("memory")["used_memory"] - before
            rows[queue]["bytes_per_job"] = kept / (jobs * (2 if queue == "ours" else 1))
            client.flushall()
        worker = serving(queue, redis)
        try:
            rows[queue] |= run(queue, redis, "ask", str(questions))
            commands = calls_of(redis)
            time.sleep(IDLE_S)  # what is measured is what an idle worker does meanwhile
            rows[queue]["idle_per_s"] = (calls_of(redis) - commands - 1) / IDLE_S
        finally:
            worker.kill()
            worker.wait()
    with capsys.disabled():
        _show(rows)
    assert "fault" not in rows["ours"], rows["ours"]


def _show(rows: dict[str, dict[str, Any]]) -> None:
    heads = ("enqueue/s", "bulk/s", "drain/s", "p50 ms", "p99 ms", "idle ops/s", "bytes/job")
    print("\nqueues side by side, one worker process each:")
    print(f"  {'':12}", *(f"{head:>11}" for head in heads))
    for queue, row in rows.items():
        if "fault" in row:
            print(f"  {queue:12} left out: {row['fault']}")
            continue
        times = row["times"]
        p99 = quantiles(times, n=100, method="inclusive")[-1]
        values = (row["enqueue"], row.get("bulk", 0), row["drain"], 1000 * median(times), 1000 * p99)
        shown = [f"{value:11.1f}" for value in (*values, row["idle_per_s"], row["bytes_per_job"])]
        print(f"  {queue:12}", *shown)
    peers = [row["drain"] for queue, row in rows.items() if queue not in {"ours", "plain loop"} and "drain" in row]
    if peers and "drain" in rows["plain loop"]:
        ours = rows["ours"]["drain"]
        print(f"  drain: {ours / max(peers):.2f} times the best peer (to reach: 2)", end="")
        print(f", {ours / rows['plain loop']['drain']:.2f} of the plain loop (to reach: 0.5)")


async def test_request_to_result_over_http(service: Any, figure: Callable[..., None]) -> None:
    service.add("bench", executor="shell", sandbox="trusted")
    times = []
    async with Http(service.port) as http:
        for _ in range(310):
            began = time.perf_counter()
            await http.call("queue_and_wait", {"runner": "bench", "job": {"payload": "ping"}})
            times.append(time.perf_counter() - began)
    figure("request to result over HTTP, p50", 1000 * median(times[10:]), "ms", 2)
    figure("request to result over HTTP, p99", 1000 * quantiles(times[10:], n=100)[-1], "ms")
