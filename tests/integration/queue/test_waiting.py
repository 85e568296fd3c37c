"""Waiting for the end of jobs: thousands at once, whoever writes the result."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from hero_supervisor.client import JobClient
from hero_supervisor.errors import JobNotFound, OperationTimeout, RedisUnavailable
from hero_supervisor.job import JobStatus
from tests.integration.queue.conftest import a_job
from tests.redis_fixtures import RedisProcess, eventually


@pytest.mark.parametrize("waiters", [50, 1000])
async def test_concurrent_waiters_get_the_result_of_their_own_job(client: JobClient, raw: Redis, waiters: int) -> None:
    jobs = [a_job() for _ in range(waiters)]
    await asyncio.gather(*map(client.enqueue, jobs))
    async with asyncio.TaskGroup() as group:
        waits = {job.id: group.create_task(client.wait_for_result(job.id, timeout_s=30)) for job in jobs}
        for job in reversed(jobs):  # a foreign runner, in another order
            await raw.hset(client.keys.job(job.id), mapping={"status": "finished", "output": f"of {job.id}"})
    assert {job_id: wait.result().result for job_id, wait in waits.items()} == {j.id: f"of {j.id}" for j in jobs}


async def test_several_waiters_of_one_job_all_get_its_result(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(client.wait_for_result(job_id, timeout_s=5)) for _ in range(10)]
        await client.set_job_error(job_id, "boom")
    assert {wait.result().error for wait in waits} == {"boom"}


async def test_a_job_that_has_ended_is_answered_at_once(client: JobClient, raw: Redis, no_sweep: None) -> None:
    ended, other = await client.enqueue(a_job()), await client.enqueue(a_job())
    wait = asyncio.create_task(client.wait_for_result(other, timeout_s=5))
    await eventually(lambda: _has_subscribers(raw))
    await client.set_job_result(ended, "42")
    await client.set_job_result(other, "")
    await wait  # so the announcement of the first has come as well, and nobody waited for it
    async with asyncio.timeout(2):
        assert (await client.wait_for_result(ended, timeout_s=60)).result == "42"


async def test_a_foreign_write_wakes_a_waiter_faster_than_the_sweep(client: JobClient, raw: Redis) -> None:
    loop = asyncio.get_running_loop()
    longest = 0.0
    for _ in range(10):
        job_id = await client.enqueue(a_job())
        wait = asyncio.create_task(client.wait_for_result(job_id, timeout_s=5))
        await eventually(lambda: _has_subscribers(raw))
        began = loop.time()
        await raw.hset(client.keys.job(job_id), mapping={"status": "finished", "output": "x"})
        await wait
        longest = max(longest, loop.time() - began)
    assert longest < 0.5


async def test_a_reply_list_of_a_foreign_client_is_left_alone(client: JobClient, raw: Redis) -> None:
    job_id = await client.enqueue(a_job())
    await raw.lpush(client.keys.reply_queue(job_id), "for somebody else")
    await client.set_job_result(job_id, "x")
    await client.wait_for_result(job_id, timeout_s=5)
    assert await raw.lrange(client.keys.reply_queue(job_id), 0, -1) == ["for somebody else"]


async def test_waiting_too_long_names_the_job_and_its_status(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    await client.set_job_status(job_id, JobStatus.STARTED)
    with pytest.raises(OperationTimeout, match=f"{job_id}.*'started' after 0.05 s") as caught:
        await client.wait_for_result(job_id, timeout_s=0.05)
    assert caught.value.facts["status"] == "started"


async def test_a_job_deleted_meanwhile_ends_the_wait(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    wait = asyncio.create_task(client.wait_for_result(job_id, timeout_s=5))
    await asyncio.sleep(0)
    await client.delete_job(job_id)
    with pytest.raises(JobNotFound, match=job_id):
        await wait


async def test_a_cancelled_waiter_leaves_nothing(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    waits = [asyncio.create_task(client.wait_for_result(job_id, timeout_s=60)) for _ in range(100)]
    await asyncio.sleep(0)
    for wait in waits:
        wait.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*waits, return_exceptions=True))
    assert client._watcher._waiters == {}


async def test_closing_the_client_ends_its_waiters(redis_url: str, namespace: str) -> None:
    async with JobClient.connect(redis_url, namespace) as client:
        job_id = await client.enqueue(a_job())
        waits = [asyncio.create_task(client.wait_for_result(job_id, timeout_s=60)) for _ in range(3)]
        await asyncio.sleep(0)
    ends = await asyncio.gather(*waits, return_exceptions=True)
    assert all(isinstance(end, RedisUnavailable) and "closed" in str(end) for end in ends)
    # Each its own error: tracebacks of a thousand waiters on one error would be a megabyte of text.
    assert len(set(map(id, ends))) == 3


async def test_without_waiters_nothing_is_asked_and_nobody_listens(
    client: JobClient, raw: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hero_supervisor.queue.watch.SWEEP_S", 0.01)
    job_id = await client.enqueue(a_job())
    await client.set_job_result(job_id, "")
    await client.wait_for_result(job_id, timeout_s=5)
    task = client._watcher._task
    assert task is not None
    await asyncio.wait_for(task, 5)
    assert not await _has_subscribers(raw)
    assert (await client.wait_for_result(job_id, timeout_s=5)).result == ""


async def test_waiters_outlive_a_restart_of_redis(own_redis: RedisProcess, no_sweep: None) -> None:
    async with JobClient.connect(own_redis.url) as client:
        jobs = [a_job() for _ in range(200)]
        await asyncio.gather(*map(client.enqueue, jobs))
        waits = [asyncio.create_task(client.wait_for_result(job.id, timeout_s=30)) for job in jobs]
        await asyncio.sleep(0)
        await client.set_job_result(jobs[0].id, "before")
        assert (await waits[0]).result == "before"
        own_redis.stop()
        own_redis.start()
        async with Redis(unix_socket_path=str(own_redis.socket)) as foreign:
            for job in jobs[1:]:
                await foreign.hset(client.keys.job(job.id), mapping={"status": "finished", "output": job.id})
        assert [end.result for end in await asyncio.gather(*waits)] == ["before", *(job.id for job in jobs[1:])]


async def test_waiting_while_redis_stays_away_says_so_when_the_time_is_up(own_redis: RedisProcess) -> None:
    async with JobClient.connect(own_redis.url) as client:
        job_id = await client.enqueue(a_job())
        wait = asyncio.create_task(client.wait_for_result(job_id, timeout_s=1.5))
        await asyncio.sleep(0)
        own_redis.stop()
        with pytest.raises(RedisUnavailable):
            await wait


async def test_the_sweep_finds_what_no_announcement_told(
    client: JobClient, raw: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hero_supervisor.queue.changes.INVALIDATIONS", "a channel on which nothing comes")
    job_id = await client.enqueue(a_job())
    wait = asyncio.create_task(client.wait_for_result(job_id, timeout_s=10))
    await eventually(lambda: _has_subscribers(raw, "a channel on which nothing comes"))
    await raw.hset(client.keys.job(job_id), mapping={"status": "finished", "output": "found"})
    assert (await wait).result == "found"


async def _has_subscribers(raw: Redis, channel: str = "__redis__:invalidate") -> bool:
    [(_, count)] = await raw.pubsub_numsub(channel)
    return bool(count)
