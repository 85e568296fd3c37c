"""``Rates``: how much went through each queue in the last minute, from samples of what has been counted."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from hero_supervisor.client import JobClient
    from hero_supervisor.records import QueueStats
    from hero_supervisor.state import StoredRunner

#: Seconds between two samples, and over which rates are told.
SAMPLE_S: Final = 15.0
SPAN_S: Final = 60.0


class Rates:
    """Samples of the counts of queues."""

    def __init__(self, jobs: Callable[[], JobClient]) -> None:
        self._jobs = jobs
        self._samples: dict[str, deque[QueueStats]] = {}

    async def look(self, stored: StoredRunner) -> float:
        """Take a sample, if it is time; return the seconds until the next."""
        runner = stored.definition.id
        samples = self._samples.setdefault(runner, deque(maxlen=int(SPAN_S / SAMPLE_S) + 1))
        stats = await self._jobs().queues.stats(runner)
        if not samples or (stats.at - samples[-1].at).total_seconds() >= SAMPLE_S * 0.9:
            samples.append(stats)
        return SAMPLE_S

    def told(self, stats: QueueStats) -> QueueStats:
        """Return the stats of a queue with its rates."""
        samples = self._samples.get(stats.runner)
        if not samples:
            return stats
        past = samples[0]
        seconds = (stats.at - past.at).total_seconds()
        if seconds <= 0:
            return stats
        changes = {name: count - past.counts.get(name, 0) for name, count in stats.counts.items()}
        return replace(stats, per_second={name: change / seconds for name, change in changes.items()})
