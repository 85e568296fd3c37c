"""Lists of jobs: pages, filters, and what cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.errors import InvalidInput
from hero_supervisor.job import JobStatus
from hero_supervisor.queue.listing import JobFilter
from tests.integration.queue.conftest import a_job

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient


async def test_jobs_are_listed_newest_first(client: JobClient) -> None:
    ids = [await client.enqueue(a_job(executor="shell")) for _ in range(5)]
    listed = await client.list_jobs(limit=3)
    assert [summary.id for summary in listed] == ids[:1:-1]
    assert (listed[0].runner, listed[0].executor, listed[0].status) == ("calc", "shell", JobStatus.DISPATCHED)
    assert listed[0].updated_at is not None
    assert listed[0].updated_at >= listed[0].created_at


async def test_pages_follow_one_another_over_all_queues(client: JobClient) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    jobs = [a_job(runner=f"r{number % 3}", created_at=moment + timedelta(seconds=number // 7)) for number in range(600)]
    await client.enqueue_many(jobs)
    found: list[str] = []
    cursor = None
    while page := await client.list_jobs(limit=70, after_cursor=cursor):
        found += [job.id for job in page]
        cursor = page[-1].cursor
    by_age = sorted(jobs, key=lambda job: (job.created_at, job.id.encode()), reverse=True)
    assert found == [job.id for job in by_age]


async def test_jobs_that_come_and_go_do_not_change_the_next_page(client: JobClient) -> None:
    ids = [await client.enqueue(a_job()) for _ in range(6)]
    page = await client.list_jobs(limit=3)
    await client.enqueue(a_job())
    await client.delete_job(ids[3])  # the one that the cursor is made of
    assert [job.id for job in await client.list_jobs(after_cursor=page[-1].cursor)] == ids[2::-1]


async def test_lists_are_filtered_beyond_the_first_page(client: JobClient) -> None:
    jobs = [a_job(runner=f"r{number % 2}") for number in range(700)]
    await client.enqueue_many(jobs)
    await client.set_job_result(jobs[0].id, "")
    finished = JobFilter(status=JobStatus.FINISHED)
    assert [found.id for found in await client.list_jobs(finished)] == [jobs[0].id]
    found = await client.list_jobs(JobFilter(runner="r1"), limit=1000)
    assert len({summary.id for summary in found}) == 350
    assert len(await client.list_jobs(limit=1000)) == 700
    assert await client.list_jobs(JobFilter(status=JobStatus.FINISHED, runner="r1")) == []


async def test_lists_are_filtered_by_what_a_job_says_of_itself(client: JobClient) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(4):
        fields = {"caller_id": f"caller {number % 2}", "context_id": f"c{number}", "labels": {"n": str(number)}}
        await client.enqueue(a_job(id=f"j{number}", created_at=moment + timedelta(hours=number), **fields))

    async def ids(wanted: JobFilter) -> list[str]:
        return [job.id for job in await client.list_jobs(wanted)]

    assert await ids(JobFilter(caller_id="caller 1")) == ["j3", "j1"]
    assert await ids(JobFilter(context_id="c2")) == ["j2"]
    assert await ids(JobFilter(labels={"n": "2"})) == ["j2"]
    assert await ids(JobFilter(labels={"n": "2", "m": "x"})) == []
    assert await ids(JobFilter(since=moment + timedelta(hours=1), until=moment + timedelta(hours=3))) == ["j2", "j1"]


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_limit_out_of_range_is_refused(client: JobClient, limit: int) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        await client.list_jobs(limit=limit)


@pytest.mark.parametrize("cursor", ["", "x", "1", "-a", "1" * 17 + "-a", "٣-a"])
async def test_what_is_no_cursor_is_refused(client: JobClient, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="after_cursor"):
        await client.list_jobs(after_cursor=cursor)


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
