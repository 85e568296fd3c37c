"""The queue between the one journalctl that follows and one follower, and what a follower has had already."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from hero_supervisor.errors import JournalUnavailable
from hero_supervisor.journal import subscription as journal_subscription
from hero_supervisor.journal.position import Seen
from hero_supervisor.journal.subscription import Subscription
from hero_supervisor.log_query import LogQuery
from hero_supervisor.records import LogKind, LogRecord

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def record(number: int, *, message: str = "x", sequence: str = "a", kind: LogKind = LogKind.LINE) -> LogRecord:
    return LogRecord(
        cursor=f"s={sequence};i={number:x};b=0",
        timestamp=EPOCH + timedelta(seconds=number),
        kind=kind,
        priority=6,
        message=message,
        pid=None,
        invocation_id=None,
        job_id=None,
    )


@pytest.fixture
def subscription(monkeypatch: pytest.MonkeyPatch) -> Subscription:
    """A queue for four records, or ten bytes."""
    monkeypatch.setattr(journal_subscription, "MAX_QUEUED_RECORDS", 4)
    monkeypatch.setattr(journal_subscription, "MAX_QUEUED_BYTES", 10)
    return Subscription(LogQuery(units=("a",)))


async def taken(subscription: Subscription) -> LogRecord:
    found = await asyncio.wait_for(subscription.take(), 5)
    assert found is not None
    return found


async def test_records_are_taken_in_order_and_waited_for(subscription: Subscription) -> None:
    waiting = asyncio.create_task(taken(subscription))
    await asyncio.sleep(0)
    for number in (1, 2):
        subscription.put(record(number))
    assert await waiting == record(1)
    assert subscription.first == record(2)
    assert await taken(subscription) == record(2)
    assert subscription.first is None


async def test_what_does_not_fit_is_a_gap_that_says_how_much_and_up_to_where(subscription: Subscription) -> None:
    for number in range(1, 8):
        subscription.put(record(number))
    assert await taken(subscription) == record(1)
    subscription.put(record(8))  # there is room, but the ones before it are missing
    assert [await taken(subscription) for _ in range(3)] == [record(2), record(3), record(4)]
    gap = await taken(subscription)
    assert (gap.kind, gap.dropped, gap.cursor, gap.timestamp) == (
        LogKind.GAP,
        4,
        record(8).cursor,
        record(8).timestamp,
    )
    subscription.put(record(9))
    assert await taken(subscription) == record(9)


async def test_large_records_fill_it_too(subscription: Subscription) -> None:
    subscription.put(record(1, message="x" * 10))
    assert subscription.is_crowded
    subscription.put(record(2))
    await taken(subscription)
    assert (await taken(subscription)).dropped == 1


async def test_its_feeder_waits_while_it_is_half_full(subscription: Subscription) -> None:
    subscription.put(record(1))
    await asyncio.wait_for(subscription.wait_for_room(), 5)
    subscription.put(record(2))
    waiting = asyncio.create_task(subscription.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await taken(subscription)
    await asyncio.wait_for(waiting, 5)


async def test_it_is_not_waited_for_again_before_everything_is_taken(subscription: Subscription) -> None:
    for number in range(4):
        subscription.put(record(number))
    subscription.fall_behind()
    for _ in range(4):
        assert not subscription.is_crowded
        await taken(subscription)
    for number in range(2):
        subscription.put(record(number))
    assert subscription.is_crowded


async def test_nobody_waits_for_a_follower_that_has_left(subscription: Subscription) -> None:
    for number in range(4):
        subscription.put(record(number))
    waiting = asyncio.create_task(subscription.wait_for_room())
    await asyncio.sleep(0)
    subscription.close()
    await asyncio.wait_for(waiting, 5)


async def test_it_ends_after_what_is_queued(subscription: Subscription) -> None:
    subscription.put(record(1))
    subscription.close()
    assert await taken(subscription) == record(1)
    assert await subscription.take() is None
    assert await subscription.take() is None


async def test_an_error_comes_after_what_is_queued(subscription: Subscription) -> None:
    subscription.put(record(1))
    subscription.close(JournalUnavailable("cannot"))
    assert await taken(subscription) == record(1)
    with pytest.raises(JournalUnavailable):
        await subscription.take()


async def test_an_error_reaches_a_follower_that_waits(subscription: Subscription) -> None:
    waiting = asyncio.create_task(subscription.take())
    await asyncio.sleep(0)
    subscription.close(JournalUnavailable("cannot"))
    with pytest.raises(JournalUnavailable):
        await asyncio.wait_for(waiting, 5)


def test_what_was_seen_is_told_by_number_within_each_sequence() -> None:
    seen = Seen()
    assert record(1) not in seen
    for each in (record(20), record(3), record(5, sequence="b")):
        seen.add(each)
    assert record(3) in seen
    assert record(20) in seen
    assert record(21) not in seen
    assert record(5, sequence="b") in seen
    assert record(6, sequence="b") not in seen
    assert record(1, sequence="c") not in seen


def test_a_gap_was_not_seen_because_its_cursor_is_that_of_what_follows() -> None:
    seen = Seen()
    seen.add(record(1, kind=LogKind.GAP))
    assert record(1) not in seen
