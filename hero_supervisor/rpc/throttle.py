"""Counts what should not happen often, by where it comes from, in a table of limited size."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

#: Sources that are remembered; beyond, those are forgotten whose time began first.
MAX_SOURCES: Final = 1_024
WINDOW_S: Final = 60.0


class Count(NamedTuple):
    """How often it has happened within a minute, and seconds until that minute is over."""

    number: int
    left_s: float


class Throttle:
    """Counts by source: a minute begins with the first that comes from there."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: what tells the time, in seconds."""
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, source: str) -> Count:
        """Count one more, and return how many it is now."""
        now = self._clock()
        began, number = self._counts.get(source, (now, 0))
        if now >= began + WINDOW_S:
            del self._counts[source]
            began, number = now, 0
        self._counts[source] = (began, number + 1)
        if len(self._counts) > MAX_SOURCES:
            self._counts.popitem(last=False)
        return Count(number + 1, began + WINDOW_S - now)
