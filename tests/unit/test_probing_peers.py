"""Probes over TCP and HTTP, against peers that are well, ill, slow and hostile, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.definition.probe import HttpProbe, Probe, TcpProbe
from hero_supervisor.probing import Checker, Outcome, Verdict, wait_healthy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HEALTHY = Outcome(Verdict.HEALTHY)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def ill(reason: str) -> Outcome:
    return Outcome(Verdict.UNHEALTHY, reason)


def checker() -> Checker:
    """Make one that has neither commands nor Redis."""

    async def never(*_: object) -> Any:
        raise AssertionError

    return Checker(run_command=never, key_exists=never)


@asynccontextmanager
async def serving(peer: Peer, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Accept connections for a peer, and give the port; whatever the peer still does is ended."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await peer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(accept, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ask(peer: Peer, **fields: Any) -> Outcome:
    """Try a peer once over HTTP."""
    timing = {"timeout_s": fields.pop("timeout_s", 5)}
    async with serving(peer) as port:
        return await checker().check(Probe(http=HttpProbe(port=port, **fields), **timing).checked())


def answering(*chunks: bytes, pause_s: float = 0) -> Peer:
    """Read a request, then write this and hang up."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return peer


async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# -- TCP -----------------------------------------------------------------------------------------------------------


async def test_a_port_that_accepts_is_healthy() -> None:
    async with serving(hang) as port:
        assert await checker().check(Probe(tcp=TcpProbe(port=port))) == HEALTHY


async def test_a_port_that_nobody_listens_on_is_not() -> None:
    assert await checker().check(Probe(tcp=TcpProbe(port=free_port()))) == ill("connection refused")


async def test_a_port_whose_queue_is_full_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        probe = Probe(tcp=TcpProbe(port=port), timeout_s=0.2)
        assert await checker().check(probe) == ill("no answer within 0.2 s")
        for client in clients:
            client.close()


async def test_localhost_is_also_what_listens_on_ipv6_only() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    async with serving(hang, host="::1") as port:
        assert await checker().check(Probe(tcp=TcpProbe(port=port, host="localhost"))) == HEALTHY
        assert await checker().check(Probe(tcp=TcpProbe(port=port))) == ill("connection refused")


async def test_a_socket_that_the_kernel_connected_to_itself_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.connect(sock.getsockname())
    reader, writer = await asyncio.open_connection(sock=sock)

    async def chance(*_: object, **__: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # That the kernel chooses this very port for a connection to it cannot be had on demand.
        return reader, writer

    monkeypatch.setattr(asyncio, "open_connection", chance)
    assert await checker().check(Probe(tcp=TcpProbe(port=1))) == ill("connection refused")


# -- HTTP ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "fields", "outcome"),
    [
        (OK, {}, HEALTHY),
        (b"HTTP/1.0 204 \r\n\r\n", {}, HEALTHY),
        (b"HTTP/1.1 200\r\n\r\n", {}, HEALTHY),
        (b"HTTP/1.1 200 OK\n\n", {}, HEALTHY),
        (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\n\r\n", {}, HEALTHY),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", {"max_status": 299}, ill("HTTP 302")),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", {}, ill("HTTP 404")),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", {"min_status": 404, "max_status": 404}, HEALTHY),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", {}, ill("HTTP 503")),
        (b"", {}, ill("connection closed without an answer")),
        (b"HTTP/1.1 2", {}, ill("no HTTP, but 'HTTP/1.1 2'")),
        (b"HTTP/1.1 200 OK", {}, ill("no HTTP, but 'HTTP/1.1 200 OK'")),
        (b"HTTP/1.1 2000 OK\r\n\r\n", {}, ill("no HTTP, but 'HTTP/1.1 2000 OK\\r\\n'")),
        (b"HTTP/2.0 200 OK\r\n\r\n", {}, ill("no HTTP, but 'HTTP/2.0 200 OK\\r\\n'")),
        (b"SSH-2.0-OpenSSH\r\n", {}, ill("no HTTP, but 'SSH-2.0-OpenSSH\\r\\n'")),
        (b"\x1b[2J\xff\0\n", {}, ill("no HTTP, but '\\x1b[2J\\xff\\x00\\n'")),
        (b"\r\n", {}, ill("no HTTP, but '\\r\\n'")),
        (b"x" * 1_000_000, {}, ill(f"no HTTP, but '{'x' * 40}'")),
        (b"HTTP/1.1 200 " + b"x" * 1_000_000, {}, ill(f"no HTTP, but 'HTTP/1.1 200 {'x' * 27}'")),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200_000, {}, HEALTHY),
    ],
)
async def test_the_first_line_decides(answer: bytes, fields: dict[str, Any], outcome: Outcome) -> None:
    assert await ask(answering(answer), **fields) == outcome


async def test_the_request_is_complete_and_a_redirect_is_not_followed() -> None:
    requests = []

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n")

    async with serving(redirect) as port:
        url = f"http://localhost:{port}/health?deep=1"
        assert await checker().check(Probe(http=HttpProbe(url=url)).checked()) == HEALTHY
    (request,) = requests
    line, *headers = request.decode().split("\r\n")
    assert line == "GET /health?deep=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in headers
    assert "Connection: close" in headers


async def test_a_peer_that_never_answers_is_given_up() -> None:
    assert await ask(hang, timeout_s=0.2) == ill("no answer within 0.2 s")


async def test_a_peer_that_answers_one_byte_at_a_time_is_given_up() -> None:
    slow = answering(*(OK[index : index + 1] for index in range(len(OK))), pause_s=0.1)
    assert await ask(slow, timeout_s=0.3) == ill("no answer within 0.3 s")


async def test_a_peer_that_resets_the_connection_is_named() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    assert await ask(reset) == ill("connection reset by peer")


async def test_a_peer_that_keeps_the_connection_open_is_healthy_however_short_the_timeout() -> None:
    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK)(reader, writer)
        await asyncio.Event().wait()

    assert await ask(keep, timeout_s=0.3) == HEALTHY


class Flood:
    """Answers with a beginning, and then sends the same for ever."""

    def __init__(self, beginning: bytes) -> None:
        self._beginning = beginning
        self.written = 0
        self.cut_off = asyncio.Event()

    async def peer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(self._beginning)(reader, writer)
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                self.written += 65536
        except ConnectionError:
            self.cut_off.set()


@pytest.mark.parametrize(("beginning", "outcome"), [(OK, HEALTHY), (b"", ill(f"no HTTP, but '{'x' * 40}'"))])
async def test_a_peer_that_sends_without_end_is_cut_off(beginning: bytes, outcome: Outcome) -> None:
    flood = Flood(beginning)
    async with serving(flood.peer) as port:
        assert await checker().check(Probe(http=HttpProbe(port=port), timeout_s=20)) == outcome
        async with asyncio.timeout(5):
            await flood.cut_off.wait()
    assert flood.written < 16 << 20  # what sockets hold by themselves


async def test_a_peer_may_write_its_whole_answer() -> None:
    is_written = asyncio.Event()

    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK[:-2], b"\r\n", b"body" * 1000, b"end", pause_s=0.05)(reader, writer)
        is_written.set()

    async with serving(write) as port:
        assert await checker().check(Probe(http=HttpProbe(port=port))) == HEALTHY
        async with asyncio.timeout(5):
            await is_written.wait()


# -- waiting -------------------------------------------------------------------------------------------------------


async def test_waiting_ends_when_the_peer_has_come_up() -> None:
    port = free_port()
    probe = Probe(tcp=TcpProbe(port=port), interval_s=0.1, failure_threshold=1)
    waiting = asyncio.create_task(wait_healthy(probe, checker(), timeout_s=20))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    async with serving(hang, port=port):
        await waiting
