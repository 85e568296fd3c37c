"""A runner that takes ids from a list, played by the test, and what becomes of its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.job import Job, JobStatus
from hero_supervisor.runner import Runner
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient
    from hero_supervisor.job import JobState
    from hero_supervisor.supervisor import Supervisor

R = Runner(id="r", command=("/bin/true",))


class Process:
    """An unmodified runner, as far as Redis sees it."""

    def __init__(self, raw: Redis, namespace: str, queue: str) -> None:
        self.raw = raw
        self.namespace = namespace
        self.queue = queue

    def key(self, job_id: str) -> str:
        return f"{self.namespace}:job:{job_id}"

    async def pop(self, timeout_s: float = 2) -> str | None:
        taken = await self.raw.blpop([self.queue], timeout_s)
        return None if taken is None else str(taken[1])

    async def begin(self) -> str | None:
        job_id = await self.pop()
        if job_id is not None:
            await self.raw.hset(self.key(job_id), "status", "started")
        return job_id

    async def end(self, job_id: str, **fields: str) -> None:
        written: dict[Any, Any] = {"status": "finished", "output": "done", **fields}
        await self.raw.hset(self.key(job_id), mapping=written)

    async def listed(self) -> list[str]:
        ids: Any = await self.raw.lrange(self.queue, 0, -1)
        return list(ids)


@pytest.fixture
def process(raw: Redis, namespace: str) -> Process:
    return Process(raw, namespace, f"{namespace}:q:work:type:r")


@pytest.fixture
async def running(supervisor: Supervisor) -> Supervisor:
    """A supervisor whose runner 'r' runs."""
    await supervisor.add_runner(R)
    await supervisor.start_runner("r")
    return supervisor


async def queue(client: JobClient, *ids: str, **fields: Any) -> None:
    for job_id in ids:
        await client.enqueue(Job(**{"id": job_id, "payload": "x", "runner": "r", **fields}))


async def state_of(client: JobClient, job_id: str, status: JobStatus) -> JobState:
    """Wait until a job has a status, for us and not only in its hash."""

    async def is_there() -> bool:
        state = await client.get_job_state(job_id)
        return state.status is status and (not status.is_final or state.ended_at is not None)

    await eventually(is_there)
    return await client.get_job_state(job_id)


async def has(process: Process, *ids: str) -> None:
    """Wait until the list holds these ids."""

    async def is_so() -> bool:
        return await process.listed() == list(ids)

    await eventually(is_so)


async def unit_of(supervisor: Supervisor) -> str:
    return (await supervisor.get_runner_status("r")).unit


async def executing(client: JobClient, *ids: str) -> None:
    """Wait until the supervisor has seen that these jobs were taken from the list."""

    async def is_so() -> bool:
        return all([await client._store.redis.hexists(client.keys.job(job_id), "run") for job_id in ids])

    await eventually(is_so)
