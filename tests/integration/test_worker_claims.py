"""The loop of the SDK when calls are lost, late, or refused: races that are built."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import HolderFenced, RedisUnavailable
from hero_supervisor.job import Job, JobStatus
from hero_supervisor.queue.claims import FINISHED, Claims, Ended, HolderRecord
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.ledger import Death
from hero_supervisor.worker import JobContext, StopRequest, Worker
from tests.redis_fixtures import eventually
from tests.worker_fixtures import run, serving, status_is, waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient
    from hero_supervisor.queue.claims import Exchange


@pytest.fixture
def worker(redis_url: str, namespace: str) -> Worker:
    return Worker("r", redis_url=redis_url, namespace=namespace, concurrency=2, stop_grace_s=0.2)


@pytest.fixture
async def claims(client: JobClient, redis_url: str) -> AsyncIterator[Claims]:
    claims = Claims(RedisServer.at(redis_url), client.keys, "r", "h")
    await claims.register(HolderRecord())
    yield claims
    await claims.aclose()


def lose_answers(monkeypatch: pytest.MonkeyPatch, which: set[int]) -> list[bool]:
    """Have calls executed whose answers get lost, by their numbers from 0; returns ``is_again`` of all calls."""
    exchange, calls = Claims.exchange, list[bool]()

    async def lossy(self: Claims, ended: Sequence[Ended], *, want: int, is_again: bool = False) -> Exchange:
        number = len(calls)
        calls.append(is_again)
        answer = await exchange(self, ended, want=want, is_again=is_again)
        if number in which and (answer.claims or ended):
            raise RedisUnavailable("cannot use Redis: the answer was lost")
        if number in which:
            which.add(number + 1)  # nothing was in it; the next one then
        return answer

    monkeypatch.setattr(Claims, "exchange", lossy)
    return calls


@pytest.mark.parametrize("number", range(5))
async def test_a_job_runs_once_whichever_answer_is_lost(
    client: JobClient, worker: Worker, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    runs: list[str] = []

    @worker.executor("note")
    async def note(ctx: JobContext) -> None:
        runs.append(ctx.job_id)
        await asyncio.sleep(0.001)

    calls = lose_answers(monkeypatch, {number})
    jobs = [Job(runner="r", payload="") for _ in range(6)]
    await client.enqueue_many(jobs)
    async with serving(worker):
        results = await asyncio.gather(*(client.wait_for_result(job.id, timeout_s=10) for job in jobs))
    assert {result.status for result in results} == {JobStatus.FINISHED}
    assert sorted(runs) == sorted(job.id for job in jobs)
    assert calls.count(True) == 2  # the first call, and the one after the loss


async def test_what_ends_while_all_jobs_are_asked_for_is_not_begun_again(
    client: JobClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, go = [], asyncio.Event()

    @worker.executor("note")
    async def note(ctx: JobContext) -> None:
        runs.append(ctx.job_id)
        await go.wait()

    exchange = Claims.exchange

    async def slow(self: Claims, ended: Sequence[Ended], *, want: int, is_again: bool = False) -> Exchange:
        answer = await exchange(self, ended, want=want, is_again=is_again)
        if runs and is_again:
            go.set()  # it ends now, and is in the answer as one that we have
            await asyncio.sleep(0.05)
        return answer

    monkeypatch.setattr(Claims, "exchange", slow)
    async with serving(worker):
        job_id = await client.enqueue(Job(runner="r", payload=""))
        await eventually(lambda: bool(runs))
        # For a job that it does not know, the worker asks what it has.
        await client._store.redis.rpush(client.keys.queue("r", f"control:{worker.options.holder}"), "cancel unknown")
        assert (await client.wait_for_result(job_id, timeout_s=5)).status is JobStatus.FINISHED
        assert (await run(client)).status is JobStatus.FINISHED
    assert len(runs) == len(set(runs)) == 2


async def test_a_call_that_arrives_after_it_was_given_up_changes_nothing(
    client: JobClient, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.enqueue_many([Job(id="a", runner="r", payload=""), Job(id="b", runner="r", payload="")])
    [first] = (await claims.exchange([], want=1, is_again=True)).claims
    given_up = claims._word
    await claims.exchange([], want=0, is_again=True)
    current = claims._word
    monkeypatch.setattr(claims, "_word", given_up)
    late = await claims._scripts.run("exchange", "r", "h", 1, 0, given_up, 1, first.job_id, 1, FINISHED, "late")
    assert late == b"late"
    monkeypatch.setattr(claims, "_word", current)
    assert await client.get_job_status("a") is JobStatus.STARTED
    assert await waiting(client) == 1
    assert (await claims.exchange([Ended("a", 1, FINISHED, "")], want=0)).answers == ("ok",)


async def test_a_late_call_for_everything_makes_the_next_one_ask_again(client: JobClient, claims: Claims) -> None:
    await client.enqueue(Job(id="a", runner="r", payload=""))
    await claims.exchange([], want=0, is_again=True)
    await claims._scripts.run("exchange", "r", "h", 1, 1, "another word", 0)
    [lost] = (await claims.exchange([], want=1)).claims
    assert (lost.job_id, lost.attempt) == ("a", 1)


async def test_a_word_is_heard_again_until_it_is_forgotten(client: JobClient, claims: Claims) -> None:
    await client.enqueue(Job(id="a", runner="r", payload=""))
    await claims.exchange([], want=1, is_again=True)
    await client.cancel_job("a")
    assert [await claims.wait_for_word(block_s=1) for _ in range(2)] == ["cancel a"] * 2
    await claims.forget_word("cancel a")
    assert await claims.wait_for_word(block_s=0.01) is None


async def test_a_cancellation_that_comes_before_its_job_is_kept(
    client: JobClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []

    @worker.executor("note")
    async def note(ctx: JobContext) -> None:
        began.append(ctx.job_id)

    exchange, is_cancelled = Claims.exchange, asyncio.Event()

    async def slow(self: Claims, ended: Sequence[Ended], *, want: int, is_again: bool = False) -> Exchange:
        answer = await exchange(self, ended, want=want, is_again=is_again)
        if answer.claims and not is_cancelled.is_set():
            is_cancelled.set()
            await client.cancel_job(answer.claims[0].job_id)
            await eventually(lambda: control_is_empty(client, worker))
        return answer

    monkeypatch.setattr(Claims, "exchange", slow)
    async with serving(worker):
        result = await run(client)
    assert (result.status, began) == (JobStatus.CANCELLED, [])


async def control_is_empty(client: JobClient, worker: Worker) -> bool:
    return not await client.key_exists(client.keys.queue("r", f"control:{worker.options.holder}"))


async def test_jobs_that_come_with_the_stop_go_back(
    client: JobClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, exchange = StopRequest(), Claims.exchange
    worker.executor("fail")(lambda _: pytest.fail("a job was begun"))

    async def and_stop(self: Claims, *args: Any, **options: Any) -> Exchange:
        answer = await exchange(self, *args, **options)
        if answer.claims:
            stop.make()
        return answer

    monkeypatch.setattr(Claims, "exchange", and_stop)
    await client.enqueue_many([Job(runner="r", payload="") for _ in range(3)])
    await worker.serve(stop)
    assert await waiting(client) == 3


async def test_a_worker_that_was_taken_for_dead_breaks_all_off_and_says_so(client: JobClient, worker: Worker) -> None:
    ended: list[str] = []

    @worker.executor("wait")
    async def wait(ctx: JobContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(ctx.job_id)

    serve = asyncio.create_task(worker.serve(StopRequest()))
    await client.enqueue(Job(id="a", runner="r", payload=""))
    await status_is(client, "a", JobStatus.STARTED)
    death = Death("exit", "its runner ended", is_counted=True)
    await client.ledger.recover("r", worker.options.holder, death)
    with pytest.raises(HolderFenced):
        async with asyncio.timeout(10):  # its next sign of life
            await serve
    assert ended == ["a"]
    assert await client.get_job_status("a") is JobStatus.DISPATCHED


async def test_a_worker_that_gets_the_word_and_has_no_slot_passes_it_on(
    client: JobClient, worker: Worker, raw: Redis, redis_url: str, namespace: str
) -> None:
    go = {name: asyncio.Event() for name in ("first", "second", "third", "last")}

    async def wait(ctx: JobContext) -> None:
        await go[ctx.payload].wait()

    async def queue(*names: str) -> None:
        await client.enqueue_many([Job(id=name, runner="r", payload=name) for name in names])

    async def listeners() -> int:
        wake = client.keys.queue("r", "wake")
        blocked = [each["cmd"] for each in await raw.client_list()].count("blpop")
        return -1 if await raw.exists(wake) else blocked

    other = Worker("r", redis_url=redis_url, namespace=namespace, concurrency=1, stop_grace_s=5)
    for each in (worker, other):
        each.executor("wait")(wait)
    async with serving(worker):
        await queue("first")
        await status_is(client, "first", JobStatus.STARTED)
        await raw.hset(client.keys.settings("r"), "is_paused", "1")
        await queue("second", "third")
        await eventually(lambda: is_number(listeners(), 1))
        # What ends now brings two jobs, while the worker still listens for the word.
        await raw.hdel(client.keys.settings("r"), "is_paused")
        go["first"].set()
        await status_is(client, "third", JobStatus.STARTED)
        async with serving(other):
            await eventually(lambda: is_number(listeners(), 2))
            await queue("last")
            async with asyncio.timeout(2):  # less than the time after which workers look by themselves
                await status_is(client, "last", JobStatus.STARTED)
            for event in go.values():
                event.set()
            await client.wait_for_result("last", timeout_s=5)


async def is_number(found: Awaitable[int], number: int) -> bool:
    return await found == number


async def test_what_a_former_process_of_the_same_name_had_is_taken_up(
    client: JobClient, redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch, claims: Claims
) -> None:
    await client.enqueue(Job(id="a", runner="r", payload=""))
    await claims.exchange([], want=1, is_again=True)
    monkeypatch.setenv("INVOCATION_ID", "h")
    monkeypatch.setenv("HERO_UNIT", "hero-runner-r.service")
    worker = Worker("r", redis_url=redis_url, namespace=namespace)
    worker.executor("note")(lambda ctx: ctx.attempt)
    async with serving(worker):
        assert (await client.wait_for_result("a", timeout_s=5)).result == "1"


async def test_a_worker_that_nobody_watches_leaves_nothing_of_itself(
    client: JobClient, worker: Worker, raw: Redis
) -> None:
    @worker.executor("wait")
    async def wait(_: JobContext) -> None:
        await asyncio.Event().wait()

    async with serving(worker):
        job_id = await client.enqueue(Job(runner="r", payload=""))
        await status_is(client, job_id, JobStatus.STARTED)
    assert await client.get_job_status(job_id) is JobStatus.DISPATCHED
    for what in ("holders", "beats", "words", f"held:{worker.options.holder}", "taken"):
        assert not await raw.exists(client.keys.queue("r", what)), what
