"""What clients are told when Redis is away, refuses, stalls, or loses answers, and that nothing is done twice."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from hero_supervisor.client import JobClient
from hero_supervisor.errors import InvalidSettings, PermissionDenied, RedisUnavailable
from hero_supervisor.queue.claims import Claims, Ended, HolderRecord
from hero_supervisor.queue.connection import RedisServer
from tests.integration.queue.conftest import a_job, pending
from tests.redis_fixtures import RedisProcess

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_redis_that_is_away_is_named_without_password(tmp_path: Path) -> None:
    async with JobClient.connect(f"unix://:s3cret@{tmp_path}/none.sock") as client:
        with pytest.raises(RedisUnavailable, match=r"none\.sock") as caught:
            await client.ping()
    assert "s3cret" not in f"{caught.value!r} {caught.value.data()}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://:s3cret@localhost",
        "redis://user:s3cret/x@localhost:6379",
        "redis://user:s3cret#x@localhost:6379",
        "redis://user:1?s3cret@localhost:6379",
        "redis://localhost:s3cret",
        "redis://localhost/s3cret",
        "redis://localhost?db=s3cret",
        "redis://localhost?retry_on_timeout=s3cret",
        "redis://localhost?decode_responses=yes",
        "redis://[s3cret",
        "unix://relative/s3cret",
        "unix://",
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidSettings, match="redis_url") as caught:
        JobClient(url)
    assert "s3cret" not in f"{caught.value!r} {caught.value.data()}"


async def test_credentials_are_told_apart_from_absence(tmp_path: Path) -> None:
    server = RedisProcess(tmp_path, "--requirepass", "right", "--maxmemory", "100mb")
    server.start(password="right")
    try:
        for url in (server.url, f"unix://:wrong@{server.socket}"):
            async with JobClient.connect(url) as client:
                with pytest.raises(PermissionDenied):
                    await client.ping()
        async with (
            JobClient.connect(f"unix://:right@{server.socket}") as client,
            Redis(unix_socket_path=str(server.socket), password="right") as admin,
        ):
            await client.ping()
            await admin.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], categories=["+@read"])
            async with JobClient.connect(f"unix://reader:x@{server.socket}") as reader:
                with pytest.raises(PermissionDenied):
                    await reader.ping()
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("setting", "value", "word"),
    [
        ("maxmemory", "1", "maxmemory"),
        ("replicaof", "localhost 1", "replica"),
        ("min-replicas-to-write", "1", "replica"),
    ],
)
async def test_ping_tells_that_writes_are_refused(own_redis: RedisProcess, setting: str, value: str, word: str) -> None:
    async with (
        Redis(unix_socket_path=str(own_redis.socket)) as admin,
        JobClient.connect(own_redis.url) as client,
    ):
        await client.ping()
        assert await admin.dbsize() == 0
        if setting == "replicaof":
            await admin.replicaof(*value.split())
        else:
            await admin.config_set(setting, value)
        with pytest.raises(RedisUnavailable, match=word):
            await client.ping()
        with pytest.raises(RedisUnavailable, match=word):
            await client.enqueue(a_job())


async def test_a_stalled_redis_is_unavailable_in_time_and_gets_the_job_once(own_redis: RedisProcess) -> None:
    async with JobClient.connect(own_redis.url) as client:
        await client.ping()
        client._store.scripts._server = dataclasses.replace(client._store.server, timeout_s=0.2)
        os.kill(own_redis.pid, signal.SIGSTOP)
        with pytest.raises(RedisUnavailable, match=r"no answer in 0\.2 s"):
            await client.enqueue(a_job(id="j1"))
        os.kill(own_redis.pid, signal.SIGCONT)
        await client.enqueue(a_job(id="j1"))
        assert await pending(client) == 1


async def test_a_retry_after_a_lost_reply_does_not_queue_twice(own_redis: RedisProcess, tmp_path: Path) -> None:
    async with _Proxy(own_redis, tmp_path / "proxy.sock") as proxy, JobClient.connect(proxy.url) as client:
        await client.enqueue(a_job(id="warm-up"))
        proxy.drop_replies = True
        with pytest.raises(RedisUnavailable):
            await client.enqueue(a_job(id="j1"))
        proxy.drop_replies = False
        await client.enqueue(a_job(id="j1"))
        assert await pending(client) == 2


async def test_claims_whose_answer_was_lost_are_given_again_and_ended_once(
    own_redis: RedisProcess, tmp_path: Path
) -> None:
    async with _Proxy(own_redis, tmp_path / "proxy.sock") as proxy, JobClient.connect(own_redis.url) as client:
        ids = [await client.enqueue(a_job()) for _ in range(3)]
        async with aclosing(Claims(RedisServer.at(proxy.url), client.keys, "calc", "h")) as holder:
            await holder.register(HolderRecord())
            [first] = (await holder.exchange([], want=1)).claims
            ended = [Ended(first.job_id, first.attempt, "finished", "done")]
            proxy.drop_replies = True
            with pytest.raises(RedisUnavailable):
                await holder.exchange(ended, want=1)
            proxy.drop_replies = False
            again = await holder.exchange(ended, want=0, is_again=True)
            assert again.answers == ("ok",)
            assert [(claim.job_id, claim.attempt) for claim in again.claims] == [(ids[1], 1)]
            assert await pending(client) == 1
        assert (await client.queues.stats("calc")).counts["finished"] == 1


async def test_scripts_that_redis_has_forgotten_are_loaded_again(client: JobClient, raw: Redis) -> None:
    await client.enqueue(a_job())
    await raw.script_flush()
    await client.enqueue(a_job())
    assert await pending(client) == 2


async def test_what_was_acknowledged_is_there_after_redis_was_killed(own_redis: RedisProcess) -> None:
    async with JobClient.connect(own_redis.url) as client:
        ids = [await client.enqueue(a_job()) for _ in range(20)]
    own_redis.stop()
    own_redis.start()
    async with JobClient.connect(own_redis.url) as client:
        assert [job.id for job in await client.list_jobs()] == ids[::-1]
        assert await pending(client) == 20


@pytest.mark.parametrize("steps", range(40))
async def test_a_cancelled_listener_ends_wherever_it_is(client: JobClient, steps: int) -> None:
    # The library's own timeouts swallow some cancellations on Python 3.11.
    listener = asyncio.create_task(client._watcher._listen())
    for _ in range(steps):
        await asyncio.sleep(0)
    listener.cancel()
    await asyncio.wait([listener], timeout=2)
    assert listener.cancelled()


async def test_many_more_calls_than_connections_are_served(client: JobClient) -> None:
    ids = await asyncio.gather(*(client.enqueue(a_job()) for _ in range(2000)))
    assert await pending(client) == len(set(ids)) == 2000


class _Proxy:
    """Stands before Redis and can swallow its replies."""

    def __init__(self, server: RedisProcess, path: Path) -> None:
        self._server, self._path = server, path
        self.url = f"unix://{path}"
        self.drop_replies = False

    async def __aenter__(self) -> _Proxy:
        self._listener = await asyncio.start_unix_server(self._serve, self._path)
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_unix_connection(self._server.socket)
        there = asyncio.create_task(self._pump(reader, back_writer, replies=False))
        back = asyncio.create_task(self._pump(back_reader, writer, replies=True))
        self._tasks |= {there, back}
        await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        back_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool) -> None:
        while data := await reader.read(65536):
            if replies and self.drop_replies:
                return
            writer.write(data)
            await writer.drain()
