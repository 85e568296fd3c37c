"""A round trip to systemd that many callers share.

Once it is answered, all that systemd had to tell when it was asked has arrived. So whoever needs that waits for a round
trip that begins after his call: not for the one under way, but for the next, together with all who ask meanwhile.
"""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Fence:
    """Makes one round trip at a time."""

    def __init__(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Args: what makes a round trip."""
        self._ask = ask
        self._waiters: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Return when a round trip is over that began after this call; raises what that raised."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="fence")
        await waiter

    async def _run(self) -> None:
        while self._waiters:
            waiters, self._waiters = self._waiters, []
            fault: Exception | None = None
            try:
                await self._ask()
            except Exception as exc:  # it is raised where it was asked for
                fault = exc
            for waiter in waiters:
                if waiter.done():
                    continue  # its caller has gone
                # Each raises its own: a shared one would collect the traceback of every caller.
                waiter.set_exception(copy(fault)) if fault else waiter.set_result(None)
