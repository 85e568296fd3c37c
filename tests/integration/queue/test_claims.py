"""Taking jobs and ending them: one holder each, one result each, whoever repeats or is late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.errors import HolderFenced
from hero_supervisor.job import MAX_RESULT_BYTES, JobStatus
from hero_supervisor.queue.claims import Claims, Ended, HolderRecord, readable
from hero_supervisor.queue.connection import RedisServer
from tests.integration.queue.conftest import CRASH, a_job, end, pending, take, take_ids
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold


async def test_a_job_is_given_to_one_holder_with_what_it_needs(client: JobClient, hold: Hold) -> None:
    one, two = await hold("one"), await hold("two")
    job = a_job(env_vars={"A": "1"}, labels={"a": "b"}, soft_timeout=5, executor="shell")
    await client.enqueue(job)
    [claim] = await take(one, 5)
    assert await take(two, 5) == []
    assert claim.job is not None
    assert (claim.job.payload, claim.job.env_vars, claim.job.labels) == (job.payload, job.env_vars, job.labels)
    assert (claim.attempt, claim.job.soft_timeout, claim.job.timeout) == (1, 5, 300)
    state = await client.get_job_state(job.id)
    assert (state.status, state.holder, state.attempt) == (JobStatus.STARTED, "one", 1)
    assert state.started_at is not None


async def test_several_holders_at_once_share_the_jobs(client: JobClient, hold: Hold) -> None:
    ids = await client.enqueue_many([a_job() for _ in range(300)])
    holders = [await hold(f"h{number}") for number in range(5)]
    taken = [found for _ in range(10) for found in await asyncio.gather(*(take_ids(each, 7) for each in holders))]
    assert sorted(job_id for ids in taken for job_id in ids) == sorted(map(str, ids))


async def test_what_has_ended_stays_as_it_ended(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    holder = await hold("h")
    [claim] = await take(holder)
    assert await end(holder, claim, "finished", "first") == "ok"
    assert await end(holder, claim, "finished", "first") == "ok"
    assert await end(holder, claim, "error", "second") == "finished"
    assert (await client.get_job_result(job_id)).result == "first"
    assert (await client.queues.stats("calc")).counts["finished"] == 1


async def test_ending_and_taking_go_in_one_call(client: JobClient, hold: Hold) -> None:
    ids = [await client.enqueue(a_job()) for _ in range(4)]
    holder = await hold("h")
    first = await take(holder, 2)
    answer = await holder.exchange(
        [Ended(ids[0], 1, "finished", "out"), Ended(ids[1], 1, "failed", "boom"), Ended("gone", 1, "finished")], want=2
    )
    assert [claim.job_id for claim in first + list(answer.claims)] == ids
    assert answer.answers == ("ok", "ok", "missing")
    assert (await client.get_job_result(ids[0])).result == "out"
    assert (await client.get_job_result(ids[1])).error == "boom"


async def test_a_job_given_back_is_taken_again_first_and_not_counted(client: JobClient, hold: Hold) -> None:
    ids = [await client.enqueue(a_job(max_crashes=0)) for _ in range(2)]
    one, two = await hold("one"), await hold("two")
    [claim] = await take(one)
    assert await end(one, claim, "released") == "ok"
    assert await take_ids(two, 2) == ids
    state = await client.get_job_state(ids[0])
    assert (state.attempt, state.crashes, state.failures, state.reason) == (2, 0, 0, "released")


async def test_an_attempt_that_is_not_the_holders_any_more_ends_nothing(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    one, two = await hold("one"), await hold("two")
    [claim] = await take(one)
    await end(one, claim, "released")
    assert await end(one, claim, "finished", "late") == "superseded"
    [second] = await take(two)
    assert await end(one, claim, "finished", "late") == "superseded"
    assert await end(two, second, "finished", "right") == "ok"
    assert (await client.get_job_result(job_id)).result == "right"


async def test_a_holder_is_told_again_what_it_has(client: JobClient, hold: Hold) -> None:
    ids = [await client.enqueue(a_job()) for _ in range(3)]
    holder = await hold("h")
    await take(holder, 2)
    answer = await holder.exchange([], want=1, is_again=True)
    assert {claim.job_id for claim in answer.claims[:2]} == set(ids[:2])
    assert answer.claims[2].job_id == ids[2]
    assert [claim.attempt for claim in answer.claims] == [1, 1, 1]


async def test_a_fenced_holder_is_refused_everything(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    holder = await hold("h")
    [claim] = await take(holder)
    await client.ledger.recover("calc", "h", CRASH)
    for call in (
        holder.exchange([], want=1),
        holder.exchange([Ended(job_id, claim.attempt, "finished", "late")], want=0),
        holder.exchange([], want=0, is_again=True),
        holder.beat([(job_id, claim.attempt, b"1")]),
        holder.register(HolderRecord()),
    ):
        with pytest.raises(HolderFenced, match="'calc'"):
            await call
    assert await client.get_job_status(job_id) is JobStatus.DISPATCHED
    assert await pending(client) == 1


async def test_one_who_never_registered_is_refused(client: JobClient, hold: Hold) -> None:
    await client.enqueue(a_job())
    holder = await hold("h")
    holder._holder = "stranger"
    with pytest.raises(HolderFenced):
        await holder.exchange([], want=1)


async def test_progress_is_taken_of_the_attempt_that_is_under_way(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    holder, other = await hold("h"), await hold("other")
    [claim] = await take(holder)
    await holder.beat([(job_id, claim.attempt, b'{"done": 1}')])
    await holder.beat([(job_id, claim.attempt + 1, b'{"done": 2}')])
    await other.beat([(job_id, claim.attempt, b'{"done": 3}')])
    assert (await client.get_job_state(job_id)).progress == {"done": 1}


async def test_a_new_job_wakes_one_who_waits(client: JobClient, hold: Hold) -> None:
    holder = await hold("h")
    await holder.wait_for_work(block_s=0.01)
    waiting = asyncio.create_task(holder.wait_for_work(block_s=10))
    await client.enqueue(a_job())
    assert await asyncio.wait_for(waiting, 5)


async def test_one_who_takes_less_than_there_is_wakes_the_next(client: JobClient, hold: Hold) -> None:
    one, two = await hold("one"), await hold("two")
    await client.enqueue_many([a_job() for _ in range(3)])
    for holder in (one, two):
        assert await holder.wait_for_work(block_s=5)
        assert len(await take(holder)) == 1
    assert await one.wait_for_work(block_s=5)
    await take(one)
    assert not await one.wait_for_work(block_s=0.05)


async def test_a_job_whose_record_cannot_be_read_is_given_with_its_fault(
    client: JobClient, raw: Redis, hold: Hold
) -> None:
    job_id = await client.enqueue(a_job())
    await raw.hset(client.keys.job(job_id), "payload", b"\xff")
    holder = await hold("h")
    [claim] = await take(holder)
    assert claim.job is None
    assert "payload" in claim.fault
    assert await end(holder, claim, "failed", claim.fault) == "ok"
    assert "payload" in ((await client.get_job_result(job_id)).error or "")


async def test_a_result_that_cannot_be_kept_is_made_so(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    holder = await hold("h")
    [claim] = await take(holder)
    await end(holder, claim, "finished", "é" * MAX_RESULT_BYTES)
    result = (await client.get_job_result(job_id)).result or ""
    assert len(result.encode()) <= MAX_RESULT_BYTES
    assert result.endswith("more than is kept")
    assert readable("a\ud800") == "a\\ud800"


async def test_a_job_deleted_in_redis_is_left_out(client: JobClient, raw: Redis, hold: Hold) -> None:
    ids = [await client.enqueue(a_job()) for _ in range(2)]
    await raw.delete(client.keys.job(ids[0]))
    assert await take_ids(await hold("h"), 5) == ids[1:]


async def test_all_connections_are_closed_also_when_that_is_cancelled(
    client: JobClient, raw: Redis, redis_url: str
) -> None:
    async def connections() -> set[str]:
        return {each["id"] for each in await raw.client_list()}

    claims = Claims(RedisServer.at(redis_url), client.keys, "calc", "h")
    before = await connections()
    await claims.register(HolderRecord())
    await claims.wait_for_word(block_s=0.01)
    await claims.wait_for_work(block_s=0.01)
    own = await connections() - before
    assert len(own) == 3
    closing = asyncio.create_task(claims.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    async def are_closed() -> bool:
        return own.isdisjoint(await connections())

    await eventually(are_closed)
