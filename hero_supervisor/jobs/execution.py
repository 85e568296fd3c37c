"""What the executions of all protocols are, and what they know in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hero_supervisor.runner import JobProtocol
    from hero_supervisor.state import StoredRunner

#: Seconds after its deadline that a job is left to whoever executes it, and from asking it to stop to making it stop.
OVERDUE_GRACE_S = 5.0
STOP_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Host:
    """Where jobs are executed, as holders' records tell it."""

    node: str
    boot_id: str


class Execution(Protocol):
    """Sees to the jobs of runners of one protocol."""

    async def look(self, stored: StoredRunner) -> float | None:
        """Bring what happens to a runner's jobs together with what should.

        It is never called twice at once for one runner, but for different ones; it may be broken off anywhere.

        Returns:
            Seconds until it wants to look again; ``None``: with the next sweep, or news.

        Raises:
            HeroError: Redis or systemd cannot be asked; it is called again later.
        """

    async def aclose(self) -> None:
        """End what it does beside looks. Jobs go on."""


class Executions:
    """The executions of all protocols."""

    def __init__(self, executions: Mapping[JobProtocol, Execution]) -> None:
        self._executions = executions

    async def look(self, stored: StoredRunner) -> float | None:
        """See to the jobs of a runner, as its protocol asks for."""
        execution = self._executions.get(stored.definition.job_protocol)
        return await execution.look(stored) if execution else None

    async def aclose(self) -> None:
        """End what they do beside looks."""
        for execution in self._executions.values():
            await execution.aclose()
