"""Keys that somebody made something else, and other strains: a clear error, and nothing half done."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import CorruptRecord, JobExists, QueueFull
from hero_supervisor.job import JobStatus
from hero_supervisor.queue.claims import Ended
from tests.integration.queue.conftest import CRASH, a_job, end, pending, take, take_ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold

KEYS = (
    *("pending", "delayed", "blocked", "taken", "jobs", "ended", "dead", "holders", "words", "fenced", "beats", "wake"),
    *("settings", "bucket", "counts", "last"),
)
HOLDER_KEYS = ("held", "ping", "control")
CHANGES = ("enqueue", "delayed", "exchange", "recover", "cancel", "retry", "delete", "report", "look", "pause")


async def everything(raw: Any, namespace: str) -> dict[str, bytes]:
    """Return all keys and what they hold; two answers are the same when nothing was changed."""
    names = sorted([name async for name in raw.scan_iter(f"{namespace}:*", count=1000)])
    return {name: await raw.execute_command("DUMP", name, NEVER_DECODE=True) for name in names}


async def spoil(raw: Any, key: str) -> None:
    await raw.delete(key)
    await (raw.hset(key, "a", "b") if key.endswith(":last") else raw.set(key, "text"))


@pytest.mark.parametrize("broken", KEYS)
@pytest.mark.parametrize("change", CHANGES)
async def test_a_key_of_another_type_leaves_nothing_half_done(
    client: JobClient, raw: Redis, hold: Hold, change: str, broken: str
) -> None:
    holder = await hold("h")
    ended, taken = await client.enqueue(a_job(on_crash="dead")), await client.enqueue(a_job())
    [first, _] = await take(holder, 2)
    await end(holder, first, "failed", "boom")
    waiting = await client.enqueue(a_job())
    key = client.keys.queue("calc", broken)
    await spoil(raw, key)
    before = await everything(raw, client.keys.namespace)
    calls: dict[str, Awaitable[object]] = {
        "enqueue": client.enqueue(a_job(group="g", prerequisites=(ended,), on_prerequisite_failure="run")),
        "delayed": client.enqueue(a_job(delay_s=60)),
        "exchange": holder.exchange([Ended(taken, 1, "finished", "out")], want=1),
        "recover": client.ledger.recover("calc", "h", CRASH),
        "cancel": client.cancel_job(waiting),
        "retry": client.retry_job(ended),
        "delete": client.delete_job(waiting),
        "report": client.set_job_result(waiting, "out"),
        "look": client.ledger.look("calc", grace_s=1),
        "pause": client.queues.pause("calc", is_paused=True),
    }
    with pytest.raises(CorruptRecord, match=f"WRONGTYPE.*:{broken}'"):
        await calls.pop(change)
    assert await everything(raw, client.keys.namespace) == before
    for unused in calls.values():
        with suppress(CorruptRecord):
            await unused


@pytest.mark.parametrize("broken", HOLDER_KEYS)
@pytest.mark.parametrize("change", ["exchange", "beat", "recover", "cancel", "report"])
async def test_a_key_of_a_holder_of_another_type_leaves_nothing_half_done(
    client: JobClient, raw: Redis, hold: Hold, change: str, broken: str
) -> None:
    holder = await hold("h")
    taken = await client.enqueue(a_job())
    await take(holder, 1)
    await client.enqueue(a_job())
    await spoil(raw, client.keys.queue("calc", f"{broken}:h"))
    before = await everything(raw, client.keys.namespace)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "exchange": lambda: holder.exchange([Ended(taken, 1, "finished", "out")], want=1),
        "beat": lambda: holder.beat([(taken, 1, b"50")]),
        "recover": lambda: client.ledger.recover("calc", "h", CRASH),
        "cancel": lambda: client.cancel_job(taken),
        "report": lambda: client.set_job_result(taken, "out"),
    }
    with pytest.raises(CorruptRecord, match=f"WRONGTYPE.*:{broken}:h'.*check_integrity"):
        await calls[change]()
    assert await everything(raw, client.keys.namespace) == before
    assert {each.kind for each in (await client.check_integrity(repair=True)).violations} >= {"key"}
    assert (await client.check_integrity(repair=False)).violations == ()
    await calls[change]()


async def test_what_belongs_to_one_job_spoils_that_job_only(client: JobClient, raw: Redis) -> None:
    for key in ("group:bad", "q:{calc}:idem:bad", "job:bad", "dependents:first"):
        await raw.rpush(f"{client.keys.namespace}:{key}", "not what it should be")
    jobs = [
        a_job(id="first"),
        a_job(group="bad"),
        a_job(idempotency_key="bad"),
        a_job(id="bad"),
        a_job(prerequisites=("bad",)),
        a_job(prerequisites=("first",)),
        a_job(id="last"),
    ]
    answers = await client.enqueue_many(jobs)
    assert [type(answer) for answer in answers[1:6]] == [
        *(CorruptRecord, CorruptRecord, JobExists, CorruptRecord, CorruptRecord),
    ]
    assert (answers[0], answers[6]) == ("first", "last")
    assert len(await client.list_jobs()) == 2
    assert [each.kind for each in (await client.check_integrity(repair=True)).violations] == ["key"]
    assert (await client.check_integrity(repair=False)).violations == ()


async def test_a_job_ends_although_its_group_and_dependents_are_broken(client: JobClient, raw: Redis) -> None:
    first = await client.enqueue(a_job(group="g"))
    job_id = await client.enqueue(a_job(prerequisites=(first,)))
    for key in ("group:g", f"dependents:{first}"):
        await raw.set(f"{client.keys.namespace}:{key}", "text")
    other = await client.enqueue(a_job())
    waits = await client.enqueue(a_job(prerequisites=(other,)))
    await raw.set(f"{client.keys.namespace}:dependents:{other}", "text")
    await client.set_job_result(first, "out")
    assert (await client.get_job_result(first)).result == "out"
    await client.check_integrity(repair=True)
    assert await client.get_job_status(job_id) is JobStatus.DISPATCHED
    await client.set_job_result(other, "out")
    assert await client.get_job_status(waits) is JobStatus.DISPATCHED


async def test_a_job_that_is_no_hash_is_passed_over(client: JobClient, raw: Redis, hold: Hold) -> None:
    ids = [await client.enqueue(a_job()) for _ in range(2)]
    await raw.delete(client.keys.job(ids[0]))
    await raw.set(client.keys.job(ids[0]), "text")
    assert await take_ids(await hold("h"), 2) == [ids[1]]


async def test_one_who_was_late_and_wrote_the_end_himself_is_taken_at_his_word(
    client: JobClient, raw: Redis, hold: Hold
) -> None:
    first = await client.enqueue(a_job(group="g"))
    job_id = await client.enqueue(a_job(prerequisites=(first,)))
    await raw.hset(client.keys.job(first), mapping={"status": "finished", "output": "late"})
    holder = await hold("h")
    assert await take_ids(holder, 5) == [job_id]
    assert (await client.wait_for_group("g", timeout_s=0))["open"] == 0
    assert (await client.check_integrity(repair=False)).violations == ()


async def test_so_many_jobs_may_wait_for_one_and_no_more(client: JobClient) -> None:
    first = await client.enqueue(a_job(id="first"))
    answers = await client.enqueue_many([a_job(id=f"j{number}", prerequisites=(first,)) for number in range(10_001)])
    assert answers[:10_000] == [f"j{number}" for number in range(10_000)]
    assert isinstance(answers[10_000], QueueFull)
    assert "'first'" in str(answers[10_000])
    async with asyncio.timeout(5):
        await client.set_job_result(first, "")
    assert await pending(client) == 10_000
    assert await client.enqueue(a_job(prerequisites=(first,)))


async def test_a_job_that_is_only_stored_is_not_queued_by_another_with_its_key(client: JobClient) -> None:
    stored = a_job(id="stored", idempotency_key="k", delay_s=60)
    await client.store_job(stored)
    with pytest.raises(JobExists, match="'stored'"):
        await client.enqueue(a_job(idempotency_key="k"))
    await client.enqueue(stored)
    assert await client.get_job_status("stored") is JobStatus.SCHEDULED
    assert await client.enqueue(a_job(idempotency_key="k")) == "stored"
