"""Starting the instances of runners: those that fail are tried again, and a stop need not wait for them.

When the next start is due says ``retry.py``. Failures are kept with the runner, and forgotten when its unit has run for
long enough.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hero_supervisor.errors import Conflict, HeroError, SystemdUnavailable, UnitFailed
from hero_supervisor.records import ExitReason

from .retry import left_s, next_retry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hero_supervisor.ports import ProcessManager
    from hero_supervisor.runner import Runner
    from hero_supervisor.state import Retry
    from hero_supervisor.unit import Site, UnitStatus

    from .agenda import Agenda
    from .health import HealthKeeper
    from .instances import Instances
    from .registry import Registry

logger = logging.getLogger(__name__)


class Starts:
    """The starts of instances. Its methods are for holders of the runner's lock, but for ``interrupted``."""

    def __init__(
        self,
        registry: Registry,
        instances: Instances,
        health: HealthKeeper,
        processes: ProcessManager,
        site: Site,
        agenda: Agenda,
    ) -> None:
        self._registry = registry
        self._instances = instances
        self._health = health
        self._processes = processes
        self._site = site
        self._agenda = agenda
        #: By unit name, the starts that are under way.
        self._starting: dict[str, asyncio.Task[UnitStatus]] = {}
        #: By runner, how many stops wait for its lock or hold it.
        self._interrupted: Counter[str] = Counter()

    @contextmanager
    def interrupted(self, runner: Runner) -> Iterator[None]:
        """Make starts of a runner fail, those under way and those that come: a stop inside must not wait for a start.

        To be entered before the runner's lock is taken, and left when it is free again.
        """
        for name in self._instances.names(runner):
            if name in self._starting:
                self._starting[name].cancel()
        self._interrupted[runner.id] += 1
        try:
            yield
        finally:
            self._interrupted[runner.id] -= 1
            self._interrupted += Counter()  # drops what is zero

    async def attempt(self, runner: Runner, instance: int, *, burst: int | None = None) -> UnitStatus:
        """Start an instance; when that fails, see to it that it is tried again.

        Args:
            runner: Its runner.
            instance: Its number, from 1.
            burst: As for ``Instances.start``.

        Returns:
            The status of its unit, which is ready.

        Raises:
            Conflict: A stop interrupted it, or holds the runner.
            HeroError: As ``Instances.start``.
        """
        name = self._site.unit_name(runner.id, instance)
        if self._interrupted[runner.id]:
            raise _canceled(name)
        task = asyncio.create_task(self._start_one(runner, instance, burst), name=f"start-{name}")
        self._starting[name] = task
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            raise _canceled(name) from None
        except (SystemdUnavailable, Conflict):
            raise  # with the connection comes a look at all; who stops it does not want it
        except HeroError as exc:
            await self.note_failure(runner, await self._processes.status(name), reason=str(exc))
            raise
        finally:
            del self._starting[name]

    async def _start_one(self, runner: Runner, instance: int, burst: int | None) -> UnitStatus:
        unit, is_new = await self._instances.start(runner, instance, burst=burst)
        if not is_new:
            self._health.follow(runner, [unit])
            return unit
        try:
            await self._health.wait_ready(runner, unit)
        except UnitFailed:
            await self._instances.stop(runner, [unit.name], reason=ExitReason.UNHEALTHY)
            raise
        if runner.max_age_s or runner.restart_calendar:
            self._agenda.add(runner.id)
        return unit

    async def retry(self, runner: Runner, instance: int, retry: Retry) -> None:
        """Start an instance that failed, if it is due; else see to it that it is looked at when it is.

        Raises:
            HeroError: As ``attempt``.
        """
        if retry.due_at is None:
            return
        pause_s = left_s(runner.backoff, retry.due_at, now=time.time())
        if pause_s > 0:
            self._agenda.add(runner.id, in_s=pause_s)
            return
        await self.attempt(runner, instance, burst=1)
        self._agenda.add(runner.id, in_s=runner.backoff.stable_after_s)

    def retry_of(self, runner: Runner, unit: UnitStatus) -> Retry | None:
        """Return the retry of a unit that has failed; ``None`` when it has not, or is forgiven."""
        return self._registry.get(runner.id).retries.get(unit.name)

    async def note_failure(self, runner: Runner, unit: UnitStatus, *, reason: str) -> None:
        """Write down that a unit has failed, and see to its next start; ``reason`` is for the log."""
        now = time.time()
        retry = next_retry(
            runner.backoff,
            self.retry_of(runner, unit),
            invocation_id=unit.invocation_id,
            now=now,
            random=random.random(),  # noqa: S311  # it spreads starts, it guards nothing
        )
        next_ = "it is given up" if retry.due_at is None else f"next start in {retry.due_at - now:.1f} s"
        extra = {"runner": runner.id, "unit": unit.name}
        logger.warning("unit %s failed (%d in a row): %s; %s", unit.name, retry.failures, reason, next_, extra=extra)
        await self._registry.note_retry(runner.id, unit.name, retry)
        if retry.due_at is not None:
            self._agenda.add(runner.id, in_s=retry.due_at - now)

    async def forgive(self, runner: Runner, unit: UnitStatus) -> None:
        """Forget the failures of a unit that has run for long enough."""
        if self.retry_of(runner, unit) is None or unit.active_state != "active":
            return
        ran_s = time.time() - unit.state_change_usec / 1e6
        if ran_s >= runner.backoff.stable_after_s:
            await self._registry.forget_retries(runner.id, [unit.name])
        else:
            self._agenda.add(runner.id, in_s=runner.backoff.stable_after_s - ran_s)


def _canceled(unit_name: str) -> Conflict:
    return Conflict(f"cannot start unit '{unit_name}': a later stop canceled it", unit=unit_name)
