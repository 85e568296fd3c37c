"""Benchmarks print figures, and ratios to a floor measured in the same run; they assert results, never times."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import service, stopped_service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["report", "service", "stopped_service"]

Report = "Callable[[str, Sequence[float], Sequence[float], float], None]"


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Sequence[float], Sequence[float], float], None]:
    """Print what we and the floor took, in milliseconds, and the ratio of the medians beside the one to reach."""

    def show(name: str, ours_s: Sequence[float], floor_s: Sequence[float], bar: float) -> None:
        ratio = median(ours_s) / median(floor_s)
        with capsys.disabled():
            print(f"\n{name}, median of {len(ours_s)} interleaved rounds (min to max):")
            for who, times in (("ours", ours_s), ("floor", floor_s)):
                low, mid, high = (1000 * value for value in (min(times), median(times), max(times)))
                print(f"  {who:6}{mid:9.2f} ms   ({low:.2f} to {high:.2f})")
            print(f"  ratio {ratio:9.2f}      (to reach: {bar:.2f}, {'reached' if ratio <= bar else 'NOT REACHED'})")

    return show
