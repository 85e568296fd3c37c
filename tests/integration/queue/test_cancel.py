"""Cancelling and deleting jobs in every state, and reports of those that others execute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hero_supervisor.errors import Conflict, InvalidInput, JobNotFound
from hero_supervisor.job import MAX_RESULT_BYTES, JobStatus
from tests.integration.queue.conftest import a_job, end, pending, take

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold


async def test_a_job_that_nobody_has_is_cancelled_at_once(client: JobClient) -> None:
    first = await client.enqueue(a_job(id="pending"))
    await client.enqueue(a_job(id="delayed", delay_s=60))
    await client.enqueue(a_job(id="blocked", prerequisites=(first,)))
    await client.store_job(a_job(id="created"))
    for job_id in ("blocked", "delayed", "created", "pending"):
        assert await client.cancel_job(job_id)
        assert await client.cancel_job(job_id)
        result = await client.get_job_result(job_id)
        assert (result.status, result.reason) == (JobStatus.CANCELLED, "cancelled")
    stats = await client.queues.stats("calc")
    assert (stats.pending, stats.scheduled, stats.waiting) == (0, 0, 0)
    assert stats.counts["cancelled"] == 4


async def test_the_holder_of_a_job_is_told_to_stop(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(max_retries=5))
    holder = await hold("h")
    [claim] = await take(holder)
    assert not await client.cancel_job(job_id)
    assert await client.get_job_status(job_id) is JobStatus.STOPPING
    assert await holder.wait_for_word(block_s=5) == f"cancel {job_id}"
    assert await end(holder, claim, "error", "stopped") == "ok"
    assert await end(holder, claim, "error", "stopped") in {"ok", "cancelled"}
    assert (await client.get_job_result(job_id)).status is JobStatus.CANCELLED


async def test_a_job_that_finishes_before_it_is_stopped_has_its_result(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    holder = await hold("h")
    [claim] = await take(holder)
    await client.cancel_job(job_id)
    assert await end(holder, claim, "finished", "out") == "ok"
    assert (await client.get_job_result(job_id)).result == "out"


async def test_a_job_that_is_being_stopped_and_given_back_is_cancelled(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    holder = await hold("h")
    [claim] = await take(holder)
    await client.cancel_job(job_id)
    assert await end(holder, claim, "released") == "ok"
    assert await client.get_job_status(job_id) is JobStatus.CANCELLED


@pytest.mark.parametrize("outcome", ["finished", "error"])
async def test_a_job_that_has_ended_is_not_cancelled(client: JobClient, hold: Hold, outcome: str) -> None:
    job_id = await client.enqueue(a_job())
    holder = await hold("h")
    [claim] = await take(holder)
    await end(holder, claim, outcome)
    with pytest.raises(Conflict, match=outcome):
        await client.cancel_job(job_id)


async def test_cancelling_again_stays_cancelling(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(max_retries=1))
    holder = await hold("h")
    [claim] = await take(holder)
    await client.cancel_job(job_id)
    await client.stop_overdue(job_id)
    await end(holder, claim, "error", "stopped")
    assert await client.get_job_status(job_id) is JobStatus.CANCELLED


async def test_an_order_to_stop_is_for_one_attempt_only(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    holder = await hold("h")
    [claim] = await take(holder)
    await client.cancel_job(job_id)
    await end(holder, claim, "error")
    await client.retry_job(job_id)
    [claim] = await take(holder)
    assert await end(holder, claim, "error", "boom") == "ok"
    assert (await client.get_job_result(job_id)).error == "boom"


async def test_a_deleted_job_is_gone_from_index_and_queue(client: JobClient) -> None:
    for options in ({}, {"delay_s": 60}):
        job_id = await client.enqueue(a_job(**options))
        await client.delete_job(job_id)
        assert await client.list_jobs() == []
        with pytest.raises(JobNotFound):
            await client.get_job(job_id)
    stats = await client.queues.stats("calc")
    assert (stats.pending, stats.scheduled, stats.known) == (0, 0, 0)


async def test_a_job_that_runs_is_not_deleted(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    holder = await hold("h")
    [claim] = await take(holder)
    with pytest.raises(Conflict, match="started"):
        await client.delete_job(job_id)
    await end(holder, claim)
    await client.delete_job(job_id)


async def test_what_others_report_is_taken_down(client: JobClient) -> None:
    job_id = await client.enqueue(a_job())
    await client.set_job_status(job_id, JobStatus.STARTED)
    assert (await client.get_job_result(job_id)).status is JobStatus.STARTED
    await client.set_job_result(job_id, "42")
    result = await client.get_job_result(job_id)
    assert (result.status, result.result, result.error) == (JobStatus.FINISHED, "42", None)
    assert (await client.get_job(job_id)).updated_at > (await client.get_job(job_id)).created_at
    assert await pending(client) == 0


async def test_what_was_reported_stays(client: JobClient) -> None:
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
        *(client.set_job_status("gone", JobStatus.STARTED), client.cancel_job("gone"), client.retry_job("gone")),
        *(client.get_job_state("gone"), client.wait_for_result("gone", timeout_s=5)),
    )
    for call in calls:
        with pytest.raises(JobNotFound, match="'gone'"):
            await call
    assert not await raw.exists(client.keys.job("gone"))
