"""One attempt at a job: calls its handler, breaks it off when that must be, and tells how it ended.

``async`` handlers are broken off by cancelling them where they wait. For a soft timeout they get ``SoftTimeout`` there
instead, so that they can end well. Handlers in threads cannot be broken off: they can see ``JobContext.cancelled``;
one that does not look at it goes on, and its attempt ends when it does, or with the process.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from hero_supervisor.queue.claims import ERROR, FINISHED, RELEASED, Ended

from .context import current_job
from .interruption import Interruption, SoftTimeout
from .results import Outcome, outcome_of_exception, outcome_of_value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from concurrent.futures import Executor

    from .context import JobContext


class Attempt:
    """An attempt that is being made. ``run`` is awaited in a task of its own, once."""

    def __init__(self, context: JobContext, handler: Callable[[JobContext], Any], threads: Executor | None) -> None:
        """Args: the job, what executes it, and where that is called if it is not ``async``."""
        self.context = context
        self._handler = handler
        self._threads = threads
        self._task: asyncio.Task[Any] | None = None
        #: ``SoftTimeout`` is to be raised where the handler waits.
        self._is_softened = False

    @property
    def can_be_broken_off(self) -> bool:
        """Whether its handler can be made to end."""
        return self._threads is None

    def interrupt(self, why: Interruption) -> None:
        """Have it end; nothing happens if it has been asked for a reason as good."""
        if self.context.interrupt(why) and self._task is not None and self.can_be_broken_off:
            self._is_softened = why is Interruption.SOFT_TIMEOUT
            self._task.cancel()

    async def run(self) -> Ended:
        """Call the handler and return how the attempt ended."""
        self._task = asyncio.current_task()
        current_job.set(self.context)
        job = self.context.job
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(job.timeout, self.interrupt, Interruption.TIMEOUT)]
        if job.soft_timeout is not None:
            timers.append(loop.call_later(job.soft_timeout, self.interrupt, Interruption.SOFT_TIMEOUT))
        try:
            outcome = await self._called()
        finally:
            for timer in timers:
                timer.cancel()
        word, text = self._judged(outcome)
        return Ended(job.id, self.context.attempt, word, text)

    async def _called(self) -> Outcome:
        if self.context.interruption is not None:
            return Outcome(ERROR, "interrupted before it began")
        try:
            return outcome_of_value(await self._call())
        except (Exception, SystemExit, asyncio.CancelledError) as exc:
            # Nobody but ``interrupt`` cancels this task; else it is an exception of the handler's own.
            return outcome_of_exception(exc, soft_timeout_s=self.context.job.soft_timeout)

    def _call(self) -> Awaitable[Any]:
        if self._threads is not None:
            call = contextvars.copy_context().run
            return asyncio.get_running_loop().run_in_executor(self._threads, call, self._handler, self.context)
        if self.context.job.soft_timeout is None:
            called: Awaitable[Any] = self._handler(self.context)
            return called
        return _Softened(self._handler(self.context), self._takes_softening)

    def _takes_softening(self) -> bool:
        is_softened, self._is_softened = self._is_softened, False
        if is_softened and self._task is not None:
            self._task.uncancel()
        return is_softened

    def _judged(self, outcome: Outcome) -> Outcome:
        """Return the outcome in the light of why the attempt was broken off."""
        match self.context.interruption:
            case Interruption.TIMEOUT:
                return Outcome(ERROR, f"timed out after {self.context.job.timeout} s")
            case Interruption.STOPPING if outcome.word != FINISHED:
                return Outcome(RELEASED)
            case Interruption.CANCELLED if outcome.word != FINISHED:
                return Outcome(ERROR, "cancelled")
            case _:
                return outcome


class _Softened:
    """Awaits a coroutine; where that waits when its task is cancelled for it, ``SoftTimeout`` is raised."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], takes_softening: Callable[[], bool]) -> None:
        self._coroutine = coroutine
        self._takes_softening = takes_softening

    def __await__(self) -> Generator[Any, Any, Any]:
        """Step through the coroutine as ``yield from`` does, with one exception made another."""
        error: BaseException | None = None
        value = None
        while True:
            try:
                waits_for = self._coroutine.send(value) if error is None else self._coroutine.throw(error)
            except StopIteration as end:
                return end.value
            error = value = None
            try:
                value = yield waits_for
            except asyncio.CancelledError as exc:
                error = SoftTimeout("its soft timeout has passed") if self._takes_softening() else exc
            except BaseException as exc:  # it is the coroutine's, also GeneratorExit
                error = exc
