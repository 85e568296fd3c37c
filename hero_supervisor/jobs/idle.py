"""``IdlePings``: asks runners that have had no job for a while whether they are well, as the original does.

The question is a job with the payload ``ping`` in the runner's own queue, so it goes the way of every job. Any end of
it is an answer: somebody took it. When there is none in time the runner's instances are restarted, and their exit
records say that they were unhealthy.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import JobNotFound
from hero_supervisor.job import CrashPolicy, Job
from hero_supervisor.state import Desired

from .execution import OVERDUE_GRACE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hero_supervisor.client import JobClient
    from hero_supervisor.definition.demand import IdlePing
    from hero_supervisor.runner import Runner
    from hero_supervisor.state import StoredRunner

logger = logging.getLogger(__name__)

#: Seconds that a ping's answer is kept.
_TTL_S: Final = 600


@dataclass(slots=True)
class _Watch:
    """What is known of one runner; times are those of ``time.monotonic``."""

    #: How many jobs it had ever been given, and since when that is so.
    queued: int
    since_s: float
    #: The job that asks it, and since when it is asked.
    ping: str = ""
    asked_s: float = 0.0


class IdlePings:
    """Pings runners that have an ``idle_ping``."""

    def __init__(self, jobs: Callable[[], JobClient], restart: Callable[[str], Awaitable[object]]) -> None:
        """Args: the jobs in Redis, and what restarts the instances of a runner that is not well."""
        self._jobs = jobs
        self._restart = restart
        self._watches: dict[str, _Watch] = {}

    async def look(self, stored: StoredRunner) -> float | None:
        """Ask a runner that is idle, or judge the answer; return the seconds until the next look.

        Raises:
            HeroError: Redis or systemd cannot be asked; it is called again later.
        """
        runner = stored.definition
        ping = runner.idle_ping
        if ping is None or stored.desired is not Desired.RUNNING or not runner.instances:
            self._watches.pop(runner.id, None)
            return None
        look = await self._jobs().ledger.look(runner.id, grace_s=OVERDUE_GRACE_S)
        watch = self._watches.setdefault(runner.id, _Watch(look.queued, time.monotonic()))
        if watch.ping:
            return await self._judge(runner, ping, watch)
        if look.queued != watch.queued or look.pending or look.taken:
            watch.queued, watch.since_s = look.queued, time.monotonic()
        left_s = watch.since_s + ping.after_s - time.monotonic()
        return left_s if left_s > 0 else await self._ask(runner, ping, watch)

    async def _ask(self, runner: Runner, ping: IdlePing, watch: _Watch) -> float:
        job = Job(
            id=f"ping.{runner.id}.{time.time_ns() // 1_000_000}",
            payload="ping",
            runner=runner.id,
            executor=runner.executor or "",
            timeout=ping.timeout_s,
            priority=9,
            on_crash=CrashPolicy.FAIL,
            result_ttl_s=_TTL_S,
        )
        watch.ping, watch.asked_s = await self._jobs().enqueue(job), time.monotonic()
        return float(ping.timeout_s)

    async def _judge(self, runner: Runner, ping: IdlePing, watch: _Watch) -> float:
        left_s = watch.asked_s + ping.timeout_s - time.monotonic()
        if await self._is_answered(watch.ping):
            self._watches.pop(runner.id)
            return ping.after_s
        if left_s > 0:
            return left_s
        text = "restarting runner %s: it has not answered a ping for %d s"
        logger.warning(text, runner.id, ping.timeout_s, extra={"runner": runner.id, "job_id": watch.ping})
        job_id = watch.ping
        self._watches.pop(runner.id)
        await self._jobs().cancel_job(job_id)
        await self._restart(runner.id)
        return ping.after_s

    async def _is_answered(self, job_id: str) -> bool:
        try:
            return (await self._jobs().get_job_status(job_id)).is_final
        except JobNotFound:
            return True  # its answer is not kept for ever
