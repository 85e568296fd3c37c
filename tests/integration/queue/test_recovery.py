"""What becomes of the jobs of a holder that is no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hero_supervisor.job import CrashPolicy, JobStatus
from tests.integration.queue.conftest import CRASH, REBOOT, a_job, end, pending, take, take_ids

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    from .conftest import Hold


async def test_the_jobs_of_a_dead_holder_go_back_to_where_they_stood(client: JobClient, hold: Hold) -> None:
    ids = [await client.enqueue(a_job()) for _ in range(4)]
    await take(await hold("dead"), 3)
    outcomes = await client.ledger.recover("calc", "dead", CRASH)
    assert outcomes == dict.fromkeys(ids[:3], JobStatus.DISPATCHED)
    assert await client.ledger.recover("calc", "dead", CRASH) == {}
    state = await client.get_job_state(ids[0])
    assert (state.status, state.holder, state.crashes, state.reason) == (JobStatus.DISPATCHED, "", 1, "signal")
    assert await take_ids(await hold("next"), 5) == ids


async def test_the_jobs_of_others_stay_where_they_are(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job())
    living = await hold("living")
    [claim] = await take(living)
    await hold("dead")
    assert await client.ledger.recover("calc", "dead", CRASH) == {}
    assert await end(living, claim, "finished", "x") == "ok"
    assert (await client.get_job_result(job_id)).result == "x"


async def test_a_death_that_is_not_the_jobs_doing_is_not_counted(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(on_crash=CrashPolicy.FAIL, max_crashes=0))
    for number in range(3):
        await take(await hold(f"h{number}"))
        assert await client.ledger.recover("calc", f"h{number}", REBOOT) == {job_id: JobStatus.DISPATCHED}
    state = await client.get_job_state(job_id)
    assert (state.attempt, state.crashes, state.reason) == (3, 0, "reboot")


async def test_a_job_that_kills_its_runners_becomes_a_dead_letter(client: JobClient, hold: Hold) -> None:
    job_id = await client.enqueue(a_job(max_crashes=2))
    for number in range(3):
        assert await client.get_job_status(job_id) is JobStatus.DISPATCHED
        await take(await hold(f"h{number}"))
        await client.ledger.recover("calc", f"h{number}", CRASH)
    result = await client.get_job_result(job_id)
    assert (result.status, result.error, result.reason) == (JobStatus.ERROR, CRASH.text, "signal")
    assert [letter.id for letter in await client.queues.dead("calc", limit=10)] == [job_id]
    assert await pending(client) == 0


@pytest.mark.parametrize(("policy", "letters"), [(CrashPolicy.FAIL, 0), (CrashPolicy.DEAD, 1)])
async def test_a_crash_policy_ends_the_job_at_once(
    client: JobClient, hold: Hold, policy: CrashPolicy, letters: int
) -> None:
    job_id = await client.enqueue(a_job(on_crash=policy))
    await take(await hold("h"))
    assert await client.ledger.recover("calc", "h", CRASH) == {job_id: JobStatus.ERROR}
    assert len(await client.queues.dead("calc", limit=10)) == letters


async def test_a_job_that_was_being_stopped_is_not_given_to_another(client: JobClient, hold: Hold) -> None:
    cancelled, overdue = await client.enqueue(a_job()), await client.enqueue(a_job(timeout=7))
    await take(await hold("h"), 2)
    assert not await client.cancel_job(cancelled)
    await client.stop_overdue(overdue)
    assert await client.ledger.recover("calc", "h", CRASH) == {
        cancelled: JobStatus.CANCELLED,
        overdue: JobStatus.ERROR,
    }
    assert "timed out after 7 s" in ((await client.get_job_result(overdue)).error or "")


async def test_a_look_tells_holders_overdue_jobs_and_those_being_stopped(
    client: JobClient, raw: Redis, hold: Hold
) -> None:
    ids = [await client.enqueue(a_job()) for _ in range(3)]
    await take(await hold("h"), 2)
    await raw.zadd(client.keys.queue("calc", "taken"), {ids[0]: 1})
    await client.cancel_job(ids[1])
    look = await client.ledger.look("calc", grace_s=5)
    assert {holder: record.unit for holder, record in look.holders.items()} == {"h": "h.service"}
    assert (look.overdue, look.stopping) == ((ids[0],), (ids[1],))
    assert (look.pending, look.taken, look.queued) == (1, 2, 3)
    assert look.oldest_at is not None


async def test_a_job_whose_hash_is_gone_does_not_stop_the_recovery(client: JobClient, raw: Redis, hold: Hold) -> None:
    ids = [await client.enqueue(a_job()) for _ in range(2)]
    await take(await hold("h"), 2)
    await raw.delete(client.keys.job(ids[0]))
    assert await client.ledger.recover("calc", "h", CRASH) == {ids[1]: JobStatus.DISPATCHED}
    assert (await client.queues.stats("calc")).taken == 0
