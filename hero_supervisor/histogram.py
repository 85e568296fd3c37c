"""``Histogram``: how often something took how long."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(slots=True)
class Histogram:
    """Times, counted by the first bound that they do not exceed."""

    #: In seconds, rising; as floats, for they are shown as ``1.0``.
    bounds_s: tuple[float, ...]
    #: One number for each bound, and one for what exceeds the last.
    counts: list[int] = field(default_factory=list)
    #: All times together.
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds_s) + 1)

    def observe(self, seconds: float) -> None:
        """Count a time."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds

    @property
    def total(self) -> int:
        """How many times were counted."""
        return sum(self.counts)

    def rising(self) -> list[tuple[str, float]]:
        """Return each bound with how many times do not exceed it, the last one being ``+Inf``."""
        names = [*(str(bound) for bound in self.bounds_s), "+Inf"]
        return [(name, float(count)) for name, count in zip(names, accumulate(self.counts), strict=True)]
