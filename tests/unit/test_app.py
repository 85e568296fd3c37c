"""The HTTP server around the application."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import pytest
import uvicorn

from hero_supervisor.app import OPEN_FILES, _Server, allow_open_files, listen


class Counting(_Server):
    """Counts how often it turns."""

    turns = 0

    async def on_tick(self, counter: int) -> bool:
        self.turns += 1
        return await super().on_tick(counter)


async def empty(scope: Any, receive: Any, send: Any) -> None:
    _ = scope, receive
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_a_server_with_nothing_to_do_turns_once_a_second_and_still_answers_and_ends() -> None:
    sock = listen("127.0.0.1", 0)
    server = Counting(uvicorn.Config(empty, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    await asyncio.sleep(1.5)  # so long nothing happens
    assert 1 <= server.turns <= 3
    reader, writer = await asyncio.open_connection(*sock.getsockname()[:2])
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b"\r\ndate: " in await reader.read()
    writer.close()
    server.end()
    async with asyncio.timeout(5):
        await serving
    sock.close()


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((1024, 524_288), [(OPEN_FILES, 524_288)]),
        ((1024, 4096), [(4096, 4096)]),
        ((1024, resource.RLIM_INFINITY), [(OPEN_FILES, resource.RLIM_INFINITY)]),
        ((524_288, 524_288), []),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), []),
    ],
)
def test_as_many_files_may_be_open_as_are_needed(
    limits: tuple[int, int], expected: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: found.append(limits))
    allow_open_files()
    assert found == expected
