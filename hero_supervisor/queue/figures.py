"""What is measured of queues: numbers of jobs, what has happened to jobs, how long they waited and ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from hero_supervisor.histogram import Histogram

#: What times of jobs are counted by, in milliseconds; the same as in common.lua.
BOUNDS_MS: Final = (1, 5, 10, 50, 100, 500, 1000, 5000, 10000, 60000, 300000, 3600000)
#: Queues that are looked at in one call, which takes Redis a millisecond or two.
PER_CALL: Final = 100

_BOUNDS_S: Final = tuple(bound / 1000 for bound in BOUNDS_MS)
#: Names in the hash of counts: for each bound, for what exceeds the last, and for the sum.
_WAIT, _RUN = (tuple(f"{what}:{bound}".encode() for bound in (*BOUNDS_MS, "inf", "ms")) for what in ("wait", "run"))
_STATES: Final = ("pending", "scheduled", "waiting", "taken", "dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """What is measured of one queue."""

    #: Numbers of jobs, by the words of ``QueueStats``.
    jobs: dict[str, int]
    #: Seconds that the oldest pending job has waited; 0 when there is none.
    oldest_s: float
    #: What has happened, as in ``QueueStats``.
    counts: dict[str, int]
    #: How long the last attempts of ended jobs waited in the queue, and ran.
    wait: Histogram
    run: Histogram


def read(answer: Any) -> QueueFigures:
    """Return the figures of a queue, as the script ``figures`` answers."""
    flat, sizes, oldest_ms = answer
    numbers = _numbers(flat)
    return QueueFigures(
        jobs=dict(zip(_STATES, sizes, strict=True)),
        oldest_s=int(oldest_ms or 0) / 1000,
        counts=_without_times(numbers),
        wait=_times_in(numbers, _WAIT),
        run=_times_in(numbers, _RUN),
    )


def counts_in(flat: list[bytes]) -> dict[str, int]:
    """Return what has happened, from the names and values in the hash of counts."""
    return _without_times(_numbers(flat))


def _numbers(flat: list[bytes]) -> dict[bytes, int]:
    # What anyone else has written there must not hide the rest.
    return {name: int(value) for name, value in zip(flat[::2], flat[1::2], strict=True) if value.isdigit()}


def _without_times(numbers: dict[bytes, int]) -> dict[str, int]:
    return {name.decode(errors="replace"): number for name, number in numbers.items() if b":" not in name}


def _times_in(numbers: dict[bytes, int], names: tuple[bytes, ...]) -> Histogram:
    *counts, sum_ms = [numbers.get(name, 0) for name in names]
    return Histogram(_BOUNDS_S, counts, sum_ms / 1000)
