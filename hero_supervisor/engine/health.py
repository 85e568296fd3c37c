"""Whether instances work, by their probes. Each run of an instance that has probes has a prober for each of them.

``readiness_probe`` only gates: an instance that is not ready counts as starting, so those that come after it wait.
``liveness_probe`` has consequences: an instance that is not alive is replaced. They are two probes and not one, because
what fails with a dependency must not be restarted for it.

Probers follow runs: they begin when a run is seen and end with it. A run that was there before us counts as ready until
its probe says otherwise, or a restart of the supervisor would make everything wait.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hero_supervisor.errors import OperationTimeout, UnitFailed
from hero_supervisor.probing import Prober, wait_healthy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hero_supervisor.definition.probe import Probe
    from hero_supervisor.probing import Checker, Health
    from hero_supervisor.runner import Runner
    from hero_supervisor.unit import UnitStatus

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    """One run of an instance, and the tasks that probe it."""

    invocation_id: str
    probes: tuple[Probe | None, Probe | None]
    is_ready: bool
    is_alive: bool = True
    tasks: tuple[asyncio.Task[None], ...] = ()


class HealthKeeper:
    """Knows which instances are ready, and tells of those that are not alive. Owns the tasks that probe."""

    def __init__(
        self,
        checker_of: Callable[[Runner], Checker],
        on_dead: Callable[[str], None],
        on_ready: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            checker_of: Makes the tries for a runner.
            on_dead: Is told the id of a runner of which an instance is not alive.
            on_ready: Is told the id of a runner of which an instance has become ready, or is not any more.
        """
        self._on_ready = on_ready
        self._checker_of = checker_of
        self._on_dead = on_dead
        self._runs: dict[str, _Run] = {}

    def is_ready(self, unit_name: str) -> bool:
        """Whether an instance that runs is ready, as far as probes go."""
        run = self._runs.get(unit_name)
        return run is None or run.is_ready

    def is_alive(self, unit: UnitStatus) -> bool:
        """Whether the run of a unit is alive, as far as probes go."""
        run = self._runs.get(unit.name)
        return run is None or run.invocation_id != unit.invocation_id or run.is_alive

    async def wait_ready(self, runner: Runner, unit: UnitStatus) -> None:
        """Wait until the readiness probe of an instance that was just started is healthy.

        Raises:
            UnitFailed: It was not, within the runner's ``start_timeout_s``.
        """
        if runner.readiness_probe is None:
            self.follow(runner, [unit])
            return
        self.forget([unit.name])
        self._runs[unit.name] = _Run(unit.invocation_id, _probes_of(runner), is_ready=False)
        try:
            await wait_healthy(runner.readiness_probe, self._checker_of(runner), timeout_s=runner.start_timeout_s)
        except OperationTimeout as exc:
            text = f"cannot start runner '{runner.id}': its readiness probe fails: {exc.facts.get('reason')}"
            raise UnitFailed(text, runner=runner.id, unit=unit.name) from exc
        # Not before: what takes long to come up is not dead.
        self._begin(runner, unit, is_ready=True)

    def follow(self, runner: Runner, units: Sequence[UnitStatus]) -> None:
        """Bring the probers of a runner in line with what runs.

        Args:
            runner: The runner.
            units: The present status of some of its instances.
        """
        probes = _probes_of(runner)
        for unit in units:
            run = self._runs.get(unit.name)
            if run and (run.invocation_id, run.probes) == (unit.invocation_id, probes) and unit.is_running:
                continue
            self.forget([unit.name])
            if unit.active_state == "active" and any(probes):
                # An instance that we knew has been restarted by systemd.
                self._begin(runner, unit, is_ready=run is None or runner.readiness_probe is None)

    def forget(self, unit_names: Sequence[str]) -> None:
        """End the probers of instances."""
        for name in unit_names:
            run = self._runs.pop(name, None)
            for task in run.tasks if run else ():
                task.cancel()

    async def aclose(self) -> None:
        """End all probers."""
        tasks = [task for run in self._runs.values() for task in run.tasks]
        self.forget(tuple(self._runs))
        if tasks:
            await asyncio.wait(tasks)

    # -- inside --------------------------------------------------------------------------------------------------

    def _begin(self, runner: Runner, unit: UnitStatus, *, is_ready: bool) -> None:
        self.forget([unit.name])
        run = _Run(unit.invocation_id, _probes_of(runner), is_ready)
        self._runs[unit.name] = run
        self._on_ready(runner.id)
        checker = self._checker_of(runner)

        def on_readiness(health: Health) -> None:
            run.is_ready = bool(health.healthy)
            self._on_ready(runner.id)
            _log("ready", unit.name, health)

        def on_liveness(health: Health) -> None:
            run.is_alive = bool(health.healthy)
            _log("alive", unit.name, health)
            if not run.is_alive:
                self._on_dead(runner.id)

        run.tasks = tuple(
            asyncio.create_task(Prober(probe, checker, on_change).run(), name=f"probe-{unit.name}")
            for probe, on_change in zip(run.probes, (on_readiness, on_liveness), strict=True)
            if probe is not None
        )


def _probes_of(runner: Runner) -> tuple[Probe | None, Probe | None]:
    return runner.readiness_probe, runner.liveness_probe


def _log(word: str, unit_name: str, health: Health) -> None:
    if health.healthy:
        logger.info("unit %s is %s", unit_name, word, extra={"unit": unit_name})
    else:
        logger.warning("unit %s is not %s: %s", unit_name, word, health.reason, extra={"unit": unit_name})
