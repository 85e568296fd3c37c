"""What other clients push to the list of a runner: a real Redis, with units in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.job import JobStatus
from hero_supervisor.runner import Executor, Runner
from tests.listed_fixtures import Process, has, queue, state_of, unit_of
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from hero_supervisor.client import JobClient
    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.testing import InMemoryProcessManager


async def push(process: Process, job_id: str, **fields: str) -> None:
    """Queue a job as the original's clients do."""
    job: dict[Any, Any] = {"id": job_id, "payload": "x", "timeout": "60", **fields}
    await process.raw.hset(process.key(job_id), mapping=job)
    await process.raw.lpush(process.queue, job_id)


async def test_what_others_push_becomes_a_job_like_any_other(
    running: Supervisor, client: JobClient, process: Process
) -> None:
    for number in range(5):
        await push(process, f"f{number}")

    async def is_known() -> bool:
        return len(await client.list_jobs()) == 5

    await eventually(is_known)
    taken = []
    for _ in range(5):
        taken.append(await process.begin() or "")
        await process.end(taken[-1], output="done")
    assert sorted(taken) == [f"f{number}" for number in range(5)]
    await state_of(client, "f4", JobStatus.FINISHED)
    assert await process.raw.lrange(client.keys.reply_queue("f4"), 0, -1) == ["done"]


async def test_what_others_push_is_known_also_when_it_is_taken_at_once(
    running: Supervisor, client: JobClient, process: Process, processes: InMemoryProcessManager
) -> None:
    await process.raw.hset(process.key("f"), mapping={"id": "f", "payload": "x", "runner": "r"})
    await process.raw.hset(process.key("f"), "status", "started")  # its push and its pop were one moment

    async def is_known() -> bool:
        running._keeper.look_at("r")
        return [job.id for job in await client.list_jobs()] == ["f"]

    await eventually(is_known)
    processes.end(await unit_of(running))
    await has(process, "f")


async def test_what_others_push_for_a_runner_that_claims_its_jobs_is_queued(
    running: Supervisor, client: JobClient, process: Process
) -> None:
    await running.add_runner(Runner(id="c", executor=Executor.SHELL))
    running._keeper.look_at("c")
    other = Process(process.raw, process.namespace, f"{process.namespace}:q:work:type:c")
    await push(other, "f")
    await has(other)
    await state_of(client, "f", JobStatus.DISPATCHED)
    assert (await client.get_job_state("f")).runner == "c"


async def test_a_job_that_is_pushed_once_more_by_hand_is_executed_once(
    running: Supervisor, client: JobClient, process: Process
) -> None:
    await queue(client, "a", "b", "c")
    await has(process, "a", "b")
    await process.raw.rpush(process.queue, "c", "a")
    await has(process, "a", "b")


async def test_more_than_are_looked_at_in_one_call_are_all_queued(
    running: Supervisor, client: JobClient, process: Process
) -> None:
    await queue(client, "a")
    await has(process, "a")
    async with process.raw.pipeline() as pipeline:
        for number in range(2500):
            pipeline.hset(process.key(f"f{number}"), mapping={"id": f"f{number}", "payload": "x"})
        pipeline.lpush(process.queue, *[f"f{number}" for number in range(2500)])
        await pipeline.execute()

    async def are_queued() -> bool:
        return await client._store.redis.zcard(client.keys.queue("r", "pending")) == 2499

    await eventually(are_queued)
    assert len(await process.listed()) == 2
    assert (await client.get_job_state("a")).crashes == 0


@pytest.mark.parametrize("is_held", [True, False])
async def test_what_is_no_job_harms_nobody(
    running: Supervisor, client: JobClient, process: Process, is_held: bool
) -> None:
    await queue(client, "a")
    await has(process, "a")
    if is_held:
        await process.raw.delete(process.key("a"))
    await process.raw.set(process.key("a" if is_held else "text"), "no hash")
    await process.raw.rpush(process.queue, "text", "nobody", "x" * 100_000, "\x00{}", "")
    await push(process, "f", priority="nan", place="inf", attempt="many", timeout="-inf", max_retries="x", due="?")
    await queue(client, "b")

    async def is_left() -> bool:
        pending: Any = await client._store.redis.zrange(client.keys.queue("r", "pending"), 0, -1)
        return {"f", "b"} <= {*await process.listed(), *(each.decode() for each in pending)}

    await eventually(is_left)
    for _ in range(20):
        job_id = await process.pop(0.2)
        if job_id in {"f", "b"}:
            await process.end(job_id)
    await state_of(client, "f", JobStatus.FINISHED)
    await state_of(client, "b", JobStatus.FINISHED)
