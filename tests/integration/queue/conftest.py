"""For tests of the queue: a client, a plain connection as foreign programs have it, and holders of jobs."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.job import Job
from hero_supervisor.queue.claims import Claim, Claims, Ended, HolderRecord
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.ledger import Death

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient

    Hold = Callable[[str], Awaitable[Claims]]

CRASH = Death("signal", "its runner was killed by SIGSEGV", is_counted=True)
REBOOT = Death("reboot", "its host was started again", is_counted=False)


@pytest.fixture
async def hold(client: JobClient, redis_url: str) -> AsyncIterator[Hold]:
    """Give what makes a registered holder of jobs of the runner ``calc``."""
    async with AsyncExitStack() as stack:

        async def holder(name: str) -> Claims:
            claims = Claims(RedisServer.at(redis_url), client.keys, "calc", name)
            await stack.enter_async_context(aclosing(claims))
            await claims.register(HolderRecord(unit=f"{name}.service"))
            return claims

        yield holder


@pytest.fixture
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave waiters to what wakes them at once."""
    monkeypatch.setattr("hero_supervisor.queue.watch.SWEEP_S", 60)


def a_job(**fields: Any) -> Job:
    return Job(**{"payload": "print(1)", "runner": "calc", **fields})


async def take(holder: Claims, want: int = 1) -> list[Claim]:
    """Take jobs as a holder that has ended none."""
    return list((await holder.exchange([], want=want)).claims)


async def take_ids(holder: Claims, want: int = 1) -> list[str]:
    return [claim.job_id for claim in await take(holder, want)]


async def end(holder: Claims, claim: Claim, outcome: str = "finished", text: str = "") -> str:
    """End one attempt, and return the answer."""
    [answer] = (await holder.exchange([Ended(claim.job_id, claim.attempt, outcome, text)], want=0)).answers
    return answer


async def pending(client: JobClient, runner: str = "calc") -> int:
    return (await client.queues.stats(runner)).pending


async def make_due(raw: Redis, client: JobClient, *ids: str) -> None:
    """Let the time of delayed jobs have come."""
    for job_id in ids:
        await raw.zadd(client.keys.queue("calc", "delayed"), {job_id: 1}, xx=True)
