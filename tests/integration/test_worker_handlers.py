"""Handlers of the SDK on a real Redis: what they are given, and what becomes of what they return and raise."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import InvalidInput
from hero_supervisor.job import MAX_RESULT_BYTES, Job, JobStatus
from hero_supervisor.worker import GiveUp, JobContext, JobFailed, JobInterrupted, SoftTimeout, Worker
from tests.redis_fixtures import eventually
from tests.worker_fixtures import run, serving, status_is

if TYPE_CHECKING:
    from hero_supervisor.client import JobClient


@pytest.fixture
def worker(redis_url: str, namespace: str) -> Worker:
    return Worker("r", redis_url=redis_url, namespace=namespace, concurrency=4, stop_grace_s=0.2)


async def test_a_handler_knows_its_job(client: JobClient, worker: Worker) -> None:
    seen: dict[str, Any] = {}

    @worker.executor("look")
    async def look(ctx: JobContext) -> None:
        seen.update({name: getattr(ctx, name) for name in ("job_id", "attempt", "payload", "caller_id", "context_id")})
        seen.update(env_vars=ctx.env_vars, labels=ctx.labels, is_cancelled=ctx.cancelled.is_set())
        seen["has_time"] = 8 < ctx.remaining_s <= 10
        ctx.check()

    fields: dict[str, Any] = {
        "id": "j",
        "caller_id": "me",
        "context_id": "c",
        "env_vars": {"A": "1"},
        "labels": {"l": "v"},
    }
    async with serving(worker):
        result = await run(client, "do", timeout=10, **fields)
    assert (result.status, result.result) == (JobStatus.FINISHED, "")
    mine = {"job_id": "j", "attempt": 1, "payload": "do", "caller_id": "me", "context_id": "c", "has_time": True}
    assert seen == {**mine, "env_vars": {"A": "1"}, "labels": {"l": "v"}, "is_cancelled": False}


@pytest.mark.parametrize(
    ("value", "text"),
    [("text", "text"), ("", ""), (None, ""), ({"a": [1, None, True]}, '{"a":[1,null,true]}'), (1.5, "1.5"), ([], "[]")],
)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_what_a_handler_returns_is_the_result(
    client: JobClient, worker: Worker, kind: str, value: object, text: str
) -> None:
    async def handler(_: JobContext) -> object:
        return value

    def in_a_thread(_: JobContext) -> object:
        assert threading.current_thread() is not threading.main_thread()
        return value

    worker.executor("give")(handler if kind == "async" else in_a_thread)
    async with serving(worker):
        assert (await run(client)).result == text


async def test_a_result_that_cannot_be_stored_is_an_error_that_no_retry_mends(
    client: JobClient, worker: Worker
) -> None:
    @worker.executor("give")
    async def give(ctx: JobContext) -> object:
        return {"object": object(), "large": ["x" * MAX_RESULT_BYTES]}[ctx.payload]

    async with serving(worker):
        for payload in ("object", "large"):
            result = await run(client, payload, max_retries=5)
            assert result.status is JobStatus.ERROR
            assert (result.error or "").startswith("cannot store the result: ")
            assert (await client.get_job_state(result.job_id)).attempt == 1


async def test_a_text_that_is_too_long_is_cut(client: JobClient, worker: Worker) -> None:
    @worker.executor("give")
    async def give(_: JobContext) -> str:
        return "ü" * MAX_RESULT_BYTES

    async with serving(worker):
        text = (await run(client)).result or ""
    assert text.endswith("cut here: more than is kept")
    assert len(text.encode()) <= MAX_RESULT_BYTES


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_exception_is_the_error_and_the_job_is_tried_again(
    client: JobClient, worker: Worker, kind: str
) -> None:
    def fail(ctx: JobContext) -> str:
        if ctx.attempt < 3:
            raise ValueError(f"boom {ctx.attempt}")
        return f"attempt {ctx.attempt}"

    async def fail_too(ctx: JobContext) -> str:
        return fail(ctx)

    worker.executor("fail")(fail_too if kind == "async" else fail)
    async with serving(worker):
        assert (await run(client, max_retries=2, retry_delay_s=0.01)).result == "attempt 3"
        error = (await run(client)).error or ""
    lines = error.splitlines()
    assert lines[0] == "ValueError: boom 1"
    assert "in fail\n" in error
    assert "worker/attempt.py" not in error  # nobody wants to read about us
    assert "concurrent/futures" not in error


async def test_giving_up_is_not_tried_again(client: JobClient, worker: Worker) -> None:
    @worker.executor("fail")
    async def fail(_: JobContext) -> None:
        raise GiveUp("no such customer")

    async with serving(worker):
        result = await run(client, max_retries=5, retry_delay_s=0.01)
        assert (result.status, result.error) == (JobStatus.ERROR, "no such customer")
        assert (await client.get_job_state(result.job_id)).attempt == 1


@pytest.mark.parametrize(
    ("exception", "error"),
    [
        (JobFailed("as it is"), "as it is"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError"),
        (ValueError("x" * 100_000), "ValueError: xx"),
    ],
    ids=["failed", "exit", "cancelled", "long"],
)
async def test_whatever_a_handler_raises_ends_its_job_only(
    client: JobClient, worker: Worker, exception: BaseException, error: str
) -> None:
    @worker.executor("fail")
    async def fail(ctx: JobContext) -> str:
        if ctx.payload == "raise":
            raise exception
        return "well"

    async with serving(worker):
        result = await run(client, "raise")
        assert (result.status, (result.error or "")[: len(error)]) == (JobStatus.ERROR, error)
        assert len(result.error or "") < 16_000
        assert (await run(client)).result == "well"


async def test_an_unknown_executor_is_told_with_those_that_are_known(client: JobClient, worker: Worker) -> None:
    for name in ("one", "two"):
        worker.executor(name)(lambda _: None)
    async with serving(worker):
        unknown = await run(client, executor="three", max_retries=5)
        assert unknown.error == "cannot execute: no executor 'three'; known are: one, two"
        assert (await run(client)).error == "cannot execute: the job names no executor; known are: one, two"
        assert (await run(client, executor="two")).status is JobStatus.FINISHED


async def test_every_worker_answers_a_ping(client: JobClient, worker: Worker) -> None:
    async with serving(worker):
        assert (await run(client, "ping")).result == "pong"


async def test_as_many_handlers_run_at_once_as_was_said(client: JobClient, worker: Worker) -> None:
    running, most, go = 0, 0, asyncio.Event()

    @worker.executor("count")
    async def count(_: JobContext) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 4:
            go.set()
        await go.wait()
        await asyncio.sleep(0)
        running -= 1

    jobs = [Job(runner="r", payload="") for _ in range(40)]
    await client.enqueue_many(jobs)
    async with serving(worker):
        await asyncio.gather(*(client.wait_for_result(job.id, timeout_s=10) for job in jobs))
    assert most == 4


# -- being broken off ----------------------------------------------------------------------------------------------


async def test_a_handler_that_waits_is_cancelled(client: JobClient, worker: Worker) -> None:
    cleaned = asyncio.Event()

    @worker.executor("wait")
    async def wait(_: JobContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async with serving(worker):
        job_id = await client.enqueue(Job(runner="r", payload="", max_retries=5))
        await status_is(client, job_id, JobStatus.STARTED)
        await client.cancel_job(job_id)
        result = await client.wait_for_result(job_id, timeout_s=5)
        assert (result.status, result.reason) == (JobStatus.CANCELLED, "cancelled")
        assert cleaned.is_set()


async def test_a_handler_in_a_thread_can_see_that_it_is_cancelled(client: JobClient, worker: Worker) -> None:
    @worker.executor("wait")
    def wait(ctx: JobContext) -> None:
        assert ctx.cancelled.wait(10)
        with pytest.raises(JobInterrupted, match="cancelled"):
            ctx.check()
        ctx.check()

    async with serving(worker):
        job_id = await client.enqueue(Job(runner="r", payload=""))
        await status_is(client, job_id, JobStatus.STARTED)
        await client.cancel_job(job_id)
        assert (await client.wait_for_result(job_id, timeout_s=5)).status is JobStatus.CANCELLED


async def test_what_ends_well_before_it_sees_its_cancellation_has_a_result(client: JobClient, worker: Worker) -> None:
    @worker.executor("wait")
    def wait(ctx: JobContext) -> str:
        assert ctx.cancelled.wait(10)
        return "done all the same"

    async with serving(worker):
        job_id = await client.enqueue(Job(runner="r", payload=""))
        await status_is(client, job_id, JobStatus.STARTED)
        await client.cancel_job(job_id)
        assert (await client.wait_for_result(job_id, timeout_s=5)).result == "done all the same"


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_hard_timeout_is_an_error(client: JobClient, worker: Worker, kind: str) -> None:
    async def wait(_: JobContext) -> None:
        await asyncio.Event().wait()

    def wait_in_a_thread(ctx: JobContext) -> str:
        assert ctx.cancelled.wait(10)
        return "too late"

    worker.executor("wait")(wait if kind == "async" else wait_in_a_thread)
    async with serving(worker):
        result = await run(client, timeout=1)
        assert (result.status, result.error) == (JobStatus.ERROR, "timed out after 1 s")


async def test_a_soft_timeout_is_raised_where_the_handler_waits(client: JobClient, worker: Worker) -> None:
    @worker.executor("wait")
    async def wait(ctx: JobContext) -> str:
        match ctx.payload:
            case "heed":
                try:
                    await asyncio.sleep(60)
                except SoftTimeout:
                    await asyncio.sleep(0.01)  # it may go on to wait
                    assert ctx.cancelled.is_set()
                    return "partly"
            case "group":
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(asyncio.sleep(60))
                    await asyncio.sleep(60)
            case "inner timeout":
                async with asyncio.timeout(60):
                    await asyncio.sleep(60)
        return "never"

    async with serving(worker):
        heeded = await run(client, "heed", timeout=30, soft_timeout=1)
        others = [await run(client, payload, timeout=30, soft_timeout=1) for payload in ("group", "inner timeout")]
        again = await run(client, "none", timeout=30, soft_timeout=29)
    assert heeded.result == "partly"
    assert {other.error for other in others} == {"timed out after 1 s (soft timeout)"}
    assert again.result == "never"


async def test_a_handler_in_a_thread_checks_its_soft_timeout(client: JobClient, worker: Worker) -> None:
    @worker.executor("wait")
    def wait(ctx: JobContext) -> None:
        assert ctx.cancelled.wait(10)
        ctx.check()

    async with serving(worker):
        result = await run(client, timeout=30, soft_timeout=1)
        assert result.error == "timed out after 1 s (soft timeout)"


async def test_a_handler_that_ignores_the_soft_timeout_meets_the_hard_one(client: JobClient, worker: Worker) -> None:
    @worker.executor("wait")
    async def wait(_: JobContext) -> None:
        while True:
            with contextlib.suppress(SoftTimeout):
                await asyncio.sleep(60)

    async with serving(worker):
        assert (await run(client, timeout=2, soft_timeout=1)).error == "timed out after 2 s"


# -- progress ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_progress_can_be_read_while_the_job_runs(client: JobClient, worker: Worker, kind: str) -> None:
    go = threading.Event()

    def work(ctx: JobContext) -> None:
        for number in range(10_000):
            ctx.progress({"done": number})
        assert go.wait(10)

    async def work_in_loop(ctx: JobContext) -> None:
        ctx.progress({"done": 9_999})
        await eventually(go.is_set)

    worker.executor("work")(work if kind == "sync" else work_in_loop)
    async with serving(worker):
        job_id = await client.enqueue(Job(runner="r", payload=""))

        async def is_told() -> bool:
            return bool((await client.get_job_state(job_id)).progress == {"done": 9_999})

        async with asyncio.timeout(2):  # before the next regular sign of life
            await eventually(is_told)
        go.set()
        await client.wait_for_result(job_id, timeout_s=5)


@pytest.mark.parametrize("value", [object(), "x" * 4095])
async def test_progress_that_cannot_be_stored_is_refused(client: JobClient, worker: Worker, value: object) -> None:
    @worker.executor("work")
    async def work(ctx: JobContext) -> str:
        with pytest.raises(InvalidInput, match="progress: "):
            ctx.progress(value)
        return json.dumps("refused")

    async with serving(worker):
        assert (await run(client)).result == '"refused"'
