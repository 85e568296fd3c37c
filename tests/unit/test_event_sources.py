"""News of runners and jobs when those who are asked do not answer, or cannot keep up."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.engine.status import instance_status, runner_status
from hero_supervisor.errors import RedisUnavailable, SystemdUnavailable
from hero_supervisor.events import EventHub, EventQuery, GapEvent, JobNews, RunnerNews, Stream
from hero_supervisor.job import JobStatus
from hero_supervisor.queue.keys import Keys
from hero_supervisor.queue.records import JobGlance
from hero_supervisor.state import Desired
from hero_supervisor.testing import InMemoryProcessManager
from hero_supervisor.unit import UnitStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from hero_supervisor.records import RunnerStatus


async def next_event(stream: Stream) -> Any:
    batch = await stream.take(timeout_s=5)
    assert batch, "nothing is told"
    assert len(batch) == 1
    return batch[0].entry.event


@asynccontextmanager
async def following(hub: EventHub, topic: str) -> AsyncIterator[Stream]:
    async with hub.open(EventQuery.of([topic])) as stream:
        yield stream
    await hub.aclose()


# -- runners -------------------------------------------------------------------------------------------------------


class Runners:
    """Answers with one runner in a state, or not at all."""

    def __init__(self) -> None:
        self.state = "inactive"
        self.is_there = True
        self.asked: list[set[str] | None] = []

    async def statuses(self, runners: Iterable[str] | None) -> Sequence[RunnerStatus]:
        self.asked.append(None if runners is None else set(runners))
        if not self.is_there:
            raise SystemdUnavailable("cannot reach systemd")
        instance = instance_status("a", 1, UnitStatus("u", active_state=self.state))
        return [runner_status(Desired.RUNNING, [instance])]


@pytest.fixture
def runners(monkeypatch: pytest.MonkeyPatch) -> Runners:
    monkeypatch.setattr("hero_supervisor.events.runners.COLLECT_S", 0.01)
    monkeypatch.setattr("hero_supervisor.events.runners.FAILURE_PAUSE_S", 0.02)
    return Runners()


def runner_news(hub: EventHub, runners: Runners) -> RunnerNews:
    return RunnerNews(hub, InMemoryProcessManager(), lambda unit: unit, runners.statuses)


async def test_many_signs_of_a_change_are_one_look(runners: Runners) -> None:
    hub = EventHub()
    news = runner_news(hub, runners)
    async with following(hub, "runner") as stream:
        runners.state = "active"
        for _ in range(8):
            news.on_changed("a")
        news.on_changed("b")
        assert (await next_event(stream)).data.status == "running"
    assert runners.asked == [None, {"a", "b"}]


async def test_nobody_is_asked_while_nobody_follows(runners: Runners) -> None:
    news = runner_news(EventHub(), runners)
    news.on_changed("a")
    news.on_doubt()
    await asyncio.sleep(0.05)
    assert runners.asked == []


async def test_what_could_not_be_seen_is_looked_at_again(runners: Runners) -> None:
    hub = EventHub()
    news = runner_news(hub, runners)
    async with following(hub, "runner") as stream:
        runners.is_there = False
        runners.state = "failed"
        news.on_changed("a")
        await asyncio.sleep(0.1)
        assert len(runners.asked) > 2
        runners.is_there = True
        event = await next_event(stream)
        assert (event.data.status, event.data.previous) == ("failed", "stopped")


async def test_when_systemd_is_away_at_first_all_is_told_later(runners: Runners) -> None:
    hub = EventHub()
    news = runner_news(hub, runners)
    runners.is_there = False
    async with following(hub, "runner") as stream:
        runners.is_there = True
        news.on_doubt()
        event = await next_event(stream)
        assert (event.data.status, event.data.previous) == ("stopped", None)


# -- jobs ----------------------------------------------------------------------------------------------------------


class Jobs:
    """A Redis in which all jobs are started."""

    keys = Keys("hero")

    def __init__(self) -> None:
        self.is_there = True
        self.read: list[int] = []

    async def follow_changes(self, _: Iterable[str], on_change: Callable[[list[bytes] | None], None]) -> None:
        self.on_change = on_change
        on_change(None)
        await asyncio.Event().wait()

    async def glance_at(self, ids: Sequence[str]) -> list[JobGlance | None]:
        if not self.is_there:
            raise RedisUnavailable("cannot reach Redis")
        self.read.append(len(ids))
        return [JobGlance(JobStatus.STARTED) for _ in ids]

    def change(self, count: int) -> None:
        self.on_change([f"hero:job:{number}".encode() for number in range(count)])


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setattr("hero_supervisor.events.jobs.COLLECT_S", 0.01)
    monkeypatch.setattr("hero_supervisor.events.jobs.FAILURE_PAUSE_S", 0.01)
    return Jobs()


async def test_jobs_are_read_many_at_once_and_told_once(jobs: Any) -> None:
    hub = EventHub()
    JobNews(hub, lambda: jobs)
    async with following(hub, "job") as stream:
        for _ in range(3):
            jobs.change(600)
        found: list[str | None] = []
        while len(found) < 600:
            found += [delivery.entry.event.job_id for delivery in await stream.take(timeout_s=5) or ()]
        jobs.change(600)
        assert await stream.take(timeout_s=0.1) == []
    assert found == [str(number) for number in range(600)]
    assert jobs.read == [250, 250, 100] * 2


async def test_jobs_that_could_not_be_read_are_read_again(jobs: Any) -> None:
    hub = EventHub()
    JobNews(hub, lambda: jobs)
    async with following(hub, "job") as stream:
        jobs.is_there = False
        jobs.change(1)
        await asyncio.sleep(0.05)
        jobs.is_there = True
        assert (await next_event(stream)).job_id == "0"


async def test_more_changes_than_can_be_remembered_are_a_gap(jobs: Any) -> None:
    hub = EventHub()
    JobNews(hub, lambda: jobs)
    async with following(hub, "job") as stream:
        jobs.change(100_001)
        assert isinstance(await next_event(stream), GapEvent)
        jobs.change(1)
        assert (await next_event(stream)).job_id == "0"


async def test_each_new_connection_is_a_gap(jobs: Any) -> None:
    hub = EventHub()
    JobNews(hub, lambda: jobs)
    async with following(hub, "job") as stream:
        jobs.on_change(None)
        assert isinstance(await next_event(stream), GapEvent)
