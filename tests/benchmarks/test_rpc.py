"""JSON-RPC over HTTP beside a bare ASGI application under the same server, which answers with the same bytes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.e2e.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(300)

CONNECTIONS = 32
ROUNDS = 5
ROUND_S = 2.0

#: Reads and decodes the request, and answers with what it is given.
BARE = """
import os, msgspec, uvicorn
ANSWER = os.environb[b"ANSWER"]
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]

async def app(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message.get("more_body", False)
    msgspec.json.decode(body)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})

uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_config=None, access_log=False, lifespan="off",
            server_header=False, loop="uvloop", http="httptools")
"""


class Caller(asyncio.Protocol):
    """One connection that sends the same request again and again."""

    def __init__(self, request: bytes, answer_size: int) -> None:
        self._request = request
        self._answer_size = answer_size
        self._received = 0
        self.calls = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received == self._answer_size:
            self.calls += 1
            self._received = 0
            self._transport.write(self._request)

    def end(self) -> None:
        self._transport.abort()


def request_of(port: int, body: bytes) -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def answer_size_of(port: int, request: bytes) -> int:
    """Return the size of an answer with its head; each has the same."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(request)
        with sock.makefile("rb") as answer:
            head = b"".join(iter(answer.readline, b"\r\n"))
            found = re.search(b"content-length: ([0-9]+)", head)
            assert found, head
            body = answer.read(int(found[1]))
    assert b'"result"' in body, body
    return len(head) + len(b"\r\n") + len(body)


async def rate(port: int, body: bytes) -> float:
    """Return calls per second."""
    request = request_of(port, body)
    size = answer_size_of(port, request)
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: Caller(request, size), "127.0.0.1", port))[1] for _ in range(CONNECTIONS)
    ]
    began, before = time.perf_counter(), sum(caller.calls for caller in callers)
    await asyncio.sleep(ROUND_S)
    calls = sum(caller.calls for caller in callers) - before
    took_s = time.perf_counter() - began
    for caller in callers:
        caller.end()
    return calls / took_s


@pytest.fixture
def bare() -> Iterator[Callable[[bytes], int]]:
    """Start a bare application that gives this answer, and return its port."""
    running = []

    def start(answer: bytes) -> int:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port: int = sock.getsockname()[1]
        environment = {**os.environ, "PORT": str(port), "ANSWER": answer.decode()}
        running.append(subprocess.Popen([sys.executable, "-c", BARE], env=environment))
        eventually(lambda: is_open(port), timeout_s=10)
        return port

    yield start
    for process in running:
        process.terminate()
        process.wait()


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("method", "params"),
    [("list_runners", []), ("get_runner_status", ["bench"]), ("get_runner_status", ["stopped"])],
)
def test_calls_per_second(
    service: Service, bare: Callable[[bytes], int], figure: Callable[..., None], method: str, params: list[str]
) -> None:
    uvloop = pytest.importorskip("uvloop")
    for id in ("bench", "stopped"):
        service.add(id)
    service.rpc.call("stop_runner", ["stopped"])
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    answer = httpx.post(service.url, content=body, headers={"Content-Type": "application/json"}).content
    floor_port = bare(answer)
    ours, floor = [], []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(ROUNDS):
            ours.append(runner.run(rate(service.port, body)))
            floor.append(runner.run(rate(floor_port, body)))
    figure(f"{method}, {CONNECTIONS} connections", median(ours), "calls/s")
    figure("a bare application", median(floor), "calls/s")
    figure("it is faster by a factor of", median(floor) / median(ours), "", 2)


def _queue(payload: str) -> dict[str, object]:
    params = {"runner": "queue", "job": {"payload": payload}}
    return {"jsonrpc": "2.0", "id": 1, "method": "queue_job_to_runner", "params": params}


def _queue_many(count: int) -> dict[str, object]:
    params = {"runner": "queue", "jobs": [{"payload": "x"}] * count}
    return {"jsonrpc": "2.0", "id": 1, "method": "queue_jobs_to_runner", "params": params}


@pytest.mark.parametrize(
    ("name", "request_", "jobs", "goal"),
    [
        ("queue_job_to_runner of 4 kB", _queue("x" * 4096), 1, 3_000),
        ("batches of 100 times queue_job_to_runner", [_queue("x")] * 100, 100, 15_000),
        ("queue_jobs_to_runner of 100", _queue_many(100), 100, 15_000),
    ],
)
def test_jobs_queued_per_second(
    service: Service, figure: Callable[..., None], name: str, request_: object, jobs: int, goal: int
) -> None:
    uvloop = pytest.importorskip("uvloop")
    service.rpc.call("add_runner", {"id": "queue", "command": ["/bin/true"]})
    body = json.dumps(request_).encode()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rates = [jobs * runner.run(rate(service.port, body)) for _ in range(ROUNDS)]
    figure(f"{name}, {CONNECTIONS} connections", median(rates), "jobs/s", at_least=goal)
