"""``DemandKeeper``: as many instances of a runner as its queue asks for.

More at once, as soon as there is work for them; fewer only when fewer would have done during the whole cool-down, and
then as many as were needed at most in that time. So a queue that fills and empties again and again does not make
instances come and go. What was seen before is not written down: after a restart of ours the cool-down begins anew.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hero_supervisor.state import Desired

from .execution import OVERDUE_GRACE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hero_supervisor.client import JobClient
    from hero_supervisor.definition.demand import Demand
    from hero_supervisor.queue.ledger import QueueLook
    from hero_supervisor.runner import Runner
    from hero_supervisor.state import StoredRunner

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """How many instances are wanted, and why."""

    instances: int
    reason: str


class DemandKeeper:
    """Scales runners that have a demand."""

    def __init__(self, jobs: Callable[[], JobClient], scale: Callable[[str, int], Awaitable[object]]) -> None:
        """Args: the jobs in Redis, and what gives a runner another number of instances."""
        self._jobs = jobs
        self._scale = scale
        #: By runner, when how many instances would have done, on the clock of ``time.monotonic``; oldest first.
        self._needed: dict[str, list[tuple[float, int]]] = {}
        #: By runner, when the last instance was added because a job had waited for too long.
        self._raised_s: dict[str, float] = {}
        #: By runner, why it was last scaled.
        self.reasons: dict[str, str] = {}

    async def look(self, stored: StoredRunner) -> float | None:
        """Scale a runner if its queue asks for it; return the seconds until the next look.

        Raises:
            HeroError: An instance could not be started or stopped; that is tried again.
        """
        runner = stored.definition
        demand = runner.demand
        if demand is None or stored.desired is not Desired.RUNNING:
            self._needed.pop(runner.id, None)
            return None
        look = await self._jobs().ledger.look(runner.id, grace_s=OVERDUE_GRACE_S)
        now_s = time.monotonic()
        wish = self._held_back(runner, demand, wish_for(demand, look), now_s)
        wish = self._raised(runner, demand, wish, look, now_s)
        if wish.instances != runner.instances:
            self.reasons[runner.id] = wish.reason
            logger.info(
                "scaling runner %s from %d to %d: %s",
                *(runner.id, runner.instances, wish.instances, wish.reason),
                extra={"runner": runner.id},
            )
            await self._scale(runner.id, wish.instances)
        return min(demand.cool_down_s, demand.max_wait_s or demand.cool_down_s) or None

    def _held_back(self, runner: Runner, demand: Demand, wish: Wish, now_s: float) -> Wish:
        """Return a wish for fewer only when that would have done for long enough."""
        needed = self._needed.setdefault(runner.id, [(now_s, max(wish.instances, runner.instances))])
        needed.append((now_s, wish.instances))
        while len(needed) > 1 and needed[1][0] <= now_s - demand.cool_down_s:
            del needed[0]
        if wish.instances >= runner.instances:
            return wish
        if now_s - needed[0][0] < demand.cool_down_s:
            return Wish(runner.instances, wish.reason)
        most = max(instances for at_s, instances in needed if at_s > now_s - demand.cool_down_s or at_s == now_s)
        return Wish(min(most, runner.instances), f"{wish.reason}, for {demand.cool_down_s:g} s")

    def _raised(self, runner: Runner, demand: Demand, wish: Wish, look: QueueLook, now_s: float) -> Wish:
        """Return a wish for one more when the next job has waited for too long, and that was not just done."""
        if demand.max_wait_s is None or look.oldest_at is None or wish.instances > runner.instances:
            return wish
        waited_s = (datetime.now(UTC) - look.oldest_at).total_seconds()
        is_recent = now_s - self._raised_s.get(runner.id, -demand.max_wait_s) < demand.max_wait_s
        if waited_s < demand.max_wait_s or is_recent or runner.instances >= demand.max_instances:
            return wish
        self._raised_s[runner.id] = now_s
        return Wish(runner.instances + 1, f"the next job has waited for {waited_s:.1f} s")


def wish_for(demand: Demand, look: QueueLook) -> Wish:
    """Return how many instances would be right for what is in a queue now."""
    jobs = look.pending + look.taken
    right = -(-jobs // demand.jobs_per_instance)
    bounded = max(demand.min_instances, min(right, demand.max_instances))
    return Wish(bounded, f"{jobs} jobs are there, and {demand.jobs_per_instance} for each instance")
