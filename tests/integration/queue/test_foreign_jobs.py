"""Jobs that foreign clients have pushed into a runner's list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hero_supervisor.job import JobStatus
from tests.integration.queue.conftest import a_job, end, pending, take, take_ids

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold


async def push(client: JobClient, raw: Redis, job_id: str, **fields: Any) -> None:
    """Do as the original's clients do."""
    if fields:
        await raw.hset(client.keys.job(job_id), mapping={"payload": "x"} | fields)
    await raw.lpush(client.keys.work_queue("calc"), job_id)


async def test_a_pushed_job_is_taken_into_the_queue_and_answered(client: JobClient, raw: Redis, hold: Hold) -> None:
    await push(client, raw, "f", status="dispatched")
    holder = await hold("h")
    await holder.adopt(client.keys.work_queue("calc"))
    [claim] = await take(holder)
    await end(holder, claim, "finished", "out")
    assert await raw.lrange(client.keys.reply_queue("f"), 0, -1) == ["out"]
    assert [job.id for job in await client.list_jobs()] == ["f"]


async def test_ending_a_pushed_job_twice_replies_once(client: JobClient, raw: Redis, hold: Hold) -> None:
    await push(client, raw, "f", status="dispatched")
    holder = await hold("h")
    await holder.adopt(client.keys.work_queue("calc"))
    [claim] = await take(holder)
    for _ in range(2):
        await end(holder, claim, "error", "boom")
    assert await raw.lrange(client.keys.reply_queue("f"), 0, -1) == ["boom"]


async def test_a_reply_key_of_another_type_does_not_stop_the_end(client: JobClient, raw: Redis, hold: Hold) -> None:
    await push(client, raw, "f", status="dispatched")
    await raw.set(client.keys.reply_queue("f"), "x")
    holder = await hold("h")
    await holder.adopt(client.keys.work_queue("calc"))
    [claim] = await take(holder)
    assert await end(holder, claim, "finished", "out") == "ok"
    assert (await client.get_job_result("f")).result == "out"


async def test_what_is_no_new_job_is_dropped_from_the_list(client: JobClient, raw: Redis, hold: Hold) -> None:
    ours = await client.enqueue(a_job())
    await push(client, raw, "ended", status="finished")
    await raw.set(client.keys.job("text"), "x")
    for job_id in (ours, "text", "gone"):
        await push(client, raw, job_id)
    await push(client, raw, "f", status="")
    assert await client.ledger.adopt("calc", client.keys.work_queue("calc")) == 0
    assert await take_ids(await hold("h"), 10) == [ours, "f"]
    assert await client.get_job_status("ended") is JobStatus.FINISHED


async def test_only_so_many_are_looked_at_in_one_call(client: JobClient, raw: Redis) -> None:
    for number in range(5):
        await push(client, raw, f"f{number}", status="dispatched")
    assert await client.ledger.adopt("calc", client.keys.work_queue("calc"), most=3) == 2
    assert await pending(client) == 3
