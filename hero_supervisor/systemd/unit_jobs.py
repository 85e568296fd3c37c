"""The outcome of systemd's unit jobs.

``StartTransientUnit`` and ``StopUnit`` only queue a unit job and return its object path; a ``JobRemoved`` signal tells
how it ended. What can interleave:

1. The signal is handled before the coroutine that made the call sees the reply: while any such call is under way,
   results of jobs that nobody waits for yet are kept.
2. The bus connection is lost: every waiter fails at once. The unit job itself goes on in systemd.
3. systemd re-executes or reloads itself. Unit jobs survive that, but a signal may have been missed: every waiter then
   looks whether its job still exists. It also looks every few seconds, in case even that news was lost.
   A signal is always sent before its job's object disappears, so a job that is gone without a signal was missed.

Rejected: one future per path, created by whichever side comes first. On a busy host that collects a future for
every foreign unit job, and two callers of one job (systemd merges them) would share its fate.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import OperationTimeout

from .connection import again

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from hero_supervisor.errors import SystemdUnavailable

#: Result of a unit job that ended without our seeing how: the unit's state has to tell.
UNSEEN: Final = "unseen"

#: Seconds between two looks at a unit job of which nothing is heard.
LOOK_INTERVAL_S: Final = 15.0

#: Seconds that a unit job may take beside the unit's own timeouts: systemd enforces those, we only back them up.
MARGIN_S: Final = 15.0


class _Waiter:
    """One coroutine that waits for one unit job."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.result: str | None = None
        self.loss: SystemdUnavailable | None = None

    def wake(self, *, result: str | None = None, loss: SystemdUnavailable | None = None) -> None:
        self.result = self.result or result
        self.loss = self.loss or loss
        self.woken.set()

    def outcome(self) -> str | None:
        if self.result is None and self.loss is not None:
            raise self.loss
        return self.result


class UnitJobs:
    """Brings together those who wait for unit jobs and the signals about them. Talks to nobody itself."""

    def __init__(self, is_gone: Callable[[str], Awaitable[bool]], *, look_interval_s: float = LOOK_INTERVAL_S) -> None:
        """Args: ``is_gone`` asks systemd whether the unit job of this object path has ended."""
        self._is_gone = is_gone
        self._look_interval_s = look_interval_s
        self._waiters: dict[str, list[_Waiter]] = {}
        self._early: dict[str, str] = {}
        self._asking = 0

    async def outcome(self, ask: Callable[[], Awaitable[str]], *, purpose: str, timeout_s: float) -> str:
        """Have a unit job queued and wait for its end.

        Args:
            ask: Makes the call that queues it and returns its object path, or '' when it has ended unseen.
            purpose: What was wanted, as in "start unit 'x.service'".
            timeout_s: Seconds to wait once it is queued; the call has its own deadline.

        Returns:
            systemd's word: done, canceled, timeout, failed, dependency, skipped …; or ``UNSEEN``.

        Raises:
            OperationTimeout: It has not ended in time; it goes on in systemd.
            SystemdUnavailable: The bus connection was lost; it goes on in systemd.
        """
        with self._results_kept():
            path = await ask()
            if not path:
                return UNSEEN
            if path in self._early:
                return self._early[path]
            waiter = self._register(path)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._wait(path, waiter)
        except TimeoutError:
            text = f"its unit job has not ended within {timeout_s:g} s and goes on"
            raise OperationTimeout(f"cannot {purpose} in time: {text}", unit_job=path) from None
        finally:
            self._unregister(path, waiter)

    def on_removed(self, path: str, result: str) -> None:
        """Take the news that a unit job ended."""
        if self._asking:
            self._early[path] = result
        for waiter in self._waiters.get(path, ()):
            waiter.wake(result=result)

    def on_doubt(self) -> None:
        """Take the news that signals may have been missed."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.wake()

    def on_loss(self, loss: SystemdUnavailable) -> None:
        """Take the news that the bus connection is lost."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.wake(loss=again(loss))

    @contextmanager
    def _results_kept(self) -> Iterator[None]:
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:
                self._early.clear()

    async def _wait(self, path: str, waiter: _Waiter) -> str:
        while True:
            await self._woken(waiter)
            if (result := waiter.outcome()) is not None:
                return result
            if await self._is_gone(path):
                return waiter.outcome() or UNSEEN

    async def _woken(self, waiter: _Waiter) -> None:
        try:
            async with asyncio.timeout(self._look_interval_s):
                await waiter.woken.wait()
        except TimeoutError:
            return
        waiter.woken.clear()

    def _register(self, path: str) -> _Waiter:
        waiter = _Waiter()
        self._waiters.setdefault(path, []).append(waiter)
        return waiter

    def _unregister(self, path: str, waiter: _Waiter) -> None:
        self._waiters[path].remove(waiter)
        if not self._waiters[path]:
            del self._waiters[path]
