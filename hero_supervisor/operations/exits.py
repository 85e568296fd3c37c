"""How runs ended."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hero_supervisor.records import ExitRecord
from hero_supervisor.runner import RunnerId

from .job_views import Limit
from .parts import Parts

Instance = Annotated[int, Meta(ge=1, description="Which of a runner's instances, from 1.")]


class ExitOperations(Parts):
    """Looking at how runs ended."""

    async def get_runner_exits(
        self, runner: RunnerId, instance: Instance | None = None, limit: Limit = 20
    ) -> list[ExitRecord]:
        """Return how the last runs of a runner ended, newest first. An end is among them about a second after it.

        Args:
            runner: Id of the runner.
            instance: Only runs of this instance.
            limit: Most records to return; 100 are kept.

        Raises:
            RunnerNotFound: No runner has this id.
        """
        self._registry.get(runner)
        return await self._exits.exits(runner, instance=instance, limit=limit)
