"""What only a machine of their own can show: enforced limits, and reboots. ``make test-vm`` runs these tests in one.

It boots twice, and HERO_VM_BOOT says for which time: tests with ``@pytest.mark.boot(2)`` run after the reboot, all
others before it. What they leave on disk for each other is there again.
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
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "boot(number): run at this boot of the virtual machine, 1 or 2; else at the first"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to another boot; outside the virtual machine each test says so itself."""
    others = [item for item in items if BOOT and _is_of_this_directory(item) and boot_of(item) != int(BOOT)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def _is_of_this_directory(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents


def boot_of(item: pytest.Item) -> int:
    """Return the boot at which a test runs."""
    marker = item.get_closest_marker("boot")
    return int(marker.args[0]) if marker else 1


@pytest.fixture(autouse=True)
def virtual_machine() -> None:
    """These tests install a service, fill the memory and count on a reboot."""
    if not BOOT:
        missing("this is not the virtual machine of the tests; as root, run: make test-vm")
