"""Events on their way to followers: cursors, rings, gaps, slow followers, wishes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hero_supervisor.errors import InvalidInput, TooManyStreams
from hero_supervisor.events import (
    AnyEvent,
    EventHub,
    EventQuery,
    ExitEvent,
    GapEvent,
    JobEvent,
    OperationEvent,
    Position,
    RunnerEvent,
    Stream,
    Topic,
)
from hero_supervisor.events.entry import Entry, log_entry
from hero_supervisor.events.event import GapCause, JobChange, RunnerChange, RunnerNewsKind
from hero_supervisor.events.lazily import Lazily
from hero_supervisor.events.ring import Ring
from hero_supervisor.events.stream import MAX_WAITING
from hero_supervisor.job import JobStatus
from hero_supervisor.records import LogRecord

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_CURSOR = "s=0123456789abcdef0123456789abcdef;i=1f;b=0123456789abcdef0123456789abcdef;m=2a;t=3b;x=4c"
STATE = RunnerChange(change=RunnerNewsKind.STATE)
AT = datetime(2026, 7, 2, 10, tzinfo=UTC)
LINE = LogRecord(
    cursor=LOG_CURSOR, timestamp=AT, priority=6, message="hello", pid=None, invocation_id=None, job_id=None
)
JOB = JobChange(status=JobStatus.STARTED)


def tell(hub: EventHub, runner: str = "a") -> None:
    hub.publish(RunnerEvent, STATE, runner=runner)


def tell_of_job(hub: EventHub, job_id: str, runner: str | None = "a") -> None:
    hub.publish(JobEvent, JOB, runner=runner, job_id=job_id)


async def taken(stream: Stream) -> list[Any]:
    """Return what waits for a follower."""
    found: list[Any] = []
    while batch := await stream.take(timeout_s=0):
        found += [entry.event_at(cursor) for entry, cursor in batch]
    return found


def words(events: list[Any]) -> list[str]:
    return [f"gap {event.data.cause}" if isinstance(event, GapEvent) else event.runner for event in events]


# -- cursors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [Position("0f3a91bc", 7), Position("0f3a91bc", 0, LOG_CURSOR)])
def test_a_cursor_is_read_as_it_was_written(position: Position) -> None:
    assert Position.of(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "7", "0f3a91bc", "0f3a91bc-", "0f3a91bc-x", "0F3A91BC-1", "0f3a91bc-1,", "0f3a91bc-1,s=1", "a-1\n"]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="since: must be the cursor of an event"):
        Position.of(text)


# -- entries -------------------------------------------------------------------------------------------------------


def test_an_event_is_decoded_as_what_it_was() -> None:
    event = JobEvent(cursor="0f3a91bc-7", at=AT, data=JOB)
    assert msgspec.json.decode(Entry(event, 7).json, type=AnyEvent) == event


def test_the_json_of_an_event_is_given_another_cursor() -> None:
    event = RunnerEvent(cursor="0f3a91bc-7", at=AT, runner='a"0f3a91bc-7"', data=STATE)
    entry = Entry(event, 7)
    other = f"0f3a91bc-7,{LOG_CURSOR}"
    assert entry.json_at(event.cursor) is entry.json
    assert msgspec.json.decode(entry.json_at(other), type=AnyEvent) == entry.event_at(other)
    assert entry.event_at(other).cursor == other


# -- rings ---------------------------------------------------------------------------------------------------------


def entry_of(serial: int, size: int = 1) -> Entry:
    return Entry(RunnerEvent(cursor=f"0f3a91bc-{serial}", at=AT, runner="a" * size, data=STATE), serial)


@given(st.lists(st.integers(1, 400), max_size=40), st.integers(0, 90), st.integers(1, 10), st.integers(1, 4000))
def test_a_ring_has_all_that_it_says_it_has(sizes: list[int], since: int, max_events: int, max_bytes: int) -> None:
    ring = Ring(max_events=max_events, max_bytes=max_bytes)
    entries = [entry_of(2 * number, size) for number, size in enumerate(sizes, start=1)]
    for entry in entries:
        ring.add(entry)
    kept = ring.after(0)
    assert kept == entries[len(entries) - len(kept) :]
    assert len(kept) <= max_events
    assert len(kept) <= 1 or sum(len(entry.json) for entry in kept) <= max_bytes
    assert ring.after(since) == [entry for entry in kept if entry.serial > since]
    assert [entry for entry in entries if entry.serial > ring.complete_after] == kept


# -- followers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["runner", "exit", "job", "operation"]),
        ({"topics": ["exit"]}, ["exit"]),
        ({"runners": ["a"]}, ["runner", "exit", "job"]),
        ({"runners": ["b"]}, []),
        ({"runners": ["b", "a"], "topics": ["job", "runner"]}, ["runner", "job"]),
        ({"job_id": "j"}, ["job"]),
        ({"job_id": "other"}, []),
        ({"job_id": "j", "runners": ["b"]}, []),
    ],
)
async def test_a_follower_gets_what_it_wants(query: dict[str, Any], expected: list[str]) -> None:
    hub = EventHub()
    async with hub.open(EventQuery.of(**query)) as stream:
        tell(hub)
        hub.publish(ExitEvent, msgspec.json.decode(b"{}"), runner="a", instance=1)
        tell_of_job(hub, "j")
        hub.publish(OperationEvent, msgspec.json.decode(b"{}"))
        assert [event.topic for event in await taken(stream)] == expected


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ({"topics": ["runner", "jobs"]}, "topics: has 'jobs'; topics are runner, exit, job, operation, log"),
        ({"topics": []}, "topics: must name at least one of"),
        ({"topics": ["log"]}, "runner: is required, or 'job'"),
        ({"topics": ["log"], "runners": ["a", "b"]}, "runner: must be one runner"),
        ({"runners": [str(number) for number in range(1001)]}, "runner: must be at most 1000"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(query: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        EventQuery.of(**query)
    assert fault in refused.value.message


async def test_a_follower_that_comes_back_gets_what_it_missed_and_nothing_twice() -> None:
    hub = EventHub()
    tell(hub, "before")
    async with hub.open(EventQuery.of()) as stream:
        tell(hub, "seen")
        [seen] = await taken(stream)
    tell(hub, "missed")
    tell_of_job(hub, "j", "missed too")
    async with hub.open(EventQuery.of(), Position.of(seen.cursor)) as stream:
        tell(hub, "now")
        assert words(await taken(stream)) == ["missed", "missed too", "now"]
        assert await taken(stream) == []


async def test_who_goes_away_before_it_has_taken_what_it_missed_comes_back_for_that() -> None:
    hub = EventHub()
    for _ in range(3):
        tell(hub)
    for since, cursor in (("1", "1"), ("3", "3")):
        async with hub.open(EventQuery.of(), Position.of(f"{hub.epoch}-{since}")) as stream:
            assert stream.cursor == f"{hub.epoch}-{cursor}"
    async with hub.open(EventQuery.of(["exit"]), Position.of(f"{hub.epoch}-1")) as stream:
        assert stream.cursor == f"{hub.epoch}-3"
    async with hub.open(EventQuery.of(), Position.of("00000000-7")) as stream:
        assert stream.cursor == f"{hub.epoch}-0"


async def test_what_is_missed_is_only_what_is_wanted() -> None:
    hub = EventHub()
    for runner in "abab":
        tell(hub, runner)
    async with hub.open(EventQuery.of(runners=["b"]), Position(hub.epoch, 1)) as stream:
        assert words(await taken(stream)) == ["b", "b"]


async def test_a_cursor_of_another_run_gives_a_gap_and_all_that_is_known() -> None:
    hub = EventHub()
    tell(hub)
    for cursor in ("00000000-1", f"{hub.epoch}-999"):
        async with hub.open(EventQuery.of(), Position.of(cursor)) as stream:
            events = await taken(stream)
            assert words(events) == ["gap restarted", "a"]
            assert events[0].data.topics == ("exit", "job", "operation", "runner")
            assert events[0].cursor == f"{hub.epoch}-0"


async def test_a_cursor_of_long_ago_gives_a_gap() -> None:
    hub = EventHub()
    for number in range(6_000):
        tell(hub, str(number))
    async with hub.open(EventQuery.of(), Position(hub.epoch, 10)) as stream:
        first, *others = await taken(stream)
    assert (first.data.cause, first.data.topics, first.data.lost) == (GapCause.FORGOTTEN, ("runner",), None)
    assert others[-1].runner == "5999"
    async with hub.open(EventQuery.of(["job"]), Position(hub.epoch, 10)) as stream:
        assert await taken(stream) == []


async def test_jobs_do_not_push_out_what_is_known_of_runners() -> None:
    hub = EventHub()
    tell(hub, "kept")
    for number in range(6_000):
        tell_of_job(hub, str(number))
    async with hub.open(EventQuery.of(["runner"]), Position(hub.epoch, 0)) as stream:
        assert words(await taken(stream)) == ["kept"]


async def test_a_slow_follower_gets_one_gap_with_what_it_lost_and_the_newest() -> None:
    hub = EventHub()
    query = EventQuery.of(["runner"])
    async with hub.open(query) as slow, hub.open(query) as quick:
        seen = []
        for number in range(2 * MAX_WAITING + 3):
            tell(hub, str(number))
            seen += words(await taken(quick))
        assert len(seen) == 2 * MAX_WAITING + 3
        gap, *others = await taken(slow)
        assert (gap.data.cause, gap.data.lost) == (GapCause.SLOW, 2 * MAX_WAITING)
        assert words(others) == seen[2 * MAX_WAITING :]
        # Where it goes on after the gap, it lacks nothing.
        async with hub.open(query, Position.of(gap.cursor)) as again:
            assert words(await taken(again)) == words(others)
        tell(hub, "after")
        assert words(await taken(slow)) == ["after"]


async def test_a_quiet_follower_keeps_up_with_what_others_get() -> None:
    hub = EventHub()
    async with hub.open(EventQuery.of(["exit"])) as stream:
        tell(hub)
        assert await stream.take(timeout_s=0) == []
        assert stream.cursor == f"{hub.epoch}-1"


async def test_a_gap_of_jobs_reaches_all_who_follow_jobs() -> None:
    hub = EventHub()
    async with AsyncExitStack() as stack:
        queries = [EventQuery.of(), EventQuery.of(job_id="j"), EventQuery.of(["job"], ["a"]), EventQuery.of(["runner"])]
        streams = [await stack.enter_async_context(hub.open(query)) for query in queries]
        hub.note_gap(Topic.JOB)
        assert [words(await taken(stream)) for stream in streams] == [["gap blind"]] * 3 + [[]]


async def test_lines_have_the_place_in_the_journal_in_their_cursor() -> None:
    hub = EventHub()
    async with hub.open(EventQuery.of(["log", "runner"], ["a"])) as stream:
        stream.start_log_at("")
        await stream.put_line(log_entry("a", LINE))
        tell(hub)
        state, line = await taken(stream)
        assert (state.cursor, line.cursor) == (f"{hub.epoch}-1", f"{hub.epoch}-1,{LOG_CURSOR}")
        tell(hub)
        [state] = await taken(stream)
        assert state.cursor == f"{hub.epoch}-2,{LOG_CURSOR}"


async def test_lines_wait_for_room() -> None:
    hub = EventHub()
    async with hub.open(EventQuery.of(["log"], ["a"])) as stream:

        async def bring() -> None:
            for _ in range(1_200):
                await stream.put_line(log_entry("a", LINE))

        bringing = asyncio.create_task(bring())
        found = 0
        while not bringing.done() or found < 1_200:
            found += len(await stream.take(timeout_s=1) or ())
        assert found == 1_200


async def test_streams_end_when_the_hub_is_closed() -> None:
    hub = EventHub()
    async with hub.open(EventQuery.of()) as stream:
        taking = asyncio.create_task(stream.take())
        await asyncio.sleep(0)
        tell(hub)
        hub.close()
        assert await taking is None
    async with hub.open(EventQuery.of()) as stream:
        assert await stream.take() is None


async def test_an_error_ends_a_stream() -> None:
    hub = EventHub()
    async with hub.open(EventQuery.of()) as stream:
        stream.close(ValueError("gone"))
        with pytest.raises(ValueError, match="gone"):
            await stream.take()


async def test_there_are_so_many_streams_and_no_more() -> None:
    hub = EventHub(max_streams=1)
    async with hub.open(EventQuery.of()):
        with pytest.raises(TooManyStreams, match="cannot open another stream of events: 1 are open"):
            async with hub.open(EventQuery.of()):
                pass
    async with hub.open(EventQuery.of()):
        pass


# -- sources -------------------------------------------------------------------------------------------------------


class Source:
    """Something that is watched only while somebody wants to know."""

    def __init__(self, hub: EventHub, *, is_slow: bool = False) -> None:
        self.runs = 0
        self._hub = hub
        self.is_ready = asyncio.Event()
        if not is_slow:
            self.is_ready.set()
        self.lazily = Lazily(self._run, name="source", linger_s=0.05)
        hub.add_source(Topic.JOB, self.lazily)

    async def _run(self, ready: Callable[[], None]) -> None:
        self.runs += 1
        await self.is_ready.wait()
        self._hub.begin(Topic.JOB)
        ready()
        try:
            await asyncio.Event().wait()
        finally:
            self.runs -= 1


async def test_a_source_runs_while_it_is_wanted_and_a_little_longer() -> None:
    hub = EventHub()
    source = Source(hub)
    async with hub.open(EventQuery.of(["runner"])):
        assert source.runs == 0
    async with hub.open(EventQuery.of()) as stream:
        assert source.runs == 1
        tell_of_job(hub, "1")
        [event] = await taken(stream)
    tell_of_job(hub, "2", "missed")
    async with hub.open(EventQuery.of(), Position.of(event.cursor)) as stream, hub.open(EventQuery.of()):
        assert words(await taken(stream)) == ["missed"]
        await asyncio.sleep(0.1)
        assert source.runs == 1
    await asyncio.sleep(0.1)
    assert source.runs == 0
    async with hub.open(EventQuery.of(), Position.of(event.cursor)) as stream:
        assert words(await taken(stream)) == ["gap forgotten"]
    await hub.aclose()


async def test_who_does_not_wait_for_a_source_gets_a_gap_when_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hero_supervisor.events.lazily.READY_TIMEOUT_S", 0.01)
    hub = EventHub()
    source = Source(hub, is_slow=True)
    async with hub.open(EventQuery.of()) as stream:
        source.is_ready.set()
        [delivery] = await stream.take(timeout_s=5) or []
        assert words([delivery.entry.event]) == ["gap blind"]
    await hub.aclose()


async def test_a_fault_in_a_source_is_logged_and_it_begins_anew_with_the_next_follower(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hero_supervisor.events.lazily.READY_TIMEOUT_S", 0.01)
    begun = []

    async def work(_: Callable[[], None]) -> None:
        begun.append(1)
        raise ValueError("odd")

    hub = EventHub()
    hub.add_source(Topic.JOB, Lazily(work, name="odd"))
    for _ in range(2):
        async with hub.open(EventQuery.of()):
            pass
    assert len(begun) == 2
    assert "cannot go on with odd" in caplog.text
    await hub.aclose()
