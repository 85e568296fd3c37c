"""``check_integrity``: what is broken by hand is found and mended, and what is whole is not touched."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import CorruptRecord
from hero_supervisor.job import JobStatus
from tests.integration.queue.conftest import CRASH, a_job, end, take, take_ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold

    Break = Callable[[Redis, Callable[[str], str], Callable[[str], str]], Awaitable[Any]]


async def fill(client: JobClient, hold: Hold) -> None:
    """Make a job of each kind, with their kind as id."""
    holder = await hold("h")
    for job_id in ("finished", "failed", "dead", "taken", "stopping"):
        options = {"on_crash": "dead"} if job_id == "dead" else {}
        await client.enqueue(a_job(id=job_id, **options))
    claims = {claim.job_id: claim for claim in await take(holder, 5)}
    await end(holder, claims["finished"], "finished", "out")
    await end(holder, claims["failed"], "failed", "boom")
    await client.cancel_job("stopping")
    await client.enqueue(a_job(id="pending", priority=3, group="g"))
    await client.enqueue(a_job(id="delayed", delay_s=600))
    await client.enqueue(a_job(id="blocked", prerequisites=("pending", "delayed")))
    await client.enqueue(a_job(id="other", runner="other"))
    await client.store_job(a_job(id="created"))
    await client.store_job(a_job(id="of-nobody", runner=""))
    crashing = await hold("crashing")
    await client.set_job_status("pending", JobStatus.STARTED)
    await client.ledger.recover("calc", "crashing", CRASH)
    del crashing


#: What is broken, how, and what is found: kind and job.
BROKEN: dict[str, tuple[Break, set[tuple[str, str]]]] = {
    "a pending job is nowhere": (lambda r, q, j: r.zrem(q("pending"), "pending"), {("nowhere", "pending")}),
    "a delayed job is nowhere": (lambda r, q, j: r.zrem(q("delayed"), "delayed"), {("nowhere", "delayed")}),
    "a blocked job is nowhere": (lambda r, q, j: r.zrem(q("blocked"), "blocked"), {("nowhere", "blocked")}),
    "a taken job is not in the ledger": (
        lambda r, q, j: r.zrem(q("taken"), "taken"),
        {("nowhere", "taken"), ("held", "taken")},
    ),
    "a job that is being stopped is nowhere": (
        lambda r, q, j: r.zrem(q("taken"), "stopping"),
        {("nowhere", "stopping"), ("held", "stopping")},
    ),
    "a taken job is not its holder's": (lambda r, q, j: r.zrem(q("held:h"), "taken"), {("held", "taken")}),
    "a holder is gone": (
        lambda r, q, j: r.hdel(q("holders"), "h"),
        {("holder", "taken"), ("holder", "stopping"), ("holder", "dead")},
    ),
    "another's set has a job": (lambda r, q, j: r.zadd(q("held:x"), {"taken": 1}), {("held", "taken")}),
    "a job is pending twice": (lambda r, q, j: r.zadd(q("delayed"), {"pending": 1}), {("several", "pending")}),
    "a taken job is pending": (lambda r, q, j: r.zadd(q("pending"), {"taken": 1}), {("several", "taken")}),
    "an ended job is pending": (lambda r, q, j: r.zadd(q("pending"), {"finished": 1}), {("place", "finished")}),
    "an ended job is taken": (lambda r, q, j: r.zadd(q("taken"), {"failed": 1}), {("place", "failed")}),
    "an ended job is kept for ever": (lambda r, q, j: r.zrem(q("ended"), "finished"), {("ended", "finished")}),
    "an open job would be forgotten": (lambda r, q, j: r.zadd(q("ended"), {"taken": 1e15}), {("ended", "taken")}),
    "an open job is a dead letter": (lambda r, q, j: r.zadd(q("dead"), {"pending": 1}), {("ended", "pending")}),
    "a finished job is a dead letter": (lambda r, q, j: r.zadd(q("dead"), {"finished": 1}), {("dead", "finished")}),
    "a late writer ended a job": (
        lambda r, q, j: r.hset(j("pending"), mapping={"status": "finished", "output": "late"}),
        {("place", "pending"), ("end", "pending"), ("prerequisites", "blocked")},
    ),
    "a job is not in the index": (lambda r, q, j: r.zrem(q("jobs"), "pending"), {("index", "pending")}),
    "a created job is not in the index": (lambda r, q, j: r.zrem(q("jobs"), "created"), {("index", "created")}),
    "a job is in no set at all": (
        lambda r, q, j: asyncio.gather(r.zrem(q("jobs"), "pending"), r.zrem(q("pending"), "pending")),
        {("index", "pending"), ("nowhere", "pending")},
    ),
    "a record is gone": (lambda r, q, j: r.delete(j("pending")), {("record", "pending"), ("prerequisites", "blocked")}),
    "an id was never a job's": (lambda r, q, j: r.zadd(q("delayed"), {"phantom": 1e15}), {("record", "phantom")}),
    "a job is in another's queue": (lambda r, q, j: r.zadd(q("pending"), {"other": 1}), {("queue", "other")}),
    "a status is not that of its set": (
        lambda r, q, j: r.hset(j("delayed"), "status", "dispatched"),
        {("status", "delayed")},
    ),
    "a job waits for one that does not know": (
        lambda r, q, j: r.delete(q("").split("q:{")[0] + "dependents:pending"),
        {("prerequisites", "blocked")},
    ),
    "a job waits for too many": (lambda r, q, j: r.hset(j("blocked"), "unmet", 3), {("prerequisites", "blocked")}),
    "a group counts wrongly": (
        lambda r, q, j: r.hset(q("").split("q:{")[0] + "group:g", "open", 7),
        {("group", "")},
    ),
    "a group has lost its counts": (lambda r, q, j: r.delete(q("").split("q:{")[0] + "group:g"), {("group", "")}),
    "the pending ones are a text": (
        lambda r, q, j: r.set(q("pending"), "x"),
        {("key", "")},
    ),
    "the name of a queue is lost": (
        lambda r, q, j: r.delete(q("").split("q:{")[0] + "queues"),
        {("name", "")},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_broken_is_found_and_mended(client: JobClient, raw: Redis, hold: Hold, name: str) -> None:
    await fill(client, hold)
    report = await client.check_integrity(repair=False)
    assert (report.violations, report.jobs) == ((), 11)
    breaking, expected = BROKEN[name]
    await breaking(raw, lambda what: client.keys.queue("calc", what), client.keys.job)
    found = await client.check_integrity(repair=False)
    assert {(each.kind, each.job_id) for each in found.violations} == expected
    assert await client.check_integrity(repair=False) == found  # nothing was changed by looking
    mended = await client.check_integrity(repair=True)
    assert mended.found > 0  # mending one may have mended another
    after = await client.check_integrity(repair=False)
    assert after.violations == ()


async def test_a_job_that_was_nowhere_is_executed(client: JobClient, raw: Redis, hold: Hold) -> None:
    ids = [await client.enqueue(a_job(group="g")) for _ in range(3)]
    await raw.zrem(client.keys.queue("calc", "pending"), ids[0])
    await raw.zrem(client.keys.queue("calc", "jobs"), ids[1])
    await client.check_integrity(repair=True)
    assert await take_ids(await hold("h"), 5) == ids  # each where it stood
    assert len(await client.list_jobs()) == 3


async def test_a_queue_is_made_anew_from_its_jobs(client: JobClient, raw: Redis, hold: Hold) -> None:
    await fill(client, hold)
    for what in (
        "pending",
        "delayed",
        "blocked",
        "taken",
        "jobs",
        "ended",
        "dead",
        "holders",
        "counts",
        "last",
        "wake",
    ):
        await raw.delete(client.keys.queue("calc", what))
        await raw.set(client.keys.queue("calc", what), "broken")
    with pytest.raises(CorruptRecord):
        await client.enqueue(a_job())
    await client.check_integrity(repair=True)
    assert (await client.check_integrity(repair=False)).violations == ()
    assert len(await client.list_jobs()) == 11
    assert await raw.get(client.keys.queue("calc", "counts:set-aside")) == "broken"
    assert set(await take_ids(await hold("next"), 20)) == {"pending", "taken", "dead"}
    assert (await client.get_job_result("stopping")).status is JobStatus.CANCELLED


async def test_what_waited_for_a_lost_job_is_cancelled(client: JobClient, raw: Redis) -> None:
    first = await client.enqueue(a_job())
    job_id = await client.enqueue(a_job(prerequisites=(first,)))
    await raw.delete(client.keys.job(first))
    await client.check_integrity(repair=True)
    result = await client.get_job_result(job_id)
    assert (result.status, result.reason) == (JobStatus.CANCELLED, "prerequisite")


async def test_a_record_that_is_no_hash_stays_in_the_index(client: JobClient, raw: Redis) -> None:
    job_id = await client.enqueue(a_job())
    await raw.delete(client.keys.job(job_id))
    await raw.set(client.keys.job(job_id), "x")
    await client.check_integrity(repair=True)
    report = await client.check_integrity(repair=True)
    assert [(each.kind, each.job_id) for each in report.violations] == [("type", job_id)]
    assert [job.id for job in await client.list_jobs()] == [job_id]


async def test_jobs_that_go_on_meanwhile_are_no_faults(client: JobClient, hold: Hold) -> None:
    holder = await hold("h")
    await client.enqueue_many([a_job(group=f"g{number % 3}") for number in range(500)])
    is_over = False

    async def work() -> None:
        while not is_over:
            for claim in await take(holder, 20):
                await end(holder, claim, "finished")
            await client.enqueue_many([a_job(group="g1", delay_s=number % 2 / 100) for number in range(20)])

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        for _ in range(10):
            assert (await client.check_integrity(repair=True)).violations == ()
        is_over = True


async def test_jobs_of_odd_names_are_looked_at(client: JobClient, raw: Redis) -> None:
    for runner in ("{}", "a}:held:{b", "*?[x]", "é\n"):
        await client.enqueue(a_job(runner=runner, group=runner))
    await raw.hset(client.keys.job("foreign {é}"), mapping={"payload": "x", "status": "dispatched"})
    report = await client.check_integrity(repair=False)
    assert (report.jobs, report.violations) == (4, ())


async def test_names_that_are_no_text_are_left_alone(client: JobClient, raw: Redis, hold: Hold) -> None:
    await fill(client, hold)
    space = client.keys.namespace.encode()
    await raw.sadd(client.keys.queues, b"\xff")
    for key in (b":q:{\xff}:held:h", b":q:{\xff}:pending", b":q:{calc}:held:\xff", b":group:\xff"):
        await raw.set(space + key, "text")
    report = await client.check_integrity(repair=True)
    assert (report.jobs, report.violations) == (11, ())


async def test_a_ping_to_a_list_runner_is_no_job_and_no_fault(client: JobClient, raw: Redis) -> None:
    ping: dict[Any, Any] = {"id": "ping.r.1", "payload": "ping", "runner": "r", "status": "finished", "digest": ""}
    await raw.hset(client.keys.job("ping.r.1"), mapping=ping)
    assert (await client.check_integrity(repair=False)).is_sound
