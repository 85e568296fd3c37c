"""A private real redis-server for tests, and the waiting that has no event."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from hero_supervisor.client import JobClient
from tests.conftest import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

_numbers = itertools.count(1)


class RedisProcess:
    """A redis-server on a unix socket, with its data in a directory of its own."""

    def __init__(self, path: Path, *options: str) -> None:
        self._path = path
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = path / "redis.sock"
        self.url = f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "redis-server does not run"
        return self._process.pid

    def start(self, *, password: str | None = None) -> None:
        words = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._path), "--save", ""]
        words += ["--appendonly", "yes", "--appendfsync", "no", "--logfile", str(self._path / "redis.log")]
        program = shutil.which("redis-server") or missing("there is no program redis-server")
        self._process = subprocess.Popen([program, *words, *self._options])
        self._await_first_answer(password)

    def stop(self) -> None:
        """Kill it; what it has acknowledged is in its append-only file."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    def _await_first_answer(self, password: str | None) -> None:
        # The program says nothing that could be waited for.
        with Redis(unix_socket_path=str(self.socket), password=password) as client:
            for _ in range(1000):
                try:
                    client.ping()
                except RedisConnectionError:
                    time.sleep(0.01)
                else:
                    return
        raise AssertionError("redis-server does not answer")


async def eventually(condition: Callable[[], Awaitable[bool] | bool], *, timeout_s: float = 5.0) -> None:
    """Return when the condition holds; for what nobody announces."""
    async with asyncio.timeout(timeout_s):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """Give the redis-server of this run; do not stop it."""
    server = RedisProcess(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """Give a redis-server that a test may stop and start."""
    server = RedisProcess(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisProcess) -> str:
    return redis_server.url


@pytest.fixture
def namespace() -> str:
    """Give a namespace that no other test has."""
    return f"test{next(_numbers)}"


@pytest.fixture
async def client(redis_url: str, namespace: str) -> AsyncIterator[JobClient]:
    """Give a client of the test's namespace."""
    async with JobClient.connect(redis_url, namespace) as client:
        yield client


@pytest.fixture
async def raw(redis_server: RedisProcess) -> AsyncIterator[AsyncRedis]:
    """Give what a foreign client or runner has: a plain connection."""
    async with AsyncRedis(unix_socket_path=str(redis_server.socket), decode_responses=True, protocol=2) as raw:
        yield raw
