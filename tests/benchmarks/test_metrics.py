"""What a scrape costs with 300 runners whose queues have all that can be told, and what the event loop feels of it."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import pytest
from redis import Redis

from hero_supervisor import Runner, SupervisorBuilder
from hero_supervisor.queue.figures import BOUNDS_MS
from hero_supervisor.testing import InMemoryExitSource, InMemoryLogSource, InMemoryProcessManager
from hero_supervisor.web import http_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine
    from pathlib import Path

    from tests.redis_fixtures import RedisProcess

T = TypeVar("T")

pytestmark = pytest.mark.timeout(300)

RUNNERS = 300
SCRAPES = 20


def fill(redis: RedisProcess) -> None:
    """Write what queues have that have seen jobs of all durations."""
    times = {f"{what}:{bound}": 7 for what in ("wait", "run") for bound in (*BOUNDS_MS, "inf", "ms")}
    counts = {"queued": 100, "finished": 90, "error": 10, **times}
    with Redis.from_url(redis.url) as client, client.pipeline() as pipeline:
        for number in range(RUNNERS):
            pipeline.hset(f"hero:q:{{r{number}}}:counts", mapping=counts)
            pipeline.zadd(f"hero:q:{{r{number}}}:ended", {"a": 1e15})
        pipeline.execute()


async def ticks(gaps: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        gaps.append(time.perf_counter() - began - 0.001)


async def test_a_scrape(redis: RedisProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(redis)
    builder = SupervisorBuilder().state_dir(tmp_path).redis_url(redis.url).process_manager(InMemoryProcessManager())
    builder = builder.log_source(InMemoryLogSource()).exit_source(InMemoryExitSource())
    async with await builder.build() as supervisor:
        for number in range(RUNNERS):
            await supervisor.add_runner(Runner(id=f"r{number}", command=("/bin/true",)))
        transport = httpx.ASGITransport(http_app(supervisor, is_loopback=True))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.get("/metrics")
            idle: list[float] = []
            busy: list[float] = []
            await _timed(ticks(idle), asyncio.sleep(1))
            times, lines = [], 0
            for _ in range(SCRAPES):
                began = time.perf_counter()
                response = await _timed(ticks(busy), client.get("/metrics"))
                times.append(time.perf_counter() - began)
                lines = response.text.count("\n")
            on_loop = []
            for _ in range(SCRAPES):
                began = time.process_time()
                await supervisor.measure()
                on_loop.append(time.process_time() - began)
    with capsys.disabled():
        print(f"\na scrape of {RUNNERS} runners, {lines} lines: {median(times) * 1000:.0f} ms")
        print(f"of that on the event loop: {median(on_loop) * 1000:.0f} ms of processor time")
        print(f"longest the loop was late: {max(busy) * 1000:.1f} ms; without scrapes {max(idle) * 1000:.1f} ms")


async def _timed(beside: Coroutine[Any, Any, None], work: Awaitable[T]) -> T:
    task = asyncio.create_task(beside)
    try:
        return await work
    finally:
        task.cancel()
        await asyncio.wait([task])
