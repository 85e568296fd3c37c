"""A peer that does on each connection what a test says, and both kinds of clients behind one way of calling."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.rpc_client import AsyncRawClient, RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

#: What the peer does with one request on a connection; it returns what to send, None for closing.
Turn = Callable[[dict[str, Any]], bytes | None]


def http(body: bytes, *, head: str = "", status: str = "200 OK") -> bytes:
    """Return an answer with a length."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def answer(request: dict[str, Any], **members: object) -> bytes:
    """Return a fitting answer."""
    members = members or {"result": "ok"}
    return http(json.dumps({"jsonrpc": "2.0", "id": request["id"], **members}).encode())


class Peer:
    """Listens, and on each new connection takes the next list of turns. Without one, it answers everything."""

    def __init__(self, listener: socket.socket, url: str) -> None:
        self.listener, self.url = listener, url
        self.turns: list[list[Turn]] = []
        #: Methods that came, with the number of the connection.
        self.seen: list[tuple[int, str]] = []
        self.heads: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.closed = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                turns = self.turns.pop(0) if self.turns else [answer] * 100
                thread = threading.Thread(target=self._serve, args=(len(self.connections), connection, turns))
                self._threads.append(thread)
                thread.start()

    def _serve(self, number: int, connection: socket.socket, turns: list[Turn]) -> None:
        with suppress(OSError), connection:
            for turn in turns:
                request = self._request_on(connection)
                if request is None:
                    break
                self.seen.append((number, request["method"] if isinstance(request, dict) else "batch"))
                said = turn(request)
                if said is None:
                    break
                connection.sendall(said)
        self.closed.release()

    def _request_on(self, connection: socket.socket) -> Any:
        data = b""
        while b"\r\n\r\n" not in data:
            data += (more := connection.recv(65536))
            if not more:
                return None
        head, _, body = data.partition(b"\r\n\r\n")
        self.heads.append(head)
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        return json.loads(body)


@pytest.fixture(params=["tcp", "unix"])
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    if request.param == "tcp":
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    else:
        listener, url = socket.socket(socket.AF_UNIX), f"unix:{tmp_path}/s"
        listener.bind(f"{tmp_path}/s")
        listener.listen()
    peer = Peer(listener, url)
    yield peer
    peer.close()


class Client:
    """Either client."""

    def __init__(self, call: Any, call_many: Any, *, is_blocking: bool) -> None:
        self._call, self._call_many, self.is_blocking = call, call_many, is_blocking

    async def call(self, *arguments: Any, **options: Any) -> Any:
        return await self._outcome(self._call, *arguments, **options)

    async def call_many(self, *arguments: Any, **options: Any) -> Any:
        return await self._outcome(self._call_many, *arguments, **options)

    async def _outcome(self, call: Any, *arguments: Any, **options: Any) -> Any:
        if self.is_blocking:
            return await asyncio.to_thread(call, *arguments, **options)
        return await call(*arguments, **options)


Make = Callable[..., Awaitable[Client]]


@pytest.fixture(params=["blocking", "nonblocking"])
async def client_of(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Client]]:
    made: list[RawClient | AsyncRawClient] = []

    def make(url: str, **options: Any) -> Client:
        is_blocking = request.param == "blocking"
        client = RawClient(url, **options) if is_blocking else AsyncRawClient(url, **options)
        made.append(client)
        return Client(client.call, client.call_many, is_blocking=is_blocking)

    yield make
    for client in made:
        if isinstance(client, RawClient):
            client.close()
        else:
            await client.aclose()
