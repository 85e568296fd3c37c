"""The fault matrix: what has to stay true when things break. Each case prints its figures and asserts its bound.

Bounds are those of docs/operations.md where a figure is promised, with room for a busy machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import service, stopped_service

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["figures", "service", "stopped_service"]


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print what a case did and measured: ``figures("kill -9 of a worker", kills=100, ...)``."""

    def show(case: str, **values: object) -> None:
        with capsys.disabled():
            print(f"\n{case}:")
            for name, value in values.items():
                shown = f"{value:.3g}" if isinstance(value, float) else value
                print(f"  {name.replace('_', ' '):40} {shown}")

    return show
