"""Storing and queueing jobs: what Redis holds then, and that doing it again changes nothing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import InvalidJob, JobExists, JobNotFound, QueueFull
from hero_supervisor.job import MAX_PAYLOAD_BYTES, JobStatus
from hero_supervisor.records import QueueLimits
from tests.integration.queue.conftest import a_job, end, pending, take, take_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold


async def test_a_job_is_stored_in_the_originals_fields(client: JobClient, raw: Redis) -> None:
    job = a_job(id="j1", caller_id="ops", context_id="c", executor="python", timeout=7, env_vars={"A": "1\n2"})
    assert await client.enqueue(job) == "j1"
    fields: Any = await raw.hgetall(client.keys.job("j1"))
    ours = {"digest", "place", "queued_at"}
    assert fields.keys() - ours == {
        *("id", "caller_id", "context_id", "payload", "runner", "executor", "timeout", "env_vars"),
        *("created_at", "updated_at", "status"),
    }
    assert fields["timeout"] == "7"
    assert json.loads(fields["env_vars"]) == {"A": "1\n2"}
    assert str(fields["created_at"]).endswith("Z")
    assert fields["status"] == "dispatched"
    assert await raw.zrange(client.keys.queue("calc", "pending"), 0, -1) == ["j1"]


async def test_a_job_comes_back_as_it_was_stored(client: JobClient) -> None:
    job = a_job(payload="π = 3\n", env_vars={"LINES": "a\nb\r\n", "É": "ü"}, signatures=[{"public_key": "k"}])
    await client.store_job(job)
    assert await client.get_job(job.id) == job


async def test_a_payload_of_one_megabyte_comes_back(client: JobClient) -> None:
    job = a_job(payload="é" * (MAX_PAYLOAD_BYTES // 2))
    await client.enqueue(job)
    is_same = (await client.get_job(job.id)).payload == job.payload  # two megabytes are nothing to print
    assert is_same


async def test_jobs_are_taken_oldest_first_among_those_of_one_priority(client: JobClient, hold: Hold) -> None:
    jobs = [a_job(id=f"p{priority}-{number}", priority=priority) for number in range(3) for priority in (0, 5, 9)]
    for job in jobs:
        await client.enqueue(job)
    expected = [f"p{priority}-{number}" for priority in (9, 5, 0) for number in range(3)]
    assert await take_ids(await hold("h"), 9) == expected


async def test_jobs_queued_together_keep_their_order(client: JobClient, hold: Hold) -> None:
    ids = await client.enqueue_many([a_job() for _ in range(1000)])
    assert await take_ids(await hold("h"), 1000) == ids


async def test_enqueueing_the_same_job_again_does_not_queue_it_twice(client: JobClient, hold: Hold) -> None:
    job = a_job(id="j1")
    await asyncio.gather(*(client.enqueue(job) for _ in range(20)))
    await client.enqueue(a_job(id="j1"))  # made again, with other times
    assert await pending(client) == 1
    holder = await hold("h")
    [claim] = await take(holder)
    await client.enqueue(job)
    assert await pending(client) == 0
    await end(holder, claim)
    await client.enqueue(job)
    assert await pending(client) == 0
    assert await client.get_job_status("j1") is JobStatus.FINISHED


@pytest.mark.parametrize("other", [{"payload": "other"}, {"timeout": 1}, {"env_vars": {"A": "2"}}, {"priority": 1}])
async def test_another_job_of_the_same_id_is_refused(client: JobClient, other: Mapping[str, Any]) -> None:
    await client.enqueue(a_job(id="j1", env_vars={"A": "1"}))
    with pytest.raises(JobExists, match="'j1'"):
        await client.enqueue(a_job(**{"id": "j1", "env_vars": {"A": "1"}, **other}))
    assert (await client.get_job("j1")).payload == "print(1)"


async def test_the_same_job_for_another_runner_is_refused(client: JobClient) -> None:
    await client.enqueue(a_job(id="j1"))
    with pytest.raises(JobExists):
        await client.enqueue(a_job(id="j1", runner="other"))
    assert await pending(client, "other") == 0


async def test_an_id_that_a_foreign_client_has_used_is_refused(client: JobClient, raw: Redis) -> None:
    await raw.hset(client.keys.job("j1"), "payload", "print(1)")
    with pytest.raises(JobExists):
        await client.enqueue(a_job(id="j1"))
    assert await pending(client) == 0


async def test_a_stored_job_is_queued_by_enqueue_once(client: JobClient) -> None:
    await client.store_job(a_job(id="j1"))
    assert await client.get_job_status("j1") is JobStatus.CREATED
    assert await pending(client) == 0
    for _ in range(2):
        await client.enqueue(a_job(id="j1"))
    assert await pending(client) == 1
    await client.store_job(a_job(id="j1"))
    assert await client.get_job_status("j1") is JobStatus.DISPATCHED


async def test_a_job_without_a_runner_is_not_queued(client: JobClient) -> None:
    with pytest.raises(InvalidJob, match="runner"):
        await client.enqueue(a_job(id="j1", runner=""))
    with pytest.raises(JobNotFound):
        await client.get_job("j1")


async def test_a_job_built_in_code_is_checked(client: JobClient) -> None:
    with pytest.raises(InvalidJob, match=r"id.*timeout|timeout.*id"):
        await client.enqueue(a_job(id="no/slash", timeout=0))
    with pytest.raises(InvalidJob, match="signatures"):
        await client.enqueue(a_job(signatures=[{"signature": "x" * 100_000}]))


async def test_of_many_jobs_each_has_its_own_answer(client: JobClient) -> None:
    await client.enqueue(a_job(id="known"))
    jobs = [
        a_job(id="a"),
        a_job(id="known", payload="other"),
        a_job(id="b", runner="other"),
        a_job(id="c", prerequisites=("nowhere",)),
        a_job(id="d", prerequisites=("a",)),
        a_job(id="a"),
    ]
    answers = await client.enqueue_many(jobs)
    assert [answer for answer in answers if isinstance(answer, str)] == ["a", "b", "d", "a"]
    assert isinstance(answers[1], JobExists)
    assert isinstance(answers[3], JobNotFound)
    assert (await pending(client), await pending(client, "other")) == (2, 1)


async def test_many_jobs_of_large_payloads_are_stored_in_several_calls(client: JobClient) -> None:
    jobs = [a_job(payload="x" * MAX_PAYLOAD_BYTES) for _ in range(12)]
    assert await client.enqueue_many(jobs) == [job.id for job in jobs]


async def test_none_of_many_jobs_is_stored_when_one_is_invalid(client: JobClient) -> None:
    with pytest.raises(InvalidJob):
        await client.enqueue_many([a_job(id="a"), a_job(id="b", timeout=0)])
    with pytest.raises(JobNotFound):
        await client.get_job("a")


async def test_an_idempotency_key_makes_two_jobs_one(client: JobClient) -> None:
    first = await client.enqueue(a_job(idempotency_key="order 7"))
    assert await client.enqueue(a_job(payload="another text", idempotency_key="order 7")) == first
    assert await client.enqueue(a_job(idempotency_key="order 8")) != first
    assert await client.enqueue(a_job(runner="other", idempotency_key="order 7")) != first
    await client.set_job_result(first, "")
    assert await client.enqueue(a_job(idempotency_key="order 7")) == first
    assert await pending(client) == 1
    await client.delete_job(first)
    assert await client.enqueue(a_job(idempotency_key="order 7")) != first


async def test_a_full_queue_takes_no_more_until_there_is_room(client: JobClient, hold: Hold) -> None:
    await client.queues.limit("calc", QueueLimits(max_length=2))
    jobs = [a_job(), a_job(delay_s=60), a_job()]
    answers = await client.enqueue_many(jobs)
    assert answers[:2] == [jobs[0].id, jobs[1].id]
    assert isinstance(answers[2], QueueFull)
    with pytest.raises(JobNotFound):
        await client.get_job(jobs[2].id)
    assert await client.enqueue(jobs[0]) == jobs[0].id  # it is there already
    await take(await hold("h"))
    assert await client.enqueue(jobs[2]) == jobs[2].id


async def test_many_more_calls_than_connections_are_served(client: JobClient) -> None:
    ids = await asyncio.gather(*(client.enqueue(a_job()) for _ in range(2000)))
    assert await pending(client) == len(set(ids)) == 2000


async def test_names_with_odd_characters_stay_apart(client: JobClient) -> None:
    names = ["{}", "a{b}c", "a b", "é:ü", "}{", "'\"\\", "a\nb", "*?[x]"]
    for name in names:
        await client.enqueue(a_job(runner=name, group=name, idempotency_key=name, caller_id=name))
    for name in names:
        assert await pending(client, name) == 1
        assert await client.wait_for_group(name, timeout_s=0) == {"open": 1}
    assert {job.runner for job in await client.list_jobs()} == set(names)
