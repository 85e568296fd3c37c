"""Events of a supervisor on a real Redis, with units in memory."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import Job, Runner
from hero_supervisor.errors import InvalidInput, JobNotFound, RunnerNotFound
from hero_supervisor.events import EventQuery, GapEvent, JobEvent, LogEvent, Position, RunnerEvent
from hero_supervisor.job import JobStatus
from hero_supervisor.records import ExitReason, ExitRecord, LogRecord, Verb
from hero_supervisor.runner import Executor
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from redis.asyncio import Redis

    from hero_supervisor.events import Event
    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.testing import InMemoryExitSource, InMemoryProcessManager
    from tests.redis_fixtures import RedisProcess
    from tests.supervisor_fixtures import Build

SLEEP = Runner(id="a", command=("/bin/sleep", "infinity"))


class Following:
    """Follows events beside a test."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def until(self, is_there: Callable[[Any], bool]) -> Any:
        """Return the first event that is like this, when it has come."""
        found: list[Any] = []

        def look() -> bool:
            found[:] = [event for event in self.events if is_there(event)]
            return bool(found)

        await eventually(look)
        return found[0]


@asynccontextmanager
async def following(supervisor: Supervisor, *topics: str, **wanted: Any) -> AsyncIterator[Following]:
    follower = Following()
    since = wanted.pop("since", None)
    query = EventQuery.of(topics or ("runner", "exit", "job", "operation"), **wanted)
    async with supervisor.open_events(query, since and Position.of(since)) as stream:

        async def take() -> None:
            while (batch := await stream.take()) is not None:
                follower.events += [entry.event_at(cursor) for entry, cursor in batch]

        taking = asyncio.create_task(take())
        yield follower
        taking.cancel()
        await asyncio.wait([taking])


def states(events: list[Event]) -> list[str | None]:
    return [event.data.status for event in events if isinstance(event, JobEvent)]


# -- runners -------------------------------------------------------------------------------------------------------


async def test_the_life_of_a_runner_is_told(supervisor: Supervisor, processes: InMemoryProcessManager) -> None:
    async with following(supervisor, "runner") as follower:
        await supervisor.add_runner(SLEEP)
        await follower.until(lambda event: event.data.change == "state" and event.data.status == "stopped")
        await supervisor.start_runner("a")
        running = await follower.until(lambda event: event.data.status == "running")
        assert (running.data.previous, running.data.desired, running.instance) == ("stopped", "running", 1)
        assert running.data.main_pid
        processes.end(processes.started[-1].name)
        backoff = await follower.until(lambda event: event.data.status == "backoff")
        assert (backoff.data.previous, backoff.data.result) == ("running", "exit-code")
        await supervisor.update_runner(Runner(id="a", command=("/bin/sleep", "1")))
        await follower.until(lambda event: event.data.change == "updated")
        await supervisor.remove_runner("a")
        removed = await follower.until(lambda event: event.data.change == "removed")
        assert (removed.data.desired, removed.data.status) == (None, None)
    assert [event.data.change for event in follower.events][:2] == ["added", "state"]


async def test_what_was_there_is_not_told(supervisor: Supervisor) -> None:
    await supervisor.add_runner(SLEEP)
    await supervisor.start_runner("a")
    async with following(supervisor, "runner") as follower:
        await supervisor.add_runner(Runner(id="b", command=("/bin/true",)))
        await follower.until(lambda event: event.data.status == "stopped")
        assert {event.runner for event in follower.events} == {"b"}


async def test_each_instance_is_told_by_itself(supervisor: Supervisor) -> None:
    async with following(supervisor, "runner", runners=["a"]) as follower:
        await supervisor.add_runner(Runner(id="a", command=("/bin/sleep", "infinity"), instances=3))
        await supervisor.start_runner("a")
        for instance in (1, 2, 3):
            await follower.until(lambda event: event.data.status == "running" and event.instance == instance)  # noqa: B023


async def test_another_run_in_the_same_state_is_told(supervisor: Supervisor, processes: InMemoryProcessManager) -> None:
    await supervisor.add_runner(SLEEP)
    await supervisor.start_runner("a")
    name = processes.started[-1].name
    async with following(supervisor, "runner") as follower:
        processes.next_run(name)
        processes.tell(name)
        event = await follower.until(lambda event: event.data.status == "running")
        assert event.data.previous == "running"
        assert event.data.invocation_id == (await processes.status(name)).invocation_id


async def test_a_runner_without_processes_is_told(supervisor: Supervisor) -> None:
    async with following(supervisor, "runner") as follower:
        await supervisor.register_runner("foreign")
        event = await follower.until(lambda event: event.data.status == "running")
        assert (event.runner, event.instance) == ("foreign", None)


# -- exits and operations ------------------------------------------------------------------------------------------


async def test_an_exit_is_told_with_its_reason(supervisor: Supervisor, exits: InMemoryExitSource) -> None:
    record = ExitRecord(
        runner="a",
        instance=2,
        unit="u",
        invocation_id="0" * 32,
        reason=ExitReason.OOM_KILL,
        explanation="it took too much",
        result="oom-kill",
        exit_code=None,
        signal="SIGKILL",
        started_at=None,
        ended_at=datetime.now(UTC),
        duration_s=None,
        memory_peak_bytes=None,
        cpu_s=None,
        will_restart=True,
        log_tail=(),
        cursor="",
    )
    async with following(supervisor, "exit") as follower:
        exits.add(record)
        event = await follower.until(lambda _: True)
        assert (event.data, event.runner, event.instance) == (record, "a", 2)


async def test_an_operation_is_told_when_it_begins_and_ends(supervisor: Supervisor) -> None:
    await supervisor.add_runner(SLEEP)
    await supervisor.add_runner(Runner(id="b", command=("/does/not/exist",), autostart=False))
    async with following(supervisor, "operation") as follower:
        operation = await supervisor.operate_runners(Verb.START, ("*",))
        ended = await follower.until(lambda event: event.data.state == "done")
        assert [event.data.state for event in follower.events] == ["running", "done"]
        assert (ended.data.id, ended.data.runners, ended.data.failed) == (operation.id, 2, 1)
        assert ended.data.ended_at == operation.ended_at


# -- jobs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def runner(supervisor: Supervisor) -> str:
    """A runner of the claim protocol that nobody executes."""
    await supervisor.add_runner(Runner(id="py", executor=Executor.PYTHON))
    return "py"


async def test_the_life_of_a_job_is_told(supervisor: Supervisor, runner: str) -> None:
    async with following(supervisor, "job", runners=[runner]) as follower:
        job_id = await supervisor.queue_job_to_runner(runner, Job(payload="x"))
        queued = await follower.until(lambda event: event.data.status == "dispatched")
        assert (queued.runner, queued.job_id, queued.data.attempt) == (runner, job_id, 0)
        await supervisor.cancel_job(job_id)
        cancelled = await follower.until(lambda event: event.data.status == "cancelled")
        assert cancelled.data.reason == "cancelled"
        await supervisor.delete_job(job_id)
        deleted = await follower.until(lambda event: event.data.status is None)
        assert (deleted.runner, deleted.job_id) == (runner, job_id)
    assert states(follower.events) == ["dispatched", "cancelled", None]


async def test_what_a_foreign_runner_writes_is_told(
    supervisor: Supervisor, runner: str, raw: Redis, namespace: str
) -> None:
    job_id = await supervisor.queue_job_to_runner(runner, Job(payload="x"))
    other = await supervisor.queue_job_to_runner(runner, Job(payload="y"))
    key = f"{namespace}:job:{job_id}"
    async with following(supervisor, job_id=job_id) as follower:
        await raw.hset(f"{namespace}:job:{other}", "status", "started")
        for name, value in (
            ("status", "started"),
            ("progress", '{"done": 0.5}'),
            ("output", "42"),
            ("status", "finished"),
            ("x", "y"),
        ):
            await raw.hset(key, name, value)
            await asyncio.sleep(0.15)  # longer than changes are collected
    assert states(follower.events) == [JobStatus.STARTED, JobStatus.STARTED, JobStatus.FINISHED]
    assert follower.events[1].data.progress == {"done": 0.5}


async def test_the_end_of_every_job_is_told(supervisor: Supervisor, runner: str, raw: Redis, namespace: str) -> None:
    async with following(supervisor, "job") as follower:
        jobs = tuple(Job(payload="x") for _ in range(1_000))
        await supervisor.queue_jobs_to_runner(runner, jobs)
        for job in jobs:
            await raw.hset(f"{namespace}:job:{job.id}", "status", "started")
            await raw.hset(f"{namespace}:job:{job.id}", "status", "finished")

        def ended() -> set[str | None]:
            return {event.job_id for event in follower.events if event.data.status == "finished"}

        await eventually(lambda: len(ended()) == 1_000)
    finished = [event for event in follower.events if event.data.status == "finished"]
    assert len(finished) == 1_000  # none twice


@pytest.mark.parametrize(
    ("name", "value"), [("status", "odd"), ("attempt", "x"), ("progress", "{"), ("reason", b"\xff")]
)
async def test_a_job_that_cannot_be_read_is_left_out(
    supervisor: Supervisor, runner: str, raw: Redis, namespace: str, name: str, value: str
) -> None:
    bad = await supervisor.queue_job_to_runner(runner, Job(payload="x"))
    good = await supervisor.queue_job_to_runner(runner, Job(payload="x"))
    async with following(supervisor, "job") as follower:
        await raw.hset(f"{namespace}:job:{bad}", name, value)
        await raw.hset(f"{namespace}:job:{good}", "status", "started")
        await follower.until(lambda event: event.job_id == good)
        assert {event.job_id for event in follower.events} == {good}


async def test_redis_is_asked_for_changes_only_while_somebody_follows_jobs(
    supervisor: Supervisor, raw: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def prefixes() -> str:
        return str((await raw.info("clients"))["tracking_clients"])

    before = await prefixes()
    async with following(supervisor, "runner"):
        assert await prefixes() == before
    news = supervisor._events._sources
    for source in news.values():
        monkeypatch.setattr(source, "_linger_s", 0.05)
    async with following(supervisor, "job"):
        assert int(await prefixes()) == int(before) + 1

    async def is_as_before() -> bool:
        return await prefixes() == before

    await eventually(is_as_before)


async def test_a_lost_redis_gives_a_gap_and_then_all_is_told_again(own_redis: RedisProcess, build: Build) -> None:
    async with await build().redis_url(own_redis.url).build() as supervisor:
        await supervisor.add_runner(Runner(id="py", executor=Executor.PYTHON))
        async with following(supervisor, "job") as follower:
            job_id = await supervisor.queue_job_to_runner("py", Job(payload="x"))
            await follower.until(lambda event: event.job_id == job_id)
            seen = follower.events[-1].cursor
            own_redis.stop()
            own_redis.start()
            gap = await follower.until(lambda event: isinstance(event, GapEvent))
            assert (gap.data.cause, gap.data.topics) == ("blind", ("job",))
            later = await supervisor.queue_job_to_runner("py", Job(payload="y"))
            await follower.until(lambda event: event.job_id == later)
        async with following(supervisor, "job", since=seen) as follower:
            await follower.until(lambda event: event.job_id == later)
            assert isinstance(follower.events[0], GapEvent)


# -- logs ----------------------------------------------------------------------------------------------------------


def line(number: int, job_id: str | None = None) -> LogRecord:
    cursor = f"s={'0' * 32};i={number:x};b={'0' * 32};m={number:x};t={number:x};x={number:x}"
    at = datetime.fromtimestamp(number, UTC)
    text = f"line {number}"
    return LogRecord(cursor=cursor, timestamp=at, priority=6, message=text, pid=1, invocation_id=None, job_id=job_id)


async def test_new_lines_of_a_runner_are_told_and_those_missed_when_one_comes_back(supervisor: Supervisor) -> None:
    await supervisor.add_runner(SLEEP)
    unit = supervisor._site.unit_name("a")
    logs: Any = supervisor._logs
    logs.add(unit, line(1))
    async with following(supervisor, "log", "runner", runners=["a"]) as follower:
        logs.add(unit, line(2))
        found = await follower.until(lambda event: isinstance(event, LogEvent))
        assert (found.data.message, found.runner) == ("line 2", "a")
    logs.add(unit, line(3))
    await supervisor.start_runner("a")
    async with following(supervisor, "log", "runner", runners=["a"], since=found.cursor) as follower:
        logs.add(unit, line(4))
        await follower.until(lambda event: isinstance(event, LogEvent) and event.data.message == "line 4")
        lines = [event.data.message for event in follower.events if isinstance(event, LogEvent)]
        assert lines == ["line 3", "line 4"]
        await follower.until(lambda event: isinstance(event, RunnerEvent))


async def test_the_first_lines_ever_are_told(supervisor: Supervisor) -> None:
    await supervisor.add_runner(SLEEP)
    logs: Any = supervisor._logs
    async with following(supervisor, "log", runners=["a"]) as follower:
        logs.add(supervisor._site.unit_name("a"), line(1))
        await follower.until(lambda event: event.data.message == "line 1")


async def test_lines_of_a_job_are_told(supervisor: Supervisor, runner: str) -> None:
    job_id = await supervisor.queue_job_to_runner(runner, Job(payload="x"))
    logs: Any = supervisor._logs
    unit = supervisor._site.unit_name(runner)
    async with following(supervisor, "log", job_id=job_id) as follower:
        logs.add(unit, line(1, "other"))
        logs.add(unit, line(2, job_id))
        await follower.until(lambda event: event.data.message == "line 2")
        assert len(follower.events) == 1


@pytest.mark.parametrize(
    ("wanted", "error"), [({"runners": ["unknown"]}, RunnerNotFound), ({"job_id": "unknown"}, JobNotFound)]
)
async def test_there_is_no_log_of_what_is_not_there(
    supervisor: Supervisor, wanted: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await anext(supervisor.follow_events(["log"], **wanted))


# -- the library ---------------------------------------------------------------------------------------------------


async def test_events_are_followed_until_the_supervisor_is_closed(build: Build) -> None:
    supervisor = await build().build()
    await supervisor.open()
    found = []

    async def follow() -> None:
        async with aclosing(supervisor.follow_events(["runner"])) as events:
            async for event in events:
                found.append(event)  # noqa: PERF401

    following = asyncio.create_task(follow())
    await eventually(lambda: supervisor._events._count == 1)
    await asyncio.sleep(0.05)
    await supervisor.add_runner(SLEEP)
    await eventually(lambda: bool(found))
    await supervisor.close()
    await following
    assert isinstance(found[0], RunnerEvent)


@pytest.mark.parametrize("arguments", [{"since": "x"}, {"topics": ["x"]}, {"topics": ["log"]}])
async def test_wrong_wishes_are_refused_at_once(supervisor: Supervisor, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        supervisor.follow_events(**arguments)
