"""Errors and other attempts: by themselves after a pause, or because somebody says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hero_supervisor.errors import Conflict
from hero_supervisor.job import JobStatus
from tests.integration.queue.conftest import CRASH, a_job, end, make_due, pending, take

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold


async def test_an_error_ends_a_job_that_is_not_to_be_tried_again(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    holder = await hold("h")
    [claim] = await take(holder)
    await end(holder, claim, "error", "boom")
    result = await client.get_job_result(job_id)
    assert (result.status, result.result, result.error) == (JobStatus.ERROR, None, "boom")
    assert await client.queues.dead("calc", limit=1) == []


async def test_a_job_is_tried_again_as_often_as_it_says(client: JobClient, raw: Redis, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(max_retries=2))
    holder = await hold("h")
    for failures in (1, 2):
        [claim] = await take(holder)
        assert claim.attempt == failures
        await end(holder, claim, "error", f"boom {failures}")
        state = await client.get_job_state(job_id)
        assert (state.status, state.failures, state.error) == (JobStatus.SCHEDULED, failures, f"boom {failures}")
        assert await take(holder) == []
        await make_due(raw, client, job_id)
    [claim] = await take(holder)
    await end(holder, claim, "error", "boom 3")
    assert (await client.get_job_result(job_id)).error == "boom 3"
    assert [letter.id for letter in await client.queues.dead("calc", limit=2)] == [job_id]
    assert (await client.queues.stats("calc")).counts["retried"] == 2


async def test_the_pauses_double_up_to_the_longest(client: JobClient, raw: Redis, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(max_retries=20, retry_delay_s=10, retry_max_delay_s=65))
    holder = await hold("h")
    for expected_s in (10, 20, 40, 65, 65):
        [claim] = await take(holder)
        await end(holder, claim, "error")
        state = await client.get_job_state(job_id)
        assert state.due_at is not None
        assert state.started_at is not None
        pause_s = (state.due_at - state.started_at).total_seconds()
        assert 0.75 * expected_s <= pause_s <= min(1.25 * expected_s, 65) + 1
        await make_due(raw, client, job_id)


async def test_a_failure_that_no_retry_mends_ends_the_job(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(max_retries=5))
    holder = await hold("h")
    [claim] = await take(holder)
    await end(holder, claim, "failed", "no such executor")
    assert await client.get_job_status(job_id) is JobStatus.ERROR


async def test_a_result_after_an_error_is_the_jobs_result(client: JobClient, raw: Redis, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(max_retries=1))
    holder = await hold("h")
    [claim] = await take(holder)
    await end(holder, claim, "error", "boom")
    await make_due(raw, client, job_id)
    [claim] = await take(holder)
    await end(holder, claim, "finished", "out")
    result = await client.get_job_result(job_id)
    assert (result.status, result.result, result.error) == (JobStatus.FINISHED, "out", None)


async def test_an_overdue_job_is_tried_again_like_one_that_failed(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(max_retries=1, timeout=3))
    holder = await hold("h")
    [claim] = await take(holder)
    await client.stop_overdue(job_id)
    assert await client.get_job_status(job_id) is JobStatus.STOPPING
    await end(holder, claim, "error", "cancelled by its holder")
    state = await client.get_job_state(job_id)
    assert (state.status, state.reason, state.error) == (JobStatus.SCHEDULED, "timeout", "timed out after 3 s")


@pytest.mark.parametrize("outcome", ["finished", "failed", "cancelled"])
async def test_a_job_that_has_ended_is_queued_once_more(client: JobClient, hold: Hold, outcome: str) -> None:
    job_id = await client.enqueue(a_job(group="g"))
    holder = await hold("h")
    if outcome == "cancelled":
        await client.cancel_job(job_id)
    else:
        [claim] = await take(holder)
        await end(holder, claim, outcome, "text")
    before = await client.get_job_state(job_id)
    await client.retry_job(job_id)
    await client.retry_job(job_id)
    state = await client.get_job_state(job_id)
    assert (state.status, state.error, state.failures, state.ended_at) == (JobStatus.DISPATCHED, None, 0, None)
    assert state.attempt == before.attempt
    assert await pending(client) == 1
    assert (await client.wait_for_group("g", timeout_s=0))["open"] == 1
    [claim] = await take(holder)
    await end(holder, claim, "finished", "again")
    assert (await client.get_job_result(job_id)).result == "again"
    counts = await client.wait_for_group("g", timeout_s=0)
    assert {name: count for name, count in counts.items() if count} == {"finished": 1}


async def test_a_job_that_has_not_ended_is_not_retried(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    await take(await hold("h"))
    with pytest.raises(Conflict, match="started"):
        await client.retry_job(job_id)
    delayed = await client.enqueue(a_job(delay_s=60))
    with pytest.raises(Conflict, match="scheduled"):
        await client.retry_job(delayed)


async def test_dead_letters_are_retried_and_purged(client: JobClient, hold: Hold) -> None:
    ids = await client.enqueue_many([a_job(on_crash="dead") for _ in range(3)])
    await take(await hold("h"), 3)
    await client.ledger.recover("calc", "h", CRASH)
    assert await client.queues.retry_dead("calc", limit=1) == 1
    assert (await client.queues.stats("calc")).dead == 2
    assert await pending(client) == 1
    assert await client.queues.purge_dead("calc", limit=10) == 2
    assert (await client.queues.stats("calc")).dead == 0
    assert len(await client.list_jobs()) == len(ids) - 2
