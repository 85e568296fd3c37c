"""The instances of runners: one unit each. Starts, stops and looks at them; decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import UnitExists
from hero_supervisor.records import ExitReason
from hero_supervisor.runner import JobProtocol
from hero_supervisor.together import together
from hero_supervisor.unit import UnitEnd, render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hero_supervisor.ports import ExitSource, ProcessManager
    from hero_supervisor.runner import Runner
    from hero_supervisor.unit import Site, TransientUnit, UnitStatus

#: Why we stop an instance that is started again right after.
_OWN_CAUSES: Final = frozenset({ExitReason.REPLACED, ExitReason.MAX_AGE, ExitReason.UNHEALTHY})


class Instances:
    """The units of all runners of one supervisor."""

    def __init__(
        self, processes: ProcessManager, site: Site, exits: ExitSource, queue_of: Callable[[Runner, int], str]
    ) -> None:
        """Args: who runs units, what they have in common, who records ends, and which list an instance has."""
        self._processes = processes
        self._site = site
        self._exits = exits
        self._queue_of = queue_of

    def names(self, runner: Runner) -> list[str]:
        """Return the unit names of a runner's instances; that of the first when it is to have none."""
        return [self._site.unit_name(runner.id, number) for number in range(1, max(runner.processes, 1) + 1)]

    def unit(self, runner: Runner, instance: int, *, burst: int | None = None) -> TransientUnit:
        """Return the unit that ``start`` would start, with the same arguments."""
        capabilities = self._processes.capabilities
        queue = self._queue_of(runner, instance)
        return render(runner, self._site, queue=queue, instance=instance, burst=burst, capabilities=capabilities)

    async def start(self, runner: Runner, instance: int, *, burst: int | None = None) -> tuple[UnitStatus, bool]:
        """Start an instance and wait until systemd calls it started. Does nothing to one that runs.

        Returns:
            Its status, and whether it was started now.

        Args:
            runner: The runner.
            instance: Its number, from 1 up.
            burst: How many starts systemd allows before it gives the unit up; what the runner says if not given.

        Raises:
            HeroError: As ``SystemdManager.start``.
        """
        unit = self.unit(runner, instance, burst=burst)
        try:
            return await self._processes.start(unit), True
        except UnitExists:
            found = await self._processes.status(unit.name)
        if found.is_running:
            return found, False
        # A stop is under way that somebody else has asked for, or a supervisor that is no more: its end is near.
        await self._processes.stop(unit.name, timeout_s=runner.stop_timeout_s)
        return await self._processes.start(unit), True

    async def mend(self, runner: Runner, unit_name: str) -> None:
        """Correct what systemd will read again of the unit of an instance that runs, if its starter did not live to."""
        if unit_name in self.names(runner):
            await self._processes.mend(self.unit(runner, self._site.instance(unit_name)))

    async def stop(
        self, runner: Runner, names: Sequence[str] | None = None, *, reason: ExitReason = ExitReason.OPERATOR
    ) -> list[UnitStatus]:
        """Stop instances, side by side, and return how they ended.

        Args:
            runner: The runner.
            names: Their units; all of the runner's if not given.
            reason: Why, for the records of their exits. It is taken down first, so that they say so whatever happens.

        Raises:
            HeroError: As ``SystemdManager.stop``, for the first that could not be stopped; the others are.
        """
        wanted = self.names(runner) if names is None else names
        return await together([self._stop(name, reason, timeout_s=runner.stop_timeout_s) for name in wanted])

    async def stop_jobs(self, runner: Runner) -> None:
        """Stop the units of a runner's jobs that run; ``jobs/units.py`` gives the jobs back.

        Raises:
            HeroError: As ``OneShots.stop``, for the first that could not be stopped; the others are.
        """
        if runner.job_protocol is not JobProtocol.UNIT:
            return
        units = self._processes.one_shots
        states = await units.sub_states(self._site.job_units(runner.id))
        running = [name for name, state in states.items() if not UnitEnd(state).is_over]
        await together([units.stop(name, timeout_s=runner.stop_timeout_s) for name in running])

    async def _stop(self, name: str, reason: ExitReason, *, timeout_s: float) -> UnitStatus:
        (unit,) = await self._processes.statuses([name], pattern=name)
        if unit.is_running:
            await self._exits.expect(name, unit.invocation_id, reason)
        return await self._processes.stop(name, timeout_s=timeout_s)

    def is_replaced(self, unit: UnitStatus) -> bool:
        """Whether a run was stopped by us in order to start another one."""
        return self._exits.cause(unit.invocation_id) in _OWN_CAUSES

    async def has_ended_well(self, runner: Runner, instance: int, *, since: float) -> bool:
        """Whether the last run of an instance that is on record ended by itself, without an error, after a moment.

        Args:
            runner: The runner.
            instance: Its number.
            since: The moment, in seconds since the epoch.
        """
        for last in await self._exits.exits(runner.id, instance=instance, limit=1):
            is_good = last.reason is ExitReason.EXIT and last.result == "success" and not last.will_restart
            return is_good and last.ended_at.timestamp() > since
        return False

    async def look(self, runner: Runner) -> list[UnitStatus]:
        """Return the status of each instance, by number.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await together([self._processes.status(name) for name in self.names(runner)])

    async def look_at_all(self, runners: Sequence[Runner]) -> list[list[UnitStatus]]:
        """Return the status of each instance of many runners, by runner and number; cheap for those without news.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        names = [self.names(runner) for runner in runners]
        every = [name for of_runner in names for name in of_runner]
        pattern = self._site.unit_name(f"{runners[0].id}*" if len(runners) == 1 else "*")
        statuses = iter(await self._processes.statuses(every, pattern=pattern))
        return [[next(statuses) for _ in of_runner] for of_runner in names]
