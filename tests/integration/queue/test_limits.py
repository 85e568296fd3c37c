"""What a queue allows: pauses, jobs at a time, rates, and how long ended jobs are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hero_supervisor.errors import JobNotFound
from hero_supervisor.job import JobStatus
from hero_supervisor.records import QueueLimits
from tests.integration.queue.conftest import CRASH, a_job, end, pending, take

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold


async def test_nothing_is_taken_from_a_paused_queue(client: JobClient, hold: Hold) -> None:
    await client.enqueue(a_job())
    holder = await hold("h")
    await client.queues.pause("calc", is_paused=True)
    assert await take(holder) == []
    assert (await client.queues.stats("calc")).is_paused
    await holder.wait_for_work(block_s=0.01)
    await client.queues.pause("calc", is_paused=False)
    assert await holder.wait_for_work(block_s=5)
    assert len(await take(holder)) == 1


async def test_no_more_jobs_are_taken_at_a_time_than_allowed(client: JobClient, hold: Hold) -> None:
    await client.enqueue_many([a_job() for _ in range(5)])
    await client.queues.limit("calc", QueueLimits(max_running=2))
    one, two = await hold("one"), await hold("two")
    claims = await take(one, 5)
    assert len(claims) == 2
    assert await take(two, 5) == []
    await end(one, claims[0])
    assert len(await take(two, 5)) == 1


async def test_a_rate_lets_a_burst_go_and_tells_when_the_next_may(client: JobClient, hold: Hold) -> None:
    await client.enqueue_many([a_job() for _ in range(5)])
    await client.queues.limit("calc", QueueLimits(rate=0.5, burst=3))
    holder = await hold("h")
    answer = await holder.exchange([], want=5)
    assert len(answer.claims) == 3
    assert answer.again_at is not None
    at = (await client.queues.stats("calc")).at.timestamp()
    assert at + 1.5 < answer.again_at <= at + 2.1
    assert await take(holder, 5) == []


async def test_a_rate_is_not_used_up_by_looking(client: JobClient, hold: Hold) -> None:
    await client.queues.limit("calc", QueueLimits(rate=0.001, burst=2))
    holder = await hold("h")
    for _ in range(5):
        assert await take(holder, 5) == []
    await client.enqueue_many([a_job() for _ in range(3)])
    assert len(await take(holder, 5)) == 2


async def test_limits_come_back_and_are_taken_away(client: JobClient) -> None:
    limits = QueueLimits(max_running=3, rate=0.5, burst=7, max_length=100, max_ended=10)
    await client.queues.limit("calc", limits)
    assert (await client.queues.stats("calc")).limits == limits
    await client.queues.limit("calc", QueueLimits())
    assert (await client.queues.stats("calc")).limits == QueueLimits()


async def test_ended_jobs_are_forgotten_when_their_time_is_over(client: JobClient, raw: Redis) -> None:
    job_id = await client.enqueue(a_job(result_ttl_s=100))
    await client.set_job_result(job_id, "")
    ended = client.keys.queue("calc", "ended")
    at = (await client.queues.stats("calc")).at.timestamp()
    assert await raw.zscore(ended, job_id) == pytest.approx((at + 100) * 1000, abs=2000)
    await client.ledger.look("calc", grace_s=1)
    assert len(await client.list_jobs()) == 1
    await raw.zadd(ended, {job_id: 1})
    await client.ledger.look("calc", grace_s=1)
    assert await client.list_jobs() == []
    with pytest.raises(JobNotFound):
        await client.get_job(job_id)


async def test_a_queue_keeps_no_more_ended_jobs_than_it_may(client: JobClient) -> None:
    await client.queues.limit("calc", QueueLimits(max_ended=3))
    ids = [await client.enqueue(a_job(result_ttl_s=number + 1)) for number in range(10)]
    for job_id in ids:
        await client.set_job_result(job_id, "")
    assert len(await client.list_jobs()) == 3
    assert await client.get_job_status(ids[-1]) is JobStatus.FINISHED


async def test_dead_letters_are_kept_longer(client: JobClient, raw: Redis, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(on_crash="dead", result_ttl_s=1))
    await take(await hold("h"))
    await client.ledger.recover("calc", "h", CRASH)
    at = (await client.queues.stats("calc")).at.timestamp()
    kept_ms = await raw.zscore(client.keys.queue("calc", "ended"), job_id)
    assert kept_ms == pytest.approx((at + 30 * 86_400) * 1000, abs=2000)


async def test_statistics_tell_how_full_a_queue_is(client: JobClient, raw: Redis, hold: Hold) -> None:
    ids = [await client.enqueue(a_job(priority=priority)) for priority in (5, 9, 5)]
    await client.enqueue(a_job(delay_s=60))
    await client.enqueue(a_job(prerequisites=(ids[0],)))
    await take(await hold("h"))  # the one of priority 9
    now_ms = (await client.queues.stats("calc")).at.timestamp() * 1000
    await raw.hset(client.keys.job(ids[2]), "queued_at", str(round(now_ms - 5000)))
    await raw.hset(client.keys.job(ids[0]), "queued_at", str(round(now_ms - 60_000)))
    stats = await client.queues.stats("calc")
    assert (stats.pending, stats.scheduled, stats.waiting, stats.taken, stats.known) == (2, 1, 1, 1, 5)
    assert stats.oldest_s == pytest.approx(60, abs=2)
    assert stats.counts == {"queued": 5}
    assert await pending(client, "nobody") == 0
