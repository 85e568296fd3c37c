"""Jobs that wait for others, and jobs that are awaited as a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hero_supervisor.errors import JobNotFound
from hero_supervisor.job import JobStatus, PrerequisitePolicy
from tests.integration.queue.conftest import a_job, end, make_due, take, take_ids

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold

RUN = PrerequisitePolicy.RUN


async def test_a_job_waits_for_all_of_its_prerequisites(client: JobClient, hold: Hold) -> None:
    first, second = await client.enqueue(a_job()), await client.enqueue(a_job(runner="other"))
    job_id = await client.enqueue(a_job(prerequisites=(first, second, first)))
    holder = await hold("h")
    assert await client.get_job_status(job_id) is JobStatus.WAITING_FOR_PREREQUISITES
    [claim] = await take(holder, 5)
    await end(holder, claim)
    assert await take(holder) == []
    await client.set_job_result(second, "")
    assert await take_ids(holder) == [job_id]


async def test_a_job_whose_prerequisites_have_ended_well_does_not_wait(client: JobClient, hold: Hold) -> None:
    first = await client.enqueue(a_job())
    await client.set_job_result(first, "")
    job_id = await client.enqueue(a_job(prerequisites=(first,)))
    assert await take_ids(await hold("h")) == [job_id]


async def test_a_failure_cancels_all_that_wait_also_indirectly(client: JobClient) -> None:
    first = await client.enqueue(a_job(id="first"))
    await client.enqueue(a_job(id="second", prerequisites=(first,)))
    await client.enqueue(a_job(id="third", prerequisites=("second",)))
    await client.enqueue(a_job(id="all-the-same", prerequisites=("third",), on_prerequisite_failure=RUN))
    await client.set_job_error(first, "boom")
    for job_id, cause in (("second", "'first' ended as 'error'"), ("third", "'second' ended as 'cancelled'")):
        result = await client.get_job_result(job_id)
        assert (result.status, result.reason) == (JobStatus.CANCELLED, "prerequisite")
        assert cause in (result.error or "")
    assert await client.get_job_status("all-the-same") is JobStatus.DISPATCHED


async def test_a_job_that_waits_for_several_that_fail_together_is_cancelled_once(client: JobClient) -> None:
    first = await client.enqueue(a_job(group="g"))
    second = await client.enqueue(a_job(prerequisites=(first,), group="g"))
    for _ in range(5):  # whichever of the two is met first
        await client.enqueue(a_job(prerequisites=(first, second), group="g"))
    await client.set_job_error(first, "boom")
    assert (await client.queues.stats("calc")).counts["cancelled"] == 6
    assert await client.wait_for_group("g", timeout_s=0) == {"open": 0, "error": 1, "cancelled": 6}


async def test_a_job_that_comes_after_the_failure_is_cancelled_or_run_as_well(client: JobClient) -> None:
    first = await client.enqueue(a_job())
    await client.set_job_error(first, "boom")
    cancelled = await client.enqueue(a_job(prerequisites=(first,)))
    run = await client.enqueue(a_job(prerequisites=(first,), on_prerequisite_failure=RUN))
    assert await client.get_job_status(cancelled) is JobStatus.CANCELLED
    assert await client.get_job_status(run) is JobStatus.DISPATCHED


async def test_a_retry_does_not_count_as_the_end(client: JobClient, raw: Redis, hold: Hold) -> None:
    first = await client.enqueue(a_job(max_retries=1))
    job_id = await client.enqueue(a_job(prerequisites=(first,)))
    holder = await hold("h")
    [claim] = await take(holder)
    await end(holder, claim, "error", "boom")
    assert await client.get_job_status(job_id) is JobStatus.WAITING_FOR_PREREQUISITES
    await make_due(raw, client, first)
    [claim] = await take(holder)
    await end(holder, claim)
    assert await take_ids(holder) == [job_id]


async def test_a_delay_is_kept_after_the_prerequisites(client: JobClient) -> None:
    first = await client.enqueue(a_job())
    job_id = await client.enqueue(a_job(prerequisites=(first,), delay_s=60))
    await client.set_job_result(first, "")
    assert await client.get_job_status(job_id) is JobStatus.SCHEDULED


async def test_deleting_or_cancelling_a_prerequisite_cancels_those_that_wait(client: JobClient) -> None:
    for change in (client.delete_job, client.cancel_job):
        first = await client.enqueue(a_job())
        job_id = await client.enqueue(a_job(prerequisites=(first,)))
        await change(first)
        assert await client.get_job_status(job_id) is JobStatus.CANCELLED


async def test_a_prerequisite_that_does_not_exist_is_named(client: JobClient) -> None:
    with pytest.raises(JobNotFound, match="its prerequisite 'nowhere' does not exist"):
        await client.enqueue(a_job(id="a", prerequisites=("nowhere",)))
    with pytest.raises(JobNotFound):
        await client.get_job("a")


async def test_a_group_is_awaited_as_one(client: JobClient) -> None:
    ids = await client.enqueue_many([a_job(group="g") for _ in range(3)])
    assert await client.wait_for_group("g", timeout_s=0) == {"open": 3}
    await client.set_job_result(str(ids[0]), "")
    await client.set_job_error(str(ids[1]), "")
    await client.cancel_job(str(ids[2]))
    assert await client.wait_for_group("g", timeout_s=5) == {"open": 0, "finished": 1, "error": 1, "cancelled": 1}
    with pytest.raises(JobNotFound, match="'none'"):
        await client.wait_for_group("none", timeout_s=0)


async def test_a_deleted_job_is_open_in_its_group_no_more(client: JobClient) -> None:
    await client.store_job(a_job(id="stored", group="g"))
    await client.enqueue(a_job(id="queued", group="g"))
    await client.delete_job("stored")
    await client.delete_job("queued")
    assert (await client.wait_for_group("g", timeout_s=0))["open"] == 0
