"""What is measured of queues: many at once, times of ended attempts, and nothing that was not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.integration.queue.conftest import CRASH, a_job, end, take

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold


async def test_times_are_those_of_the_last_attempt(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(max_retries=1, retry_delay_s=0))
    holder = await hold("h")
    for status in ("error", "finished"):
        await asyncio.sleep(0.06)
        [claim] = await take(holder)
        await asyncio.sleep(0.02)
        assert await end(holder, claim, status, "text") == "ok"
    found = (await client.queues.figures(["calc"]))["calc"]
    assert (found.counts["retried"], found.counts["finished"]) == (1, 1)
    assert (found.wait.total, found.run.total) == (1, 1)
    assert 0.05 < found.wait.sum_s < 1
    assert 0.015 < found.run.sum_s < 0.5
    assert (await client.get_job_result(job_id)).result == "text"


async def test_a_job_that_ends_while_nobody_has_it_has_no_times(client: JobClient, hold: Hold) -> None:
    pending = await client.enqueue(a_job())
    await client.cancel_job(pending)
    delayed = await client.enqueue(a_job(max_retries=1, retry_delay_s=60))
    holder = await hold("h")
    [claim] = await take(holder)
    assert await end(holder, claim, "error", "text") == "ok"
    await client.cancel_job(delayed)  # it has a start, that of an attempt which is over
    found = (await client.queues.figures(["calc"]))["calc"]
    assert found.counts["cancelled"] == 2
    assert (found.wait.total, found.run.total) == (0, 0)


async def test_many_queues_are_read_in_order_and_one_that_cannot_be_is_left_out(
    client: JobClient, raw: Redis, namespace: str
) -> None:
    runners = [f"r{number}" for number in range(250)]
    await client.enqueue(a_job(runner="r101"))
    await client.enqueue(a_job(runner="r249", delay_s=60))
    await raw.set(f"{namespace}:q:{{r102}}:counts", "a text")
    await asyncio.sleep(0.01)
    found = await client.queues.figures(runners)
    assert list(found) == [runner for runner in runners if runner != "r102"]
    assert found["r101"].jobs == {"pending": 1, "scheduled": 0, "waiting": 0, "taken": 0, "dead": 0}
    assert 0 < found["r101"].oldest_s < 5
    assert found["r249"].jobs["scheduled"] == 1
    assert (found["r0"].counts, found["r0"].oldest_s, found["r0"].run.total) == ({}, 0, 0)


async def test_recoveries_are_counted_and_statistics_have_no_times(client: JobClient, hold: Hold) -> None:
    await client.enqueue(a_job())
    await take(await hold("h"))
    await client.ledger.recover("calc", "h", CRASH)
    assert (await client.queues.figures(["calc"]))["calc"].counts["recovered"] == 1
    again = await hold("again")
    [claim] = await take(again)
    await end(again, claim, "finished", "")
    assert (await client.queues.stats("calc")).counts == {"queued": 1, "recovered": 1, "finished": 1}
