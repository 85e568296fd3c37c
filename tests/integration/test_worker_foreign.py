"""The bundled worker and what others write into Redis: foreign clients, bad records, vanished jobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.job import Job, JobStatus
from tests.redis_fixtures import eventually
from tests.worker_fixtures import run, status_is

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient
    from tests.worker_fixtures import StartRunner


async def test_a_job_of_a_foreign_client_runs(client: JobClient, start_runner: StartRunner, raw: Redis) -> None:
    start_runner()
    fields = {"id": "f", "caller_id": "c", "context_id": "x", "payload": "print(1)", "status": "dispatched"}
    for name, value in fields.items():
        await raw.hset(client.keys.job("f"), name, value)
    await raw.lpush(client.keys.work_queue("r"), "f")
    reply = await raw.blpop([client.keys.reply_queue("f")], 10)
    assert reply
    assert reply[1] == "1\n"
    assert await raw.hmget(client.keys.job("f"), ["status", "output", "error"]) == ["finished", "1\n", None]


async def test_the_reply_to_a_foreign_client_expires(client: JobClient, start_runner: StartRunner, raw: Redis) -> None:
    start_runner()
    await raw.hset(client.keys.job("f"), mapping={"payload": "ping"})
    await raw.rpush(client.keys.work_queue("r"), "f")
    await status_is(client, "f", JobStatus.FINISHED)
    assert await raw.lrange(client.keys.reply_queue("f"), 0, -1) == ["pong"]
    assert 3590 < await raw.ttl(client.keys.reply_queue("f")) <= 3600


async def test_another_list_is_served_when_it_is_named(
    client: JobClient, start_runner: StartRunner, raw: Redis
) -> None:
    queue = f"{client.keys.namespace}:mine"
    start_runner("--queue", queue)
    await raw.hset(client.keys.job("a"), mapping={"payload": "print(1)"})
    await raw.rpush(queue, "a")
    assert (await client.wait_for_result("a", timeout_s=10)).result == "1\n"


async def test_bad_ids_and_records_do_not_stop_the_runner(
    client: JobClient, start_runner: StartRunner, raw: Redis
) -> None:
    queue = client.keys.work_queue("r")
    await raw.hset(client.keys.job("corrupt"), mapping={"payload": "print(1)", "timeout": "soon"})
    await raw.set(client.keys.job("text"), "not a hash")
    await raw.hset(client.keys.job("no-payload"), mapping={"status": "dispatched"})
    bad: list[Any] = ["gone", "corrupt", "text", b"\xff\x00", "", "no-payload"]
    await raw.rpush(queue, *bad)
    start_runner()
    assert (await run(client, "print(1)")).result == "1\n"
    await status_is(client, "corrupt", JobStatus.ERROR)
    assert "timeout" in ((await client.get_job_result("corrupt")).error or "")
    await status_is(client, "no-payload", JobStatus.ERROR)
    assert not await raw.exists(client.keys.job("gone"))


@pytest.mark.parametrize("status", ["finished", "error"])
async def test_a_job_that_has_ended_is_not_run_again(
    client: JobClient, start_runner: StartRunner, raw: Redis, tmp_path: Path, status: str
) -> None:
    await raw.hset(client.keys.job("old"), mapping={"payload": f"open('{tmp_path}/ran', 'w')", "status": status})
    await raw.rpush(client.keys.work_queue("r"), "old")
    start_runner()
    await run(client, "print(1)")
    assert not (tmp_path / "ran").exists()
    assert not await raw.exists(client.keys.reply_queue("old"))


async def test_a_job_deleted_while_it_runs_is_not_made_again(
    client: JobClient, start_runner: StartRunner, raw: Redis, tmp_path: Path
) -> None:
    start_runner("--executor", "shell")
    await client.enqueue(Job(id="a", runner="r", payload=f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"))
    await status_is(client, "a", JobStatus.STARTED)
    await raw.delete(client.keys.job("a"))
    (tmp_path / "go").touch()
    assert (await run(client, "echo next")).result == "next\n"
    assert not await raw.exists(client.keys.job("a"))


async def test_a_foreign_job_is_taken_while_the_worker_is_busy_and_idle(
    client: JobClient, start_runner: StartRunner, raw: Redis, tmp_path: Path
) -> None:
    start_runner("--executor", "shell", HERO_CONCURRENCY="2")
    await client.enqueue(Job(id="long", runner="r", payload=f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"))
    await status_is(client, "long", JobStatus.STARTED)
    for job_id in ("f1", "f2", "f3"):
        await raw.hset(client.keys.job(job_id), mapping={"payload": f"echo {job_id}"})
        await raw.lpush(client.keys.work_queue("r"), job_id)
        async with asyncio.timeout(2):  # far less than the time after which it looks by itself
            await status_is(client, job_id, JobStatus.FINISHED)
    (tmp_path / "go").touch()


async def test_a_job_whose_record_became_something_else_holds_up_no_other(
    client: JobClient, start_runner: StartRunner, raw: Redis, tmp_path: Path
) -> None:
    start_runner("--executor", "shell", HERO_CONCURRENCY="2")
    for job_id in ("spoilt", "good"):
        payload = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo done"
        await client.enqueue(Job(id=job_id, runner="r", payload=payload))
        await status_is(client, job_id, JobStatus.STARTED)
    await client.enqueue(Job(id="waits", runner="r", payload="echo waits"))
    for job_id in ("spoilt", "waits"):
        await raw.delete(client.keys.job(job_id))
        await raw.set(client.keys.job(job_id), "not a hash")
    (tmp_path / "go").touch()
    assert (await client.wait_for_result("good", timeout_s=5)).result == "done\n"
    assert (await run(client, "echo next")).result == "next\n"

    async def nothing_is_taken() -> bool:
        return (await client.ledger.look("r", grace_s=60)).taken == 0

    await eventually(nothing_is_taken)
