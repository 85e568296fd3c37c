"""Which queues a sweep looks at: a real Redis, units in memory, and sweeps that come fast."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.errors import RedisUnavailable
from hero_supervisor.job import Job
from hero_supervisor.jobs import keeper
from hero_supervisor.queue.ledger import Ledger
from hero_supervisor.runner import Runner
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient
    from hero_supervisor.queue.ledger import QueueLook
    from hero_supervisor.supervisor import Supervisor
    from tests.supervisor_fixtures import Build

SWEEP_S = 0.02


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each queue was looked at."""
    counted: Counter[str] = Counter()
    look = Ledger.look

    async def counting(self: Ledger, runner: str, *, grace_s: float) -> QueueLook:
        counted[runner] += 1
        return await look(self, runner, grace_s=grace_s)

    monkeypatch.setattr(Ledger, "look", counting)
    monkeypatch.setattr(keeper, "SWEEP_S", SWEEP_S)
    return counted


@pytest.fixture
async def supervisor(build: Build, looks: Counter[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Supervisor]:
    """A supervisor with two runners, whose first sweeps are over."""
    monkeypatch.setattr(keeper, "SWEEPS_TO_ALL", 10**9)
    async with await build().build() as supervisor:
        for runner in ("busy", "resting"):
            await supervisor.add_runner(Runner(id=runner, command=("/bin/true",)))
        await asyncio.sleep(10 * SWEEP_S)
        looks.clear()
        yield supervisor


async def is_looked_at(looks: Counter[str]) -> None:
    await eventually(lambda: looks["busy"] > 5)
    assert looks["resting"] == 0


@pytest.mark.usefixtures("supervisor")
async def test_a_queue_with_a_job_is_looked_at_and_one_at_rest_is_not(client: JobClient, looks: Counter[str]) -> None:
    await client.enqueue(Job(id="a", payload="x", runner="busy", delay_s=100))
    await is_looked_at(looks)
    await client.cancel_job("a")
    await asyncio.sleep(5 * SWEEP_S)
    looks.clear()
    await asyncio.sleep(5 * SWEEP_S)
    assert not looks


@pytest.mark.usefixtures("supervisor")
async def test_a_queue_with_an_id_in_its_list_is_looked_at(raw: Redis, namespace: str, looks: Counter[str]) -> None:
    await raw.rpush(f"{namespace}:q:work:type:busy", "of nobody")
    await is_looked_at(looks)


async def test_all_are_looked_at_when_it_cannot_be_told(
    supervisor: Supervisor, looks: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> set[str]:
        raise RedisUnavailable("cannot use Redis: it is gone")

    monkeypatch.setattr(Ledger, "stirring", failing)
    await eventually(lambda: min(looks["busy"], looks["resting"]) > 2)
    assert supervisor


@pytest.mark.usefixtures("supervisor")
async def test_all_are_looked_at_now_and_then(looks: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "SWEEPS_TO_ALL", 2)
    await eventually(lambda: min(looks["busy"], looks["resting"]) > 2)
