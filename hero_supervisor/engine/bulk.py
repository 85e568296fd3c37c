"""Operations on many runners: one task each, known by an id while they run and for some time after.

What becomes of one runner does not touch the others: each has its own outcome. Runners are worked on in stages, because
some wait for others; within a stage side by side, with a cap. An operation goes on when whoever asked for it is gone.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from hero_supervisor.errors import HeroError, OperationNotFound
from hero_supervisor.records import Operation, OperationState, RunnerOutcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hero_supervisor.records import RunnerState, Verb

logger = logging.getLogger(__name__)

#: Runners that one operation works on at once.
MAX_AT_ONCE: Final = 64
#: Operations that are remembered; the oldest that have ended are forgotten first.
MAX_REMEMBERED: Final = 500


class BulkOperations:
    """The operations of one supervisor, under way and ended."""

    def __init__(self, on_change: Callable[[Operation], None] = lambda _: None) -> None:
        """Args: who is told that an operation has begun, or ended."""
        self._on_change = on_change
        self._known: dict[str, Operation] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(
        self, verb: Verb, stages: Sequence[Sequence[str]], do: Callable[[str], Awaitable[RunnerState | None]]
    ) -> str:
        """Begin an operation and return its id.

        Args:
            verb: What is done.
            stages: The runners, in the order in which they are to be worked on.
            do: Does it to one runner and returns its state afterwards.
        """
        id = uuid.uuid4().hex
        pending = tuple(RunnerOutcome(id=runner) for stage in stages for runner in stage)
        self._known[id] = Operation(
            id=id, verb=verb, state=OperationState.RUNNING, started_at=_now(), ended_at=None, outcomes=pending
        )
        self._tasks[id] = asyncio.create_task(self._run(id, stages, do), name=f"operation-{verb}")
        # Not at the end of the task's own code: one that is cancelled at once never executes any.
        self._tasks[id].add_done_callback(partial(self._end, id))
        self._forget_old()
        self._on_change(self._known[id])
        return id

    def get(self, id: str) -> Operation:
        """Return an operation as it stands.

        Raises:
            OperationNotFound: No operation has this id, or it was long ago.
        """
        if id not in self._known:
            raise OperationNotFound(f"cannot find operation '{id[:80]}'", operation=id[:80])
        return self._known[id]

    def all(self) -> list[Operation]:
        """Return all operations that are remembered, newest first."""
        return list(self._known.values())[::-1]

    async def wait(self, id: str, *, timeout_s: float | None = None) -> None:
        """Wait for the end of an operation, or until the time is up; being cancelled does not cancel it."""
        if id in self._tasks:
            await asyncio.wait([self._tasks[id]], timeout=timeout_s)

    async def cancel(self, id: str) -> Operation:
        """Stop an operation from going on, and return what it has done; what systemd was asked to do goes on there.

        Raises:
            OperationNotFound: No operation has this id.
        """
        self.get(id)
        if id in self._tasks:
            self._tasks[id].cancel()
        await self.wait(id)
        return self.get(id)

    async def aclose(self) -> None:
        """Cancel all operations."""
        await asyncio.gather(*(self.cancel(id) for id in tuple(self._tasks)))

    async def _run(
        self, id: str, stages: Sequence[Sequence[str]], do: Callable[[str], Awaitable[RunnerState | None]]
    ) -> None:
        slots = asyncio.Semaphore(MAX_AT_ONCE)

        async def one(runner: str) -> None:
            async with slots:
                self._note(id, await _outcome(runner, do))

        for stage in stages:
            await asyncio.gather(*map(one, stage))

    def _end(self, id: str, task: asyncio.Task[None]) -> None:
        state = OperationState.CANCELLED if task.cancelled() else OperationState.DONE
        self._known[id] = replace(self._known[id], state=state, ended_at=_now())
        del self._tasks[id]
        self._on_change(self._known[id])

    def _note(self, id: str, outcome: RunnerOutcome) -> None:
        operation = self._known[id]
        outcomes = tuple(outcome if each.id == outcome.id else each for each in operation.outcomes)
        self._known[id] = replace(operation, outcomes=outcomes)

    def _forget_old(self) -> None:
        ended = [id for id in self._known if id not in self._tasks]
        for id in ended[: max(0, len(self._known) - MAX_REMEMBERED)]:
            del self._known[id]


async def _outcome(runner: str, do: Callable[[str], Awaitable[RunnerState | None]]) -> RunnerOutcome:
    try:
        return RunnerOutcome(id=runner, is_done=True, status=await do(runner))
    except HeroError as exc:
        logger.warning("%s", exc, extra={"runner": runner})
        return RunnerOutcome(id=runner, is_done=True, error=exc.message, kind=exc.kind, hint=exc.hint)
    except Exception:  # a fault of ours with one runner must not touch the others
        logger.exception("cannot work on runner %s", runner, extra={"runner": runner})
        return RunnerOutcome(id=runner, is_done=True, error="internal error", kind="internal-error")


def _now() -> datetime:
    return datetime.now(UTC)
