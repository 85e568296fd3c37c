"""Whether a worker is to take more jobs, whether it is to stop, and how long it may still work then."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class StopRequest:
    """A request to stop or to drain. Made once, it stays."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self._last = asyncio.Event()

    @property
    def is_made(self) -> bool:
        """Whether the worker is to stop."""
        return self._requested.is_set()

    @property
    def takes_no_more(self) -> bool:
        """Whether the worker is to take no more jobs: it stops or drains."""
        return self._last.is_set()

    def make(self) -> None:
        """Ask the worker to stop: what it has may end within its grace."""
        self._requested.set()
        self._last.set()

    def drain(self) -> None:
        """Ask the worker to stop when it has finished what it has, however long that takes."""
        self._last.set()

    async def until_takes_no_more(self) -> None:
        """Wait until no more jobs are to be taken."""
        await self._last.wait()

    async def until_made(self) -> None:
        """Wait until the worker is to stop."""
        await self._requested.wait()

    async def takes_no_more_within(self, seconds: float) -> bool:
        """Wait until no more jobs are to be taken, at most so long, and return whether that is so."""
        await within(seconds, self._last.wait())
        return self.takes_no_more

    async def comes_within(self, seconds: float) -> bool:
        """Wait for the request to stop, at most so long, and return whether it has been made."""
        await within(seconds, self._requested.wait())
        return self.is_made


async def within(seconds: float, event: Coroutine[Any, Any, object]) -> None:
    """Wait for an event, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event
