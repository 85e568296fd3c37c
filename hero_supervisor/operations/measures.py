"""What is measured of everything at once, for metrics. It is no method for clients, and never fails as a whole.

What systemd or Redis do not tell in time is missing; the rest is told.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from hero_supervisor.errors import HeroError, RedisUnavailable

from .fleet import FleetOperations
from .health import ANSWER_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from hero_supervisor.ports import ExitKind
    from hero_supervisor.queue.figures import QueueFigures
    from hero_supervisor.records import RunnerStatus

AnswerT = TypeVar("AnswerT")

#: Seconds after which the event loop is to do something, to see how much later it does.
_LAG_PROBE_S: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What was found."""

    #: Of all runners; None when systemd does not answer.
    statuses: Sequence[RunnerStatus] | None
    #: Of the runners' queues that can be read; None when Redis does not answer.
    queues: Mapping[str, QueueFigures] | None
    #: How many ends of runs of these runners were taken note of since the start.
    exits: Mapping[ExitKind, int]
    #: Seconds that a small question took; and how often the connection to systemd was made again.
    systemd_s: float
    redis_s: float
    systemd_reconnects: int
    #: How many calls of Redis failed since the start, by the kind of the error.
    redis_failures: Mapping[str, int]
    #: Seconds by which the event loop was late.
    lag_s: float


class MeasureOperations(FleetOperations):
    """Looking at everything in numbers."""

    async def measure(self) -> Measures:
        """Return what is measured, within some four seconds whatever is wrong."""
        lag_s = await _lag_s()
        (is_there, systemd_s), (redis, redis_s) = await asyncio.gather(
            _answer(self._processes.status(self._site.unit_name("any"))), _answer(self._is_there())
        )
        runners = list(self._registry)
        (statuses, _), (queues, _) = await asyncio.gather(
            _answer(self.get_all_runner_status() if is_there else _nothing()),
            _answer(self._jobs.queues.figures(runners) if redis else _nothing()),
        )
        return Measures(
            statuses=statuses,
            queues=queues,
            exits={kind: number for kind, number in self._exits.counts.items() if kind.runner in self._registry},
            systemd_s=systemd_s,
            redis_s=redis_s,
            systemd_reconnects=self._processes.reconnects,
            redis_failures=self._redis_failures(),
            lag_s=lag_s,
        )

    def _redis_failures(self) -> dict[str, int]:
        try:
            return dict(self._jobs.failures)
        except RedisUnavailable:  # not connected yet
            return {}

    async def _is_there(self) -> bool:
        await self._jobs.ping()
        return True


async def _answer(question: Awaitable[AnswerT]) -> tuple[AnswerT | None, float]:
    """Ask a question; return the answer, None when there is none in time, and the seconds that it took."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(ANSWER_S):
            return await question, time.perf_counter() - began
    except (HeroError, TimeoutError):
        return None, time.perf_counter() - began


async def _nothing() -> None:
    """Answer a question that need not be asked."""


async def _lag_s() -> float:
    began = time.perf_counter()
    await asyncio.sleep(_LAG_PROBE_S)
    return max(0.0, time.perf_counter() - began - _LAG_PROBE_S)
