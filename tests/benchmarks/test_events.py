"""Followers of events: what two thousand of them cost, and how long it takes until all know."""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from tests.benchmarks.keep_alive import Http

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(300)

STREAMS = 2_000
ROUNDS = 10
REQUEST = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Follower(asyncio.Protocol):
    """Follows all events, and knows when the last one with some text has come."""

    def __init__(self) -> None:
        self.is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.told: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        if not self.is_open.done() and b"retry:" in data:
            self.is_open.set_result(None)
        if b"event: operation" in data and b'"state":"done"' in data and not self.told.done():
            self.told.set_result(time.perf_counter())

    def again(self) -> None:
        self.told = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        self._transport.abort()


async def test_two_thousand_streams(service: Service, figure: Any) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pid = int(service.show("MainPID"))
    figure("no stream: memory of the supervisor", rss_mb(pid), "MB")
    loop = asyncio.get_running_loop()
    followers = [(await loop.create_connection(Follower, "127.0.0.1", service.port))[1] for _ in range(STREAMS)]
    await asyncio.gather(*(each.is_open for each in followers))
    took_s = []
    async with Http(service.port) as http:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await http.call("start_all")  # begins and ends, for there is no runner
            took_s.append(max(await asyncio.gather(*(each.told for each in followers))) - began)
            for each in followers:
                each.again()
    figure(f"{STREAMS} streams: memory of the supervisor", rss_mb(pid), "MB", 150)
    figure(
        f"{STREAMS} streams: an event has reached all after, median of {ROUNDS}", sorted(took_s)[ROUNDS // 2], "s", 1
    )
    figure(f"{STREAMS} streams: the slowest of {ROUNDS}", max(took_s), "s", 1)
    before_ns = cpu_ns(pid)
    await asyncio.sleep(30)
    busy = (cpu_ns(pid) - before_ns) / 1e9 / 30
    figure(f"{STREAMS} streams at rest: processor time of the supervisor", 100 * busy, "% of a core")
    for each in followers:
        each.close()
    await asyncio.sleep(2)
    figure("streams closed: memory of the supervisor", rss_mb(pid), "MB")


async def test_five_hundred_web_sockets(service: Service, figure: Any) -> None:
    pid = int(service.show("MainPID"))
    before = rss_mb(pid)
    subscribe = '{"jsonrpc": "2.0", "id": 1, "method": "events_subscribe"}'
    async with AsyncExitStack() as stack, Http(service.port) as http:
        url = f"ws://127.0.0.1:{service.port}/ws"
        sockets = [await stack.enter_async_context(connect(url, compression=None)) for _ in range(500)]
        for each in sockets:
            await each.send(subscribe)
            await each.recv()
        began = time.perf_counter()
        await http.call("start_all")
        await asyncio.gather(*(each.recv() for each in sockets))
        figure("500 WebSockets: an event has reached all after", time.perf_counter() - began, "s", 1)
        figure("500 WebSockets with a subscription each: memory of the supervisor", rss_mb(pid) - before, "MB more")


@pytest.mark.parametrize("count", [0, 1, 100])
async def test_jobs_while_they_are_followed(service: Service, figure: Any, count: int) -> None:
    """What followers of all jobs cost those who queue them."""
    loop = asyncio.get_running_loop()
    service.rpc.call("register_runner", {"runner": "away"})
    followers = [(await loop.create_connection(Follower, "127.0.0.1", service.port))[1] for _ in range(count)]
    await asyncio.gather(*(each.is_open for each in followers))
    jobs = [{"payload": "true"} for _ in range(1_000)]
    queued = []
    began = time.perf_counter()
    async with Http(service.port) as http:
        for _ in range(20):
            queued += await http.call("queue_jobs_to_runner", {"runner": "away", "jobs": jobs})
    took_s = time.perf_counter() - began
    assert len({each["job_id"] for each in queued}) == 20_000
    figure(f"{count} followers: jobs queued", len(queued) / took_s, "jobs/s")
    for each in followers:
        each.close()


def rss_mb(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def cpu_ns(pid: int) -> int:
    """Return the processor time that all threads of a process have used."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
