"""Redis with Sentinel: jobs go on after a failover."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from hero_supervisor.client import JobClient
from hero_supervisor.errors import InvalidSettings, RedisUnavailable
from hero_supervisor.job import Job, JobStatus
from hero_supervisor.queue.connection import RedisServer
from tests.conftest import missing
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Group:
    """A primary, a replica and three sentinels."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.primary, self.replica = free_port(), free_port()
        self.sentinels = [free_port() for _ in range(3)]
        names = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        self.url = f"redis+sentinel://{names}/main/0"

    def start(self) -> None:
        self._run("primary", "--port", str(self.primary), "--repl-diskless-sync-delay", "0")
        self._run("replica", "--port", str(self.replica), "--replicaof", f"127.0.0.1 {self.primary}")
        for port in self.sentinels:
            path = self._path / f"{port}.conf"
            monitor = f"sentinel monitor main 127.0.0.1 {self.primary} 2\n"
            times = "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
            path.write_text(f"port {port}\ndir {self._path}\n{monitor}{times}")
            self._run(str(port), str(path), "--sentinel")

    def kill_primary(self) -> None:
        self._processes["primary"].kill()

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _run(self, name: str, *words: str) -> None:
        program = shutil.which("redis-server") or missing("there is no program redis-server")
        own = self._path / name
        own.mkdir()
        more = () if "--sentinel" in words else ("--dir", str(own), "--save", "", "--bind", "127.0.0.1")
        self._processes[name] = subprocess.Popen([program, *words, *more], stdout=subprocess.DEVNULL)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    group = Group(tmp_path)
    group.start()
    yield group
    group.stop()


async def is_ready(group: Group) -> bool:
    """Whether the replica follows the primary and each sentinel knows the other two and the replica."""
    try:
        async with Redis(port=group.primary) as primary:
            if (await primary.info("replication")).get("slave0", {}).get("state") != "online":
                return False
        for port in group.sentinels:
            async with Redis(port=port) as sentinel:
                known = (await sentinel.info("sentinel"))["master0"]
                if known["sentinels"] != 3 or known["slaves"] != 1:
                    return False
    except (ConnectionError, OSError, KeyError):
        return False
    return True


async def test_jobs_go_on_when_the_primary_is_lost(group: Group) -> None:
    await eventually(lambda: is_ready(group), timeout_s=30)
    async with JobClient.connect(group.url) as client:
        await client.enqueue(Job(id="before", payload="x", runner="r"))
        waiting = asyncio.create_task(client.wait_for_result("before", timeout_s=30))
        async with Redis(port=group.primary) as primary:
            await primary.wait(1, 5000)
        group.kill_primary()

        async def is_writable() -> bool:
            try:
                await client.enqueue(Job(id="after", payload="x", runner="r"))
            except RedisUnavailable:
                return False
            return True

        await eventually(is_writable, timeout_s=20)
        await client.set_job_result("before", "done")
        assert (await waiting).status is JobStatus.FINISHED
        assert await client.get_job_status("after") is JobStatus.DISPATCHED


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis+sentinel://a,b:1/main", "service 'main' of the sentinels a:26379, b:1"),
        ("rediss+sentinel://user:secret@a/main/3", "service 'main' of the sentinels a:26379"),
    ],
)
def test_a_url_with_sentinels_is_read(url: str, address: str) -> None:
    assert RedisServer.at(url).address == address


@pytest.mark.parametrize(
    "url", ["redis+sentinel://a", "redis+sentinel://a/x/y", "redis+sentinel://a,/main", "redis+sentinel://a:x/main"]
)
def test_a_bad_url_with_sentinels_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings):
        RedisServer.at(url)
