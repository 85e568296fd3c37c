"""Jobs that are not to be executed yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.job import JobStatus
from tests.integration.queue.conftest import CRASH, a_job, make_due, pending, take, take_ids
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold


async def test_a_delayed_job_is_taken_when_its_time_has_come(client: JobClient, hold: Hold) -> None:
    holder = await hold("h")
    began = datetime.now(UTC)
    job_id = await client.enqueue(a_job(delay_s=0.2))
    assert await client.get_job_status(job_id) is JobStatus.SCHEDULED
    answer = await holder.exchange([], want=1)
    assert answer.claims == ()
    assert answer.again_at is not None
    assert answer.again_at == pytest.approx(began.timestamp() + 0.2, abs=0.1)
    taken: list[str] = []

    async def is_taken() -> bool:
        taken.extend(await take_ids(holder))
        return bool(taken)

    await eventually(is_taken)
    assert taken == [job_id]
    assert datetime.now(UTC) - began >= timedelta(seconds=0.2)


async def test_a_job_with_a_time_is_scheduled_for_it(client: JobClient) -> None:
    run_at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    job_id = await client.enqueue(a_job(run_at=run_at))
    state = await client.get_job_state(job_id)
    assert (state.status, state.due_at) == (JobStatus.SCHEDULED, run_at)
    look = await client.ledger.look("calc", grace_s=1)
    assert (look.due_at, look.pending) == (run_at, 0)


async def test_a_time_that_has_passed_is_now(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(run_at=datetime(2020, 1, 1, tzinfo=UTC)))
    assert await take_ids(await hold("h")) == [job_id]


async def test_delayed_jobs_come_by_priority_once_they_are_due(client: JobClient, raw: Redis, hold: Hold) -> None:
    late = await client.enqueue(a_job(delay_s=60, priority=9))
    ready = await client.enqueue(a_job())
    await make_due(raw, client, late)
    assert await take_ids(await hold("h"), 2) == [late, ready]


async def test_more_jobs_than_one_call_promotes_come_due_in_several(client: JobClient, raw: Redis, hold: Hold) -> None:
    jobs = [a_job(delay_s=60) for _ in range(250)]
    await client.enqueue_many(jobs)
    await make_due(raw, client, *(job.id for job in jobs))
    holder = await hold("h")
    taken = [job_id for _ in range(3) for job_id in await take_ids(holder, 250)]
    assert sorted(taken) == sorted(job.id for job in jobs)


async def test_a_recovered_job_does_not_wait_again(client: JobClient, raw: Redis, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(delay_s=60))
    await make_due(raw, client, job_id)
    await take(await hold("h"))
    await client.ledger.recover("calc", "h", CRASH)
    assert await pending(client) == 1
    assert await take_ids(await hold("next")) == [job_id]


async def test_places_go_on_when_the_clock_goes_back(client: JobClient, raw: Redis, hold: Hold) -> None:
    first = await client.enqueue(a_job())
    last = client.keys.queue("calc", "last")
    await raw.incrby(last, 3600 * 10**6)  # as if the last job had come an hour from now
    second, third = await client.enqueue(a_job()), await client.enqueue(a_job())
    assert await take_ids(await hold("h"), 3) == [first, second, third]
