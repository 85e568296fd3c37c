"""What runners use."""

from __future__ import annotations

from hero_supervisor.records import RunnerStats
from hero_supervisor.runner import RunnerId

from .parts import Parts


class StatsOperations(Parts):
    """Looking at what runners use."""

    async def get_runner_stats(self, runner: RunnerId) -> RunnerStats:
        """Return what the processes of a runner use: processor, memory, tasks, IO.

        Raises:
            RunnerNotFound: No runner has this id.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        (stats,) = await self._stats.read([self._registry.get(runner).definition])
        return stats

    async def get_all_runner_stats(self) -> list[RunnerStats]:
        """Return what the processes of every runner use, in the order of ``list_runners``.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._stats.read([self._registry.get(runner).definition for runner in self._registry])
