"""Recurring schedules on a real Redis: set, made when due, once, and after an absence as they say."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from hero_supervisor.errors import RunnerNotFound, ScheduleNotFound
from hero_supervisor.job import Job
from hero_supervisor.runner import Runner
from hero_supervisor.schedule import MissedRuns, Schedule
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from hero_supervisor.client import JobClient
    from hero_supervisor.supervisor import Supervisor
    from tests.supervisor_fixtures import Build

HOURLY = Schedule(id="hourly", runner="a", cron="@hourly", job=Job(payload="x"))


@pytest.fixture
async def with_runner(supervisor: Supervisor) -> Supervisor:
    await supervisor.add_runner(Runner(id="a", command=("/bin/true",)))
    return supervisor


async def jobs_of(client: JobClient) -> list[str]:
    return sorted(job.id for job in await client.list_jobs())


async def test_a_schedule_is_shown_with_its_next_run_and_removed(with_runner: Supervisor) -> None:
    state = await with_runner.set_schedule(HOURLY)
    assert state.next_at is not None
    assert timedelta() < state.next_at - datetime.now(UTC) <= timedelta(hours=1)
    assert await with_runner.get_schedule("a", "hourly") == state
    assert await with_runner.list_schedules() == [state]
    await with_runner.remove_schedule("a", "hourly")
    assert await with_runner.list_schedules("a") == []
    with pytest.raises(ScheduleNotFound):
        await with_runner.remove_schedule("a", "hourly")


async def test_a_schedule_of_no_runner_is_refused(supervisor: Supervisor) -> None:
    with pytest.raises(RunnerNotFound):
        await supervisor.set_schedule(HOURLY)


async def test_what_is_due_is_queued_once_by_two_supervisors(
    with_runner: Supervisor, build: Build, client: JobClient, tmp_path: Path
) -> None:
    await with_runner.close()
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await client.schedules.save(HOURLY, due)
    first, second = await build().build(), await build().state_dir(tmp_path / "other").build()
    await first.open()
    await second.open()
    await second.add_runner(Runner(id="a", command=("/bin/true",)))
    try:
        name = f"hourly.{due:%Y%m%dT%H%M%SZ}"
        await eventually(lambda: _has(client, [name]))
        await asyncio.gather(first._scheduler._make_due("a"), second._scheduler._make_due("a"))
        assert await jobs_of(client) == [name]
        state = await client.schedules.read("a", "hourly")
        assert state.next_at == due + timedelta(hours=1)
    finally:
        await first.close()
        await second.close()


async def _has(client: JobClient, ids: list[str]) -> bool:
    return await jobs_of(client) == ids


async def test_a_run_made_before_a_crash_is_not_made_again(with_runner: Supervisor, client: JobClient) -> None:
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await client.enqueue(HOURLY.run_at(due))
    await client.schedules.save(HOURLY, due)
    await with_runner._scheduler._make_due("a")
    assert await jobs_of(client) == [HOURLY.run_at(due).id]
    assert (await client._store.redis.zcard(client.keys.queue("a", "pending"))) == 1


async def test_missed_runs_are_all_made_if_the_schedule_says_so(with_runner: Supervisor, client: JobClient) -> None:
    every = Schedule(id="all", runner="a", cron="@hourly", job=Job(payload="x"), missed=MissedRuns.ALL)
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    await client.schedules.save(every, due)
    await with_runner._scheduler._make_due("a")
    assert len(await jobs_of(client)) == 3


async def test_a_paused_schedule_makes_nothing_and_moves_on(with_runner: Supervisor, client: JobClient) -> None:
    paused = Schedule(id="p", runner="a", cron="@hourly", job=Job(payload="x"), is_paused=True)
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await client.schedules.save(paused, due)
    await with_runner._scheduler._make_due("a")
    assert await jobs_of(client) == []
    state = await client.schedules.read("a", "p")
    assert state.next_at == due + timedelta(hours=1)


async def test_a_broken_schedule_does_not_stop_the_others(
    with_runner: Supervisor, client: JobClient, redis_url: str
) -> None:
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await client.schedules.save(HOURLY, due)
    async with Redis.from_url(redis_url) as raw:
        await raw.hset(client.keys.queue("a", "schedules"), "broken", "{")
        await raw.zadd(client.keys.queue("a", "schedules-due"), {"broken": 1})
    await with_runner._scheduler._make_due("a")
    assert await jobs_of(client) == [HOURLY.run_at(due).id]
    assert [state.schedule.id for state in await with_runner.list_schedules()] == ["hourly"]


async def test_a_schedule_that_was_moved_on_is_never_moved_back(client: JobClient) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    await client.schedules.save(HOURLY, now + timedelta(hours=1))
    await client.schedules.move_on("a", "hourly", now)
    state = await client.schedules.read("a", "hourly")
    assert state.next_at == now + timedelta(hours=1)


async def test_the_soonest_runs_of_many_runners_are_told_at_once(client: JobClient, redis_url: str) -> None:
    soon, later = (datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours) for hours in (1, 2))
    await client.schedules.save(HOURLY, later)
    await client.schedules.save(Schedule(id="sooner", runner="a", cron="@hourly", job=Job(payload="x")), soon)
    assert await client.schedules.soonest(["a", "without"]) == {"a": soon}


async def test_schedules_of_a_wrong_type_do_not_stop_those_of_other_runners(
    with_runner: Supervisor, client: JobClient, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await with_runner.add_runner(Runner(id="0-first", command=("/bin/true",)))
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await client.schedules.save(HOURLY, due)
    async with Redis.from_url(redis_url) as raw:
        await raw.set(client.keys.queue("0-first", "schedules-due"), "text")
    await with_runner._scheduler._make_all_due()
    assert await jobs_of(client) == [HOURLY.run_at(due).id]
    assert "cannot make the scheduled jobs of runner 0-first" in caplog.text
