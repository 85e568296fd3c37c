"""A supervisor on a real Redis, with units in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.scope import Scope
from hero_supervisor.testing import InMemoryAuditLog, InMemoryExitSource, InMemoryLogSource, InMemoryProcessManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hero_supervisor.supervisor import Supervisor

Build = Callable[[], SupervisorBuilder]


@pytest.fixture
def processes() -> InMemoryProcessManager:
    return InMemoryProcessManager()


@pytest.fixture
def exits() -> InMemoryExitSource:
    return InMemoryExitSource()


@pytest.fixture
def build(
    processes: InMemoryProcessManager, exits: InMemoryExitSource, redis_url: str, namespace: str, tmp_path: Path
) -> Build:
    """Make builders of supervisors that share one Redis, one state directory and one systemd."""

    def builder() -> SupervisorBuilder:
        builder = SupervisorBuilder().redis_url(redis_url).namespace(namespace).state_dir(tmp_path / "state")
        builder = builder.process_manager(processes).log_source(InMemoryLogSource())
        return builder.exit_source(exits).audit_log(InMemoryAuditLog()).anonymous_scope(Scope.ADMIN)

    return builder


@pytest.fixture
async def supervisor(build: Build) -> AsyncIterator[Supervisor]:
    async with await build().build() as supervisor:
        yield supervisor
