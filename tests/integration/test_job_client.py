"""JobClient on a real Redis: storing, queueing, waiting, and what goes wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from hero_supervisor.client import JobClient
from hero_supervisor.errors import (
    Conflict,
    CorruptRecord,
    InvalidInput,
    InvalidJob,
    InvalidSettings,
    JobExists,
    JobNotFound,
    OperationTimeout,
    PermissionDenied,
    RedisUnavailable,
)
from hero_supervisor.job import MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES, Job, JobStatus
from tests.redis_fixtures import RedisProcess, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


@pytest.fixture
async def client(redis_url: str, namespace: str) -> AsyncIterator[JobClient]:
    async with JobClient.connect(redis_url, namespace) as client:
        yield client


@pytest.fixture
async def raw(redis_server: RedisProcess) -> AsyncIterator[Redis]:
    """Give what a foreign client or runner has: a plain connection."""
    async with Redis(unix_socket_path=str(redis_server.socket), decode_responses=True, protocol=2) as raw:
        yield raw


@pytest.fixture
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave waiters to what wakes them at once."""
    monkeypatch.setattr("hero_supervisor.queue.watch.SWEEP_S", 60)


def a_job(**fields: Any) -> Job:
    return Job(**{"payload": "print(1)", "runner": "calc", **fields})


# -- storing and queueing ------------------------------------------------------------------------------------------


async def test_a_job_is_stored_in_the_originals_fields(client: JobClient, raw: Redis) -> None:
    job = a_job(id="j1", caller_id="ops", context_id="c", executor="python", timeout=7, env_vars={"A": "1\n2"})
    assert await client.enqueue(job) == "j1"
    fields: Any = await raw.hgetall(client.keys.job("j1"))
    ours = {"digest", "queue"}
    assert fields.keys() - ours == {
        *("id", "caller_id", "context_id", "payload", "runner", "executor", "timeout", "env_vars"),
        *("created_at", "updated_at", "status"),
    }
    assert fields["timeout"] == "7"
    assert json.loads(fields["env_vars"]) == {"A": "1\n2"}
    assert str(fields["created_at"]).endswith("Z")
    assert fields["status"] == "dispatched"
    assert await raw.lrange(client.keys.work_queue("calc"), 0, -1) == ["j1"]


async def test_a_job_comes_back_as_it_was_stored(client: JobClient) -> None:
    job = a_job(payload="π = 3\n", env_vars={"LINES": "a\nb\r\n", "É": "ü"}, signatures=[{"public_key": "k"}])
    await client.store_job(job)
    assert await client.get_job(job.id) == job


async def test_a_payload_of_one_megabyte_comes_back(client: JobClient) -> None:
    job = a_job(payload="é" * (MAX_PAYLOAD_BYTES // 2))
    await client.enqueue(job)
    is_same = await client.get_job(job.id) == job  # a comparison of two megabytes is nothing to print
    assert is_same


async def test_jobs_are_queued_oldest_first(client: JobClient, raw: Redis) -> None:
    ids = [await client.enqueue(a_job()) for _ in range(3)]
    taken = [await raw.blpop([client.keys.work_queue("calc")], 1) for _ in ids]
    assert [pair and pair[1] for pair in taken] == ids


async def test_a_job_goes_to_the_queue_that_is_named(client: JobClient) -> None:
    await client.enqueue(a_job(), queue=f"{client.keys.namespace}:mine")
    assert await client.queue_depth(f"{client.keys.namespace}:mine") == 1
    assert await client.queue_depth(client.keys.work_queue("calc")) == 0


async def test_enqueueing_the_same_job_again_does_not_queue_it_twice(client: JobClient, raw: Redis) -> None:
    job = a_job(id="j1")
    await asyncio.gather(*(client.enqueue(job) for _ in range(20)))
    await client.enqueue(a_job(id="j1"))  # made again, with other times
    assert await client.queue_depth(client.keys.work_queue("calc")) == 1
    await raw.lpop(client.keys.work_queue("calc"))
    await client.set_job_result("j1", "done")
    await client.enqueue(job)
    assert await client.queue_depth(client.keys.work_queue("calc")) == 0
    assert await client.get_job_status("j1") is JobStatus.FINISHED


async def test_a_retry_after_a_lost_reply_does_not_queue_twice(own_redis: RedisProcess, tmp_path: Path) -> None:
    async with _Proxy(own_redis, tmp_path / "proxy.sock") as proxy, JobClient.connect(proxy.url) as client:
        await client.ping()
        await client.enqueue(a_job(id="warm-up"))
        proxy.drop_replies = True
        with pytest.raises(RedisUnavailable):
            await client.enqueue(a_job(id="j1"))
        proxy.drop_replies = False
        await client.enqueue(a_job(id="j1"))
        assert await client.queue_depth(client.keys.work_queue("calc")) == 2


@pytest.mark.parametrize("other", [{"payload": "other"}, {"timeout": 1}, {"env_vars": {"A": "2"}}, {"runner": "b"}])
async def test_another_job_of_the_same_id_is_refused(client: JobClient, other: Mapping[str, Any]) -> None:
    await client.enqueue(a_job(id="j1", env_vars={"A": "1"}))
    with pytest.raises(JobExists, match="'j1'"):
        await client.enqueue(a_job(**{"id": "j1", "env_vars": {"A": "1"}, **other}))
    assert (await client.get_job("j1")).payload == "print(1)"


async def test_the_same_job_in_another_queue_is_refused(client: JobClient) -> None:
    await client.enqueue(a_job(id="j1"))
    with pytest.raises(JobExists):
        await client.enqueue(a_job(id="j1"), queue=f"{client.keys.namespace}:other")


async def test_an_id_that_a_foreign_client_has_used_is_refused(client: JobClient, raw: Redis) -> None:
    await raw.hset(client.keys.job("j1"), "payload", "print(1)")
    with pytest.raises(JobExists):
        await client.enqueue(a_job(id="j1"))
    assert await client.queue_depth(client.keys.work_queue("calc")) == 0


async def test_a_stored_job_is_queued_by_dispatch_once(client: JobClient) -> None:
    await client.store_job(a_job(id="j1"))
    assert await client.get_job_status("j1") is JobStatus.CREATED
    await client.dispatch_job("j1")
    await client.dispatch_job("j1")
    assert await client.queue_depth(client.keys.work_queue("calc")) == 1
    assert await client.get_job_status("j1") is JobStatus.DISPATCHED
    with pytest.raises(Conflict):
        await client.dispatch_job("j1", f"{client.keys.namespace}:other")


async def test_a_stored_job_is_queued_by_enqueue(client: JobClient) -> None:
    await client.store_job(a_job(id="j1"))
    await client.enqueue(a_job(id="j1"))
    assert await client.queue_depth(client.keys.work_queue("calc")) == 1


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


async def test_nothing_is_stored_when_the_queue_is_not_a_list(client: JobClient, raw: Redis) -> None:
    await raw.set(client.keys.work_queue("calc"), "text")
    with pytest.raises(CorruptRecord, match="WRONGTYPE"):
        await client.enqueue(a_job(id="j1"))
    assert not await raw.exists(client.keys.job("j1"), client.keys.job_index)


# -- life cycle ----------------------------------------------------------------------------------------------------


async def test_a_job_goes_through_its_life(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    await client.set_job_status(job_id, JobStatus.STARTED)
    assert (await client.get_job_result(job_id)).status is JobStatus.STARTED
    await client.set_job_result(job_id, "42")
    result = await client.get_job_result(job_id)
    assert (result.status, result.result, result.error) == (JobStatus.FINISHED, "42", None)
    assert (await client.get_job(job_id)).updated_at > (await client.get_job(job_id)).created_at


async def test_an_error_is_kept(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    await client.set_job_error(job_id, "boom")
    result = await client.get_job_result(job_id)
    assert (result.status, result.result, result.error) == (JobStatus.ERROR, None, "boom")


async def test_what_has_ended_stays_as_it_ended(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    await client.set_job_result(job_id, "first")
    await client.set_job_result(job_id, "first")  # a repeat
    await client.set_job_status(job_id, JobStatus.FINISHED)
    with pytest.raises(Conflict, match="finished"):
        await client.set_job_result(job_id, "second")
    with pytest.raises(Conflict, match="finished"):
        await client.set_job_error(job_id, "late")
    for status in set(JobStatus) - {JobStatus.FINISHED}:
        with pytest.raises(Conflict, match="finished"):
            await client.set_job_status(job_id, status)
    assert (await client.get_job_result(job_id)).result == "first"


async def test_a_result_that_could_not_be_read_back_is_refused(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    for text in ("é" * (MAX_RESULT_BYTES // 2) + "x", "\ud800"):
        with pytest.raises(InvalidInput):
            await client.set_job_result(job_id, text)
    await client.set_job_result(job_id, "é\0" * (MAX_RESULT_BYTES // 3))
    is_same = (await client.get_job_result(job_id)).result == "é\0" * (MAX_RESULT_BYTES // 3)
    assert is_same


async def test_a_missing_job_is_named_and_not_made(client: JobClient, raw: Redis) -> None:
    calls = (
        *(client.get_job("gone"), client.get_job_status("gone"), client.get_job_result("gone")),
        *(client.set_job_result("gone", ""), client.set_job_error("gone", ""), client.delete_job("gone")),
        *(client.set_job_status("gone", JobStatus.STARTED), client.dispatch_job("gone", "q")),
        client.wait_for_result("gone", timeout_s=5),
    )
    for call in calls:
        with pytest.raises(JobNotFound, match="'gone'"):
            await call
    assert not await raw.exists(client.keys.job("gone"))


async def test_a_deleted_job_is_gone_from_index_and_queue(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    await client.delete_job(job_id)
    assert await client.list_jobs() == []
    assert await client.queue_depth(client.keys.work_queue("calc")) == 0
    with pytest.raises(JobNotFound):
        await client.get_job(job_id)


async def test_a_job_that_runs_is_not_deleted(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    await client.set_job_status(job_id, JobStatus.STARTED)
    with pytest.raises(Conflict, match="started"):
        await client.delete_job(job_id)
    await client.set_job_error(job_id, "stopped")
    await client.delete_job(job_id)


async def test_putting_a_job_back_twice_queues_it_once_at_the_head(client: JobClient, raw: Redis) -> None:
    queue = client.keys.work_queue("calc")
    for job_id in ("a", "b"):
        await client.enqueue(a_job(id=job_id))
    await raw.lpop(queue)
    await client.set_job_status("a", JobStatus.STARTED)
    await client._store.requeue("a", queue)
    await client._store.requeue("a", queue)
    assert await raw.lrange(queue, 0, -1) == ["a", "b"]
    assert await client.get_job_status("a") is JobStatus.DISPATCHED
    await client.set_job_result("b", "x")
    with pytest.raises(Conflict, match="finished"):
        await client._store.requeue("b", queue)


async def test_ending_a_job_twice_replies_once(client: JobClient, raw: Redis) -> None:
    job_id = await client.enqueue(a_job())
    for _ in range(2):
        await client._store.finish(job_id, JobStatus.ERROR, "boom", reply=True)
    assert await raw.lrange(client.keys.reply_queue(job_id), 0, -1) == ["boom"]


async def test_a_reply_key_of_another_type_does_not_stop_the_end(client: JobClient, raw: Redis) -> None:
    job_id = await client.enqueue(a_job())
    await raw.set(client.keys.reply_queue(job_id), "x")
    await client._store.finish(job_id, JobStatus.FINISHED, "out", reply=True)
    assert (await client.get_job_result(job_id)).result == "out"


# -- lists ---------------------------------------------------------------------------------------------------------


async def test_jobs_are_listed_newest_first(client: JobClient) -> None:
    ids = [await client.enqueue(a_job(executor="shell")) for _ in range(5)]
    listed = await client.list_jobs(limit=3)
    assert [summary.id for summary in listed] == ids[:1:-1]
    assert (listed[0].runner, listed[0].executor, listed[0].status) == ("calc", "shell", JobStatus.DISPATCHED)
    assert listed[0].updated_at is not None
    assert listed[0].updated_at >= listed[0].created_at


async def test_lists_are_filtered_beyond_the_first_page(client: JobClient) -> None:
    jobs = [a_job(runner=f"r{number % 2}") for number in range(700)]
    await asyncio.gather(*map(client.enqueue, jobs))
    await client.set_job_result(jobs[0].id, "")
    assert [found.id for found in await client.list_jobs(status=JobStatus.FINISHED)] == [jobs[0].id]
    found = await client.list_jobs(runner="r1", limit=1000)
    assert len({summary.id for summary in found}) == 350
    assert len(await client.list_jobs(limit=1000)) == 700
    assert await client.list_jobs(status=JobStatus.FINISHED, runner="r1") == []


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_limit_out_of_range_is_refused(client: JobClient, limit: int) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        await client.list_jobs(limit=limit)


async def test_a_job_that_cannot_be_read_is_listed_with_its_fault(client: JobClient, raw: Redis) -> None:
    ids = [await client.enqueue(a_job()) for _ in range(4)]
    await raw.hset(client.keys.job(ids[0]), "status", "dreaming")
    await raw.delete(client.keys.job(ids[1]), client.keys.job(ids[2]))
    await raw.rpush(client.keys.job(ids[1]), "not a hash")
    listed = {summary.id: summary for summary in await client.list_jobs()}
    assert listed.keys() == {ids[0], ids[1], ids[3]}
    assert "status" in (listed[ids[0]].fault or "")
    assert "not a hash" in (listed[ids[1]].fault or "")
    assert listed[ids[3]].fault is None


# -- hostile and foreign records -----------------------------------------------------------------------------------


async def test_a_foreign_job_with_little_in_it_is_read(client: JobClient, raw: Redis) -> None:
    await raw.hset(client.keys.job("f"), mapping={"payload": "x", "env_vars": "", "timeout": ""})
    job = await client.get_job("f")
    assert (job.id, job.payload, job.env_vars, job.timeout) == ("f", "x", {}, 300)
    assert await client.get_job_status("f") is JobStatus.DISPATCHED


async def test_a_foreign_job_with_nanoseconds_and_an_offset_is_read(client: JobClient, raw: Redis) -> None:
    times: dict[Any, Any] = {"created_at": "2025-08-27T10:00:00.123456789+02:00", "updated_at": "2025-08-27T08:00:01Z"}
    await raw.hset(client.keys.job("f"), mapping={"payload": "x", "prerequisites": "[]"})
    await raw.hset(client.keys.job("f"), mapping={**times})
    assert (await client.get_job("f")).created_at.isoformat() == "2025-08-27T10:00:00.123457+02:00"


async def test_a_result_is_read_from_either_field(client: JobClient, raw: Redis) -> None:
    await raw.hset(client.keys.job("f"), mapping={"status": "finished", "result": "from result"})
    assert (await client.get_job_result("f")).result == "from result"
    await raw.hset(client.keys.job("f"), "output", "from output")
    assert (await client.get_job_result("f")).result == "from output"


HOSTILE: tuple[tuple[str, str | bytes], ...] = (
    ("payload", b"\xff\xfe"),
    ("payload", "x" * (MAX_PAYLOAD_BYTES + 1)),
    ("payload", "nul \0"),
    ("id", "another"),
    ("caller_id", "x" * 257),
    ("runner", b"\xc3"),
    ("timeout", "soon"),
    ("timeout", "-1"),
    ("timeout", "0"),
    ("timeout", "٣"),
    ("timeout", "9" * 5000),
    ("env_vars", "{"),
    ("env_vars", "[1]"),
    ("env_vars", '{"A": 1}'),
    ("env_vars", '{"A=B": "1"}'),
    ("env_vars", "[" * 100_000),
    ("env_vars", '{"A": "' + "x" * 65_536 + '"}'),
    ("created_at", "yesterday"),
    ("created_at", "2025-08-27T10:00:00"),
    ("updated_at", "2025-13-27T10:00:00Z"),
    ("signatures", "{}"),
    ("signatures", '[{"public_key": {}}]'),
)


@pytest.mark.parametrize(("field", "value"), HOSTILE)
async def test_a_hostile_job_is_refused_by_job_and_field(
    client: JobClient, raw: Redis, field: str, value: str | bytes
) -> None:
    await raw.hset(client.keys.job("evil"), mapping={"payload": "x", field: value})
    with pytest.raises(CorruptRecord, match=f"'evil': its {field}") as caught:
        await client.get_job("evil")
    assert str(caught.value.facts["field"]).startswith(field)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("status", {"status": "dreaming"}),
        ("status", {"status": b"\xff"}),
        ("status", {"status": "started" * 1000}),
        ("output", {"status": "finished", "output": b"\xff"}),
        ("output", {"status": "finished", "output": "x" * (MAX_RESULT_BYTES + 1)}),
        ("error", {"status": "error", "error": b"\xff"}),
    ],
)
async def test_a_hostile_result_is_refused_by_job_and_field(
    client: JobClient, raw: Redis, field: str, fields: dict[Any, Any]
) -> None:
    await raw.hset(client.keys.job("evil"), mapping={**fields})
    with pytest.raises(CorruptRecord, match=f"'evil': its {field}"):
        await client.get_job_result("evil")
    with pytest.raises(CorruptRecord, match=f"'evil': its {field}"):
        await client.wait_for_result("evil", timeout_s=5)


async def test_a_job_without_a_payload_or_hash_is_corrupt(client: JobClient, raw: Redis) -> None:
    await raw.hset(client.keys.job("empty"), "status", "created")
    with pytest.raises(CorruptRecord, match="payload is required"):
        await client.get_job("empty")
    await raw.set(client.keys.job("text"), "x")
    with pytest.raises(CorruptRecord, match="not a hash"):
        await client.get_job("text")
    with pytest.raises(CorruptRecord, match="WRONGTYPE"):
        await client.set_job_status("text", JobStatus.STARTED)
    await client.delete_job("text")


# -- waiting -------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr("hero_supervisor.queue.watch.INVALIDATIONS", "a channel on which nothing comes")
    job_id = await client.enqueue(a_job())
    wait = asyncio.create_task(client.wait_for_result(job_id, timeout_s=10))
    await eventually(lambda: _has_subscribers(raw, "a channel on which nothing comes"))
    await raw.hset(client.keys.job(job_id), mapping={"status": "finished", "output": "found"})
    assert (await wait).result == "found"


async def _has_subscribers(raw: Redis, channel: str = "__redis__:invalidate") -> bool:
    [(_, count)] = await raw.pubsub_numsub(channel)
    return bool(count)


# -- failures of Redis ---------------------------------------------------------------------------------------------


async def test_a_redis_that_is_away_is_named_without_password(tmp_path: Path) -> None:
    async with JobClient.connect(f"unix://:s3cret@{tmp_path}/none.sock") as client:
        with pytest.raises(RedisUnavailable, match=r"none\.sock") as caught:
            await client.ping()
    assert "s3cret" not in f"{caught.value!r} {caught.value.data()}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://:s3cret@localhost",
        "redis://user:s3cret/x@localhost:6379",
        "redis://user:s3cret#x@localhost:6379",
        "redis://user:1?s3cret@localhost:6379",
        "redis://localhost:s3cret",
        "redis://localhost/s3cret",
        "redis://localhost?db=s3cret",
        "redis://localhost?retry_on_timeout=s3cret",
        "redis://localhost?decode_responses=yes",
        "redis://[s3cret",
        "unix://relative/s3cret",
        "unix://",
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidSettings, match="redis_url") as caught:
        JobClient(url)
    assert "s3cret" not in f"{caught.value!r} {caught.value.data()}"


async def test_credentials_are_told_apart_from_absence(tmp_path: Path) -> None:
    server = RedisProcess(tmp_path, "--requirepass", "right", "--maxmemory", "100mb")
    server.start(password="right")
    try:
        for url in (server.url, f"unix://:wrong@{server.socket}"):
            async with JobClient.connect(url) as client:
                with pytest.raises(PermissionDenied):
                    await client.ping()
        async with (
            JobClient.connect(f"unix://:right@{server.socket}") as client,
            Redis(unix_socket_path=str(server.socket), password="right") as admin,
        ):
            await client.ping()
            await admin.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], categories=["+@read"])
            async with JobClient.connect(f"unix://reader:x@{server.socket}") as reader:
                with pytest.raises(PermissionDenied):
                    await reader.ping()
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("setting", "value", "word"),
    [
        ("maxmemory", "1", "maxmemory"),
        ("replicaof", "localhost 1", "replica"),
        ("min-replicas-to-write", "1", "replica"),
    ],
)
async def test_ping_tells_that_writes_are_refused(own_redis: RedisProcess, setting: str, value: str, word: str) -> None:
    async with (
        Redis(unix_socket_path=str(own_redis.socket)) as admin,
        JobClient.connect(own_redis.url) as client,
    ):
        await client.ping()
        assert await admin.dbsize() == 0
        if setting == "replicaof":
            await admin.replicaof(*value.split())
        else:
            await admin.config_set(setting, value)
        with pytest.raises(RedisUnavailable, match=word):
            await client.ping()
        with pytest.raises(RedisUnavailable, match=word):
            await client.enqueue(a_job())


async def test_a_stalled_redis_is_unavailable_in_time_and_gets_the_job_once(own_redis: RedisProcess) -> None:
    async with JobClient.connect(own_redis.url) as client:
        await client.ping()
        client._store._server = dataclasses.replace(client._store._server, timeout_s=0.2)
        os.kill(own_redis.pid, signal.SIGSTOP)
        with pytest.raises(RedisUnavailable, match=r"no answer in 0\.2 s"):
            await client.enqueue(a_job(id="j1"))
        os.kill(own_redis.pid, signal.SIGCONT)
        await client.enqueue(a_job(id="j1"))
        assert await client.queue_depth(client.keys.work_queue("calc")) == 1


@pytest.mark.parametrize("steps", range(40))
async def test_a_cancelled_listener_ends_wherever_it_is(client: JobClient, steps: int) -> None:
    # The library's own timeouts swallow some cancellations on Python 3.11.
    listener = asyncio.create_task(client._watcher._listen())
    for _ in range(steps):
        await asyncio.sleep(0)
    listener.cancel()
    await asyncio.wait([listener], timeout=2)
    assert listener.cancelled()


async def test_many_more_calls_than_connections_are_served(client: JobClient) -> None:
    ids = await asyncio.gather(*(client.enqueue(a_job()) for _ in range(2000)))
    assert await client.queue_depth(client.keys.work_queue("calc")) == len(set(ids)) == 2000


class _Proxy:
    """Stands before Redis and can swallow its replies."""

    def __init__(self, server: RedisProcess, path: Path) -> None:
        self._server, self._path = server, path
        self.url = f"unix://{path}"
        self.drop_replies = False

    async def __aenter__(self) -> _Proxy:
        self._listener = await asyncio.start_unix_server(self._serve, self._path)
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_unix_connection(self._server.socket)
        there = asyncio.create_task(self._pump(reader, back_writer, replies=False))
        back = asyncio.create_task(self._pump(back_reader, writer, replies=True))
        self._tasks |= {there, back}
        await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        back_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool) -> None:
        while data := await reader.read(65536):
            if replies and self.drop_replies:
                return
            writer.write(data)
            await writer.drain()
