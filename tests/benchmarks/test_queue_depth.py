"""What a long queue costs: enqueue and claim with a million pending jobs, memory, and proving that all is right.

``BENCH_PENDING`` sets how many jobs are pending.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import aclosing
from statistics import median
from typing import TYPE_CHECKING, Final

import pytest
from redis import Redis

from hero_supervisor.client import JobClient
from hero_supervisor.job import Job
from hero_supervisor.queue.claims import Claims, Ended, HolderRecord
from hero_supervisor.queue.connection import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.redis_fixtures import RedisProcess

pytestmark = pytest.mark.timeout(900)

PENDING: Final = int(os.environ.get("BENCH_PENDING", "1000000"))
#: Jobs in one call, as the library packs them, and rounds that a figure is the median of.
BATCH: Final = 2000
ROUNDS: Final = 1500


def a_job() -> Job:
    return Job(payload="noop", runner="bench")


async def costs(client: JobClient, holder: Claims) -> tuple[float, float]:
    """Return what enqueueing and claiming one job take, in seconds; the queue is as long as before then."""
    enqueue_s, claim_s = [], []
    for _ in range(ROUNDS):
        job = a_job()
        began = time.perf_counter()
        await client.enqueue(job)
        enqueue_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        [claim] = (await holder.exchange([], want=1)).claims
        claim_s.append(time.perf_counter() - began)
        await holder.exchange([Ended(claim.job_id, claim.attempt, "finished")], want=0)
    return median(enqueue_s), median(claim_s)


async def fill(client: JobClient, number: int) -> float:
    """Queue so many jobs, and return how many went in a second."""
    began = time.perf_counter()
    for _ in range(number // BATCH):
        await client.enqueue_many([a_job() for _ in range(BATCH)])
    return number / (time.perf_counter() - began)


async def longest_ping_s(client: JobClient, call: asyncio.Task[object]) -> float:
    """Return how long another client waited at most while a call was under way."""
    longest = 0.0
    while not call.done():
        began = time.perf_counter()
        await client.key_exists("nothing")
        longest = max(longest, time.perf_counter() - began)
        await asyncio.sleep(0.005)
    return longest


def test_a_long_queue_costs_what_an_empty_one_costs(redis: RedisProcess, figure: Callable[..., None]) -> None:
    asyncio.run(_measure(redis, figure))


async def _measure(redis: RedisProcess, figure: Callable[..., None]) -> None:
    async with (
        JobClient.connect(redis.url, "bench") as client,
        JobClient.connect(redis.url, "bench") as other,
        aclosing(Claims(RedisServer.at(redis.url), client.keys, "bench", "h")) as holder,
    ):
        await holder.register(HolderRecord())
        await costs(client, holder)  # connections, scripts, and the interpreter are warm then
        empty = await costs(client, holder)
        figure("bulk enqueue through the library", await fill(client, PENDING), "jobs/s")
        full = await costs(client, holder)
        for name, before_s, after_s in zip(("enqueue", "claim"), empty, full, strict=True):
            figure(f"{name}, empty queue", 1000 * before_s, "ms")
            figure(f"{name}, {PENDING} pending: times an empty queue", after_s / before_s, "", 1.2)
        began = time.perf_counter()
        check = asyncio.create_task(client.check_integrity(repair=False))
        longest_s = await longest_ping_s(other, check)
        figure(f"check_integrity, {PENDING} pending", time.perf_counter() - began, "s")
        figure("longest that another client waited meanwhile", 1000 * longest_s, "ms")
        assert check.result().is_sound
        assert check.result().jobs >= PENDING


def test_memory_of_a_finished_job(redis: RedisProcess, figure: Callable[..., None]) -> None:
    with Redis.from_url(redis.url) as raw:
        before = raw.info("memory")["used_memory"]
        asyncio.run(_finish(redis.url, 20_000))
        figure("memory of a finished job", (raw.info("memory")["used_memory"] - before) / 20_000, "bytes")


async def _finish(url: str, number: int) -> None:
    async with (
        JobClient.connect(url, "bench") as client,
        aclosing(Claims(RedisServer.at(url), client.keys, "bench", "h")) as holder,
    ):
        await holder.register(HolderRecord())
        await fill(client, number)
        ended: list[Ended] = []
        for _ in range(number // 200 + 1):
            claims = (await holder.exchange(ended, want=200)).claims
            ended = [Ended(claim.job_id, claim.attempt, "finished", "done") for claim in claims]
        assert (await client.queues.stats("bench")).counts["finished"] == number
