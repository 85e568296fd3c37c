"""How many requests came, what became of them, and how long they took; in plain numbers, for metrics."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any, Final

from hero_supervisor.histogram import Histogram

from .codes import METHOD_NOT_FOUND

#: In seconds. Methods that wait for a job may take much longer than the last one.
BOUNDS_S: Final = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
#: In place of names that no method has: whoever calls could make them up without end.
UNKNOWN: Final = "unknown"
OK: Final = "ok"


class Tally:
    """Counts requests since the start."""

    def __init__(self) -> None:
        #: By method and outcome: ``ok``, or the kind of the error.
        self.requests: Counter[tuple[str, str]] = Counter()
        #: By method.
        self.times: dict[str, Histogram] = {}

    def copy(self) -> Tally:
        """Return what was counted until now, for another thread to look at."""
        return deepcopy(self)

    def count(self, method: str, error: Any, seconds: float) -> None:
        """Count a request.

        Args:
            method: A name of ours.
            error: The error that it was answered with; None when there is none.
            seconds: How long it took.
        """
        self.requests[method, OK if error is None else _kind_of(error)] += 1
        times = self.times.get(method)
        if times is None:
            times = self.times[method] = Histogram(BOUNDS_S)
        times.observe(seconds)


def _kind_of(error: Any) -> str:
    if error.code == METHOD_NOT_FOUND:
        return "method-not-found"
    data = error.data
    return str(data["kind"]) if isinstance(data, dict) and "kind" in data else "error"
