"""What only a machine of their own can show: enforced limits, reboots, power cuts. ``make test-vm`` runs them in one.

It boots several times, and HERO_VM_BOOT says for which time: tests with ``@pytest.mark.boot(2)`` run after the reboot,
all others before it. What they leave on disk for each other is there again. The power is cut during a test that is
marked ``power_cut``, so it comes last, and the machine boots once more.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.conftest import figures
from tests.conftest import missing

__all__ = ["figures"]

BOOT = os.environ.get("HERO_VM_BOOT")


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    config.addinivalue_line(
        "markers", "boot(number, ...): run at these boots of the virtual machine, from 1 up; else at the first"
    )
    config.addinivalue_line("markers", "power_cut: the power is cut meanwhile; no test of this boot runs after it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to another boot; outside the virtual machine each test says so itself."""
    others = [item for item in items if BOOT and _is_of_this_directory(item) and int(BOOT) not in boots_of(item)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    items.sort(key=lambda item: item.get_closest_marker("power_cut") is not None)


def _is_of_this_directory(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents


def boots_of(item: pytest.Item) -> tuple[int, ...]:
    """Return the boots at which a test runs."""
    marker = item.get_closest_marker("boot")
    return marker.args if marker else (1,)


@pytest.fixture(autouse=True)
def virtual_machine() -> None:
    """These tests install a service, fill the memory and count on a reboot."""
    if not BOOT:
        missing("this is not the virtual machine of the tests; as root, run: make test-vm")
