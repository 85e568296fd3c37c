"""For all tests: nothing may be left behind, and a missing daemon skips on a laptop but fails in CI."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytest_plugins = [
    *("tests.redis_fixtures", "tests.systemd_fixtures", "tests.journal_fixtures", "tests.supervisor_fixtures"),
    "tests.listed_fixtures",
    "tests.worker_fixtures",
]


def missing(what: str) -> NoReturn:
    """Skip a test that needs something this machine does not have; fail where everything has to be there."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI must have it")
    pytest.skip(what)


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """Fail a test that leaves asyncio tasks behind."""
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()}
    assert not left, f"tasks left behind: {left}"
