"""``Rates``: how much went through each queue in the last minute, from samples of what has been counted."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
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
#: Seconds that the sample may be old with which the present is compared.
OLDEST_S: Final = SPAN_S + SAMPLE_S


class Rates:
    """Samples of the counts of queues."""

    def __init__(self, jobs: Callable[[], JobClient]) -> None:
        self._jobs = jobs
        self._samples: dict[str, deque[QueueStats]] = {}

    async def look(self, stored: StoredRunner) -> float | None:
        """Take a sample, if it is time; return the seconds until the next, ``None`` while nothing is counted."""
        runner = stored.definition.id
        samples = self._samples.setdefault(runner, deque(maxlen=int(SPAN_S / SAMPLE_S) + 1))
        age_s = (datetime.now(UTC) - samples[-1].at).total_seconds() if samples else SAMPLE_S
        if 0 <= age_s < SAMPLE_S * 0.9:
            return SAMPLE_S - age_s
        samples.append(await self._jobs().queues.stats(runner))
        before = samples[-2].counts if len(samples) > 1 else {}
        return None if samples[-1].counts == before else SAMPLE_S

    def told(self, stats: QueueStats) -> QueueStats:
        """Return the stats of a queue with its rates."""
        samples = self._samples.get(stats.runner)
        if not samples:
            return stats
        # While nothing was counted there may be no samples of the last minute: then the last one is as good.
        ages_s = [(stats.at - sample.at).total_seconds() for sample in samples]
        past = next((sample for sample, age_s in zip(samples, ages_s, strict=True) if age_s <= OLDEST_S), samples[-1])
        seconds = (stats.at - past.at).total_seconds()
        if seconds <= 0:
            return stats
        changes = {name: count - past.counts.get(name, 0) for name, count in stats.counts.items()}
        return replace(stats, per_second={name: change / seconds for name, change in changes.items()})
