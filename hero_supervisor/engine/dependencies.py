"""Whether the runners that a runner comes after are there: its ``after``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import DependencyNotReady
from hero_supervisor.records import RunnerState
from hero_supervisor.runner import Milestone
from hero_supervisor.state import Desired

from .status import state_of

if TYPE_CHECKING:
    from hero_supervisor.runner import Runner

    from .health import HealthKeeper
    from .instances import Instances
    from .registry import Registry

#: Seconds between two looks at runners that are waited for; no news tells of readiness.
LOOK_PAUSE_S: Final = 0.2


class Dependencies:
    """Tells what a runner still waits for."""

    def __init__(self, registry: Registry, instances: Instances, health: HealthKeeper) -> None:
        self._registry = registry
        self._instances = instances
        self._health = health

    async def unmet(self, runner: Runner) -> list[str]:
        """Return the runners that this one comes after and that are not there yet.

        Raises:
            DependencyNotReady: One is not meant to run, or does not exist: waiting would not help.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return [other for other, how in runner.after.items() if not await self._is_there(runner.id, other, how)]

    async def wait(self, runner: Runner) -> None:
        """Wait until all runners that this one comes after are there, at most its ``start_timeout_s``.

        Raises:
            DependencyNotReady: One is not there in time, is not meant to run, or does not exist.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        unmet = await self.unmet(runner)
        try:
            async with asyncio.timeout(runner.start_timeout_s):
                while unmet:
                    await asyncio.sleep(LOOK_PAUSE_S)
                    unmet = await self.unmet(runner)
        except TimeoutError:
            text = f"it comes after {', '.join(unmet)}, not there within {runner.start_timeout_s:g} s"
            raise DependencyNotReady(f"cannot start runner '{runner.id}': {text}", runner=runner.id) from None

    async def _is_there(self, runner: str, other: str, how: Milestone) -> bool:
        if other not in self._registry or self._registry.get(other).desired is not Desired.RUNNING:
            raise DependencyNotReady(
                f"cannot start runner '{runner}': it comes after '{other}', which is not meant to run",
                hint=f"start it first: herosup runner start {other}",
                runner=runner,
            )
        if not self._registry.get(other).definition.has_processes:
            return True
        units = await self._instances.look(self._registry.get(other).definition)
        is_started = all(state_of(unit) is RunnerState.RUNNING for unit in units)
        return is_started and (how is Milestone.STARTED or all(self._health.is_ready(unit.name) for unit in units))
