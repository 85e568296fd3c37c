"""A keep-alive HTTP connection with nothing that costs time.

Servers close one that is idle for some seconds: make it anew for each round.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self


class Http:
    """One connection to 127.0.0.1; use it as ``async with``. Calls on it follow one another."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def post(self, path: str, content_type: str, body: bytes) -> bytes:
        """Send a body and return that of the answer, as it came."""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
        self._writer.write(head.encode() + b"\r\n\r\n" + body)
        headers = await self._reader.readuntil(b"\r\n\r\n")
        length = int(headers.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return await self._reader.readexactly(length)

    async def call(self, method: str, params: Any = None) -> Any:
        """Make a JSON-RPC call and return its result."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = json.loads(await self.post("/", "application/json", json.dumps(request).encode()))
        assert "result" in answer, answer
        return answer["result"]
