"""Heartbeats in a real Redis: a prober sees a runner fall silent, and does not take an outage of Redis for that."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from hero_supervisor.client import JobClient
from hero_supervisor.definition.probe import Probe
from hero_supervisor.probing import Checker, Health, Prober, Verdict
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_fixtures import RedisProcess

PROBE = Probe(heartbeat="app:alive", interval_s=0.1, failure_threshold=2)


@asynccontextmanager
async def probing(redis_url: str, changes: list[Health]) -> AsyncIterator[Prober]:
    """Probe the heartbeat, and collect the changes."""

    async def run_command(*_: object) -> tuple[int, str]:
        raise AssertionError

    async with JobClient.connect(redis_url) as jobs:
        checker = Checker(run_command=run_command, key_exists=jobs.key_exists)
        prober = Prober(PROBE, checker, changes.append)
        task = asyncio.create_task(prober.run())
        yield prober
        task.cancel()
        await asyncio.wait([task])


async def test_a_heartbeat_that_is_not_refreshed_stops(own_redis: RedisProcess) -> None:
    changes: list[Health] = []
    async with Redis.from_url(own_redis.url) as redis, probing(own_redis.url, changes):
        await redis.set("app:alive", "1", px=500)
        await eventually(lambda: changes[-1:] == [Health(True)])
        await eventually(lambda: changes[-1:] == [Health(False, "no heartbeat")])
        await redis.set("app:alive", "1")
        await eventually(lambda: changes[-1:] == [Health(True)])


async def test_an_outage_of_redis_is_not_taken_for_silence(own_redis: RedisProcess) -> None:
    changes: list[Health] = []
    async with Redis.from_url(own_redis.url) as redis, probing(own_redis.url, changes) as prober:
        await redis.set("app:alive", "1")
        await eventually(lambda: changes == [Health(True)])
        own_redis.stop()
        await eventually(lambda: prober.last is not None and prober.last.verdict is Verdict.UNKNOWN)
        await asyncio.sleep(0.5)  # as long as five tries: that nothing is told has no event
        assert changes == [Health(True)]
        own_redis.start()
        await eventually(lambda: prober.last is not None and prober.last.verdict is Verdict.HEALTHY)
        assert changes == [Health(True)]
