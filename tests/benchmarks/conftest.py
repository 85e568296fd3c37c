"""Benchmarks print figures, and ratios to others measured in the same run; they assert results, never times."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.peers import peers
from tests.e2e.conftest import service, stopped_service
from tests.redis_fixtures import RedisProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    Times = Mapping[str, Sequence[float]]

__all__ = ["compare", "figure", "peers", "report", "service", "stopped_service"]

Report = "Callable[[str, Sequence[float], Sequence[float], float], None]"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that keeps an append-only file, written out every second."""
    server = RedisProcess(tmp_path, "--appendfsync", "everysec")
    server.start()
    yield server
    server.stop()


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


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Times, float], None]:
    """Print what each took, in milliseconds, and how many times as long as we, the first, the peers took."""

    def show(name: str, times_s: Times, bar: float) -> None:
        ours = median(next(iter(times_s.values())))
        with capsys.disabled():
            print(f"\n{name}, interleaved rounds: p50, p95, max")
            for who, times in times_s.items():
                figures = (median(times), quantiles(times, n=20, method="inclusive")[-1], max(times))
                print(f"  {who:22}({len(times):2} rounds)", *(f"{1000 * value:9.2f} ms" for value in figures), end="")
                ratio = median(times) / ours
                goal = f"   {ratio:.1f} times ours (to reach: {bar:g}, {_reached(ratio >= bar)})"
                print("" if who.startswith("ours") else goal)

    return show


@pytest.fixture
def figure(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print a figure with its unit, and what it is to be at most, or at least."""

    def show(name: str, value: float, unit: str, bar: float | None = None, *, at_least: float | None = None) -> None:
        goal = "" if bar is None else f"   (to reach: at most {bar:g}, {_reached(value <= bar)})"
        if at_least is not None:
            goal = f"   (to reach: at least {at_least:g}, {_reached(value >= at_least)})"
        with capsys.disabled():
            print(f"\n{name}: {value:.3f} {unit}{goal}")

    return show


def _reached(is_so: bool) -> str:
    return "reached" if is_so else "NOT REACHED"
