"""Finding out what costs something to find out, only while somebody wants to know, and for some time after.

The time after is for followers that lose their connection and come back: for them nothing is missing then.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

logger = logging.getLogger(__name__)

#: Seconds that it goes on when nobody wants it any more.
LINGER_S: Final = 60.0
#: Longest time that a follower waits until everything is seen; it goes on all the same then.
READY_TIMEOUT_S: Final = 2.0


class Lazily:
    """Runs some work while it is wanted."""

    def __init__(
        self, work: Callable[[Callable[[], None]], Coroutine[Any, Any, None]], *, name: str, linger_s: float = LINGER_S
    ) -> None:
        """Prepare.

        Args:
            work: What to run; it calls what it is given when nothing escapes it from now on.
            name: Name of its task.
            linger_s: Seconds that it goes on when nobody wants it any more.
        """
        self._work = work
        self._name = name
        self._linger_s = linger_s
        self._users = 0
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._end: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def wanted(self) -> AsyncIterator[None]:
        """Have it run for the time of a block, which begins when nothing escapes it, or does not within 2 seconds."""
        self._users += 1
        try:
            self._start()
            try:
                async with asyncio.timeout(READY_TIMEOUT_S):
                    await self._ready.wait()
            except TimeoutError:
                logger.debug("%s sees nothing yet", self._name)
            yield
        finally:
            self._users -= 1
            if not self._users and self._task is not None:
                self._end = asyncio.get_running_loop().call_later(self._linger_s, self._stop)

    async def aclose(self) -> None:
        """End it."""
        task = self._task
        self._stop()
        if task is not None:
            await asyncio.wait([task])

    def _start(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._task is None or self._task.done():
            self._ready.clear()
            self._task = asyncio.create_task(self._run(), name=self._name)

    def _stop(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._ready.clear()

    async def _run(self) -> None:
        try:
            await self._work(self._ready.set)
        except Exception:
            logger.exception("cannot go on with %s: a fault of ours", self._name)
