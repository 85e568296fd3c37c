"""When to look at which runner: the soonest of the times that were asked for, and never twice at once."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Agenda:
    """The looks that are to come, and those under way. Times are those of ``time.monotonic``."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}
        self._looking: set[str] = set()
        self._wake = asyncio.Event()

    def add(self, runner: str, *, in_s: float = 0.0) -> None:
        """Have a runner looked at in so many seconds, unless it is before."""
        due_s = time.monotonic() + in_s
        self._due_s[runner] = min(due_s, self._due_s.get(runner, due_s))
        self._wake.set()

    def take_due(self) -> list[str]:
        """Return the runners to look at now; each is not due again before ``looking`` was entered and left."""
        now_s = time.monotonic()
        due = [runner for runner, due_s in self._due_s.items() if due_s <= now_s and runner not in self._looking]
        for runner in due:
            del self._due_s[runner]
        self._looking.update(due)
        return due

    @contextmanager
    def looking(self, runner: str) -> Iterator[None]:
        """Look at a runner inside."""
        try:
            yield
        finally:
            self._looking.discard(runner)
            self._wake.set()

    async def until_due(self) -> None:
        """Wait until a look is due, or something was added."""
        times = [due_s for runner, due_s in self._due_s.items() if runner not in self._looking]
        pause_s = max(0.0, min(times) - time.monotonic()) if times else None
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        self._wake.clear()
