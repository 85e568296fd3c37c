"""Jobs that are queued one by one at the same moment: together in one call, and each with an answer of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.client import JobClient
from hero_supervisor.errors import InvalidJob, JobExists, JobNotFound, RedisUnavailable
from hero_supervisor.job import Job
from hero_supervisor.queue.intake import BYTES_PER_CALL
from hero_supervisor.queue.scripts import Scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from tests.redis_fixtures import RedisProcess

    Outcome = str | BaseException


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Runner, and number of jobs, of each call to Redis that queues jobs."""
    made: list[tuple[str, int]] = []
    run = Scripts.run

    async def counted(self: Scripts, name: str, runner: str, *arguments: str | bytes | float) -> object:
        if name == "enqueue":
            made.append((runner, len(arguments) - 3))
        return await run(self, name, runner, *arguments)

    monkeypatch.setattr(Scripts, "run", counted)
    return made


async def at_once(client: JobClient, jobs: Sequence[Job]) -> list[Outcome]:
    return await asyncio.gather(*map(client.enqueue, jobs), return_exceptions=True)


async def test_jobs_that_come_together_go_together_in_their_order(
    client: JobClient, raw: Redis, calls: list[tuple[str, int]]
) -> None:
    jobs = [Job(id=f"{number:02}", runner="a", payload="x") for number in range(50)]
    assert await at_once(client, jobs) == [job.id for job in jobs]
    assert calls == [("a", 50)]
    assert await raw.zrange(client.keys.queue("a", "pending"), 0, -1) == [job.id for job in jobs]


async def test_each_runner_has_a_call_of_its_own(client: JobClient, calls: list[tuple[str, int]]) -> None:
    await at_once(client, [Job(runner=runner, payload="x") for runner in ("a", "b", "a")])
    assert sorted(calls) == [("a", 2), ("b", 1)]


async def test_what_comes_later_does_not_wait(client: JobClient, calls: list[tuple[str, int]]) -> None:
    for _ in range(3):
        await client.enqueue(Job(runner="a", payload="x"))
    assert calls == [("a", 1)] * 3


async def test_no_call_is_too_large(client: JobClient, calls: list[tuple[str, int]]) -> None:
    payload = "x" * 1_000_000
    await at_once(client, [Job(runner="a", payload=payload) for _ in range(6)])
    assert sum(count for _, count in calls) == 6
    assert all(count * len(payload) <= BYTES_PER_CALL + len(payload) for _, count in calls)


async def test_a_refusal_is_that_of_its_job_alone(client: JobClient, calls: list[tuple[str, int]]) -> None:
    await client.enqueue(Job(id="taken", runner="a", payload="other"))
    jobs = [
        Job(id="good", runner="a", payload="x"),
        Job(id="taken", runner="a", payload="x"),
        Job(id="waits", runner="a", payload="x", prerequisites=("nobody",)),
        Job(id="nowhere", payload="x"),
        Job(id="large", runner="a", payload="x", signatures=[{"a": "s" * 1_000_000}]),
    ]
    outcomes = await at_once(client, jobs)
    kinds = [outcome if isinstance(outcome, str) else type(outcome) for outcome in outcomes]
    assert kinds == ["good", JobExists, JobNotFound, InvalidJob, InvalidJob]


async def test_all_hear_that_redis_is_away_each_by_an_error_of_its_own(own_redis: RedisProcess, namespace: str) -> None:
    async with JobClient.connect(own_redis.url, namespace) as client:
        await client.enqueue(Job(runner="a", payload="x"))
        own_redis.stop()
        outcomes = await at_once(client, [Job(runner="a", payload="x") for _ in range(3)])
    assert {type(outcome) for outcome in outcomes} == {RedisUnavailable}
    assert len({id(outcome) for outcome in outcomes}) == 3


async def test_a_caller_that_goes_does_not_take_the_others_along(client: JobClient) -> None:
    waits = [asyncio.create_task(client.enqueue(Job(id=id, runner="a", payload="x"))) for id in ("gone", "here")]
    await asyncio.sleep(0)
    waits[0].cancel()
    assert await waits[1] == "here"


async def test_jobs_on_their_way_arrive_although_the_client_is_closed(redis_url: str, namespace: str) -> None:
    async with JobClient.connect(redis_url, namespace) as client:
        wait = asyncio.create_task(client.enqueue(Job(id="last", runner="a", payload="x")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert await wait == "last"
