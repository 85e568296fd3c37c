"""Taking job ids from a queue, one at a time, without losing one.

BLPOP removes an id before it is delivered: whoever cancels the call in between has lost a job. So the wait is
bounded by Redis, short, and never cancelled; a runner that wants to stop lets it return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .connection import RedisServer

#: Longest wait of one call, in seconds; also how long a runner without work may take to stop.
BLOCK_S: Final = 1.0


class JobInbox:
    """The taking end of one queue, on a connection of its own."""

    def __init__(self, server: RedisServer, queue: str) -> None:
        self._server = server
        self._queue = queue
        self._redis = server.blocking()

    async def take(self) -> str | None:
        """Return the next job id, or ``None`` when there was none for ``BLOCK_S`` seconds. Do not cancel it.

        Raises:
            RedisUnavailable, PermissionDenied, CorruptRecord: See ``RedisServer.call``.
        """
        async with self._server.call(block_s=BLOCK_S):
            taken: Any = await self._redis.blpop([self._queue], BLOCK_S)
        # An id that is not text names no job; it is passed on so that somebody reports it.
        return None if taken is None else taken[1].decode(errors="backslashreplace")

    async def aclose(self) -> None:
        """Close the connection."""
        await self._redis.aclose()
