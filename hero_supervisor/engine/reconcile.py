"""The loop that brings what runs together with what is wanted.

It is level-triggered: whatever makes it look at a runner, it asks systemd for the present state and acts on that.
What makes it look:

- a main process ended, or the bus connection was lost and is back, or systemd reloaded (``UnitWatcher``);
- a time it has set itself has come: a retry is due, a unit may be forgiven, or is old enough;
- a sweep every ten seconds, one call for all units, in case news was lost.

systemd restarts what fails by itself, also while we are away. What is left for us: units that systemd has given up
(``retry.py``), units that are not there (a reboot), and noting runs that are over for good. That is never done at once:
at a shutdown runners may be stopped a moment before we are, and are to run again afterwards.

A look holds the runner's lock, so it never meets an operation on the same runner half way. An operation that fails to
start an instance leaves it to this loop to try again, and an operator's start or stop makes it forget past failures.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from hero_supervisor.definition.restart import RestartPolicy
from hero_supervisor.errors import (
    DependencyNotReady,
    HeroError,
    RunnerNotFound,
    SystemdUnavailable,
)
from hero_supervisor.records import ExitReason
from hero_supervisor.state import Desired
from hero_supervisor.together import together
from hero_supervisor.unit import UnitStatus

from .agenda import Agenda
from .changes import Changes
from .drain import Drains
from .retry import left_s
from .starts import Starts
from .status import instance_status, runner_status, status_without_processes, waits
from .verdict import Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hero_supervisor.calendar import Calendar
    from hero_supervisor.ports import ProcessManager
    from hero_supervisor.records import RunnerStatus
    from hero_supervisor.runner import Runner
    from hero_supervisor.state import StoredRunner
    from hero_supervisor.unit import Site

    from .dependencies import Dependencies
    from .health import HealthKeeper
    from .instances import Instances
    from .registry import Registry

logger = logging.getLogger(__name__)

#: Seconds between two sweeps over all units.
SWEEP_S: Final = 10.0
#: Seconds until a runner is looked at again that waits for others, or for a process to begin.
WAIT_PAUSE_S: Final = 0.5
#: Seconds from an end to calling it one for good: whoever stops runners and supervisor together wants them back.
DOUBT_S: Final = 1.0

#: The active states of a unit that has ended.
_OVER: Final = frozenset({"inactive", "failed"})


class Reconciler:
    """Keeps the runners of a registry as they are meant to be, while ``run`` runs. It is a ``UnitWatcher``."""

    def __init__(
        self,
        registry: Registry,
        instances: Instances,
        dependencies: Dependencies,
        health: HealthKeeper,
        calendar: Calendar,
        processes: ProcessManager,
        site: Site,
    ) -> None:
        self._registry = registry
        self._instances = instances
        self._dependencies = dependencies
        self._health = health
        self._calendar = calendar
        self._processes = processes
        self._site = site
        self.changes = Changes(registry, instances, processes, self)
        self._drains = Drains(instances, processes)
        self._agenda = Agenda()
        self.starts = Starts(registry, instances, health, processes, site, self._agenda)
        #: By runner, the names of the units that the last sweep found.
        self._loaded: dict[str, list[str]] = {}

    # -- news ----------------------------------------------------------------------------------------------------

    def on_ended(self, unit_name: str) -> None:
        """Look at the runner of a unit."""
        self.look_at(self._site.runner_id(unit_name))

    def look_at(self, runner: str) -> None:
        """Look at a runner now."""
        if runner in self._registry:
            self._agenda.add(runner)

    def on_doubt(self) -> None:
        """Look at all runners."""
        for runner in self._registry:
            self._agenda.add(runner)

    def status(self, stored: StoredRunner, units: Sequence[UnitStatus]) -> RunnerStatus:
        """Return the status of a runner, given what systemd says of its units."""
        runner = stored.definition.id
        if not stored.definition.has_processes:
            return status_without_processes(runner, stored.desired)
        instances = [
            instance_status(runner, number, unit, _next_start(stored, unit), is_ready=self._health.is_ready(unit.name))
            for number, unit in enumerate(units, start=1)
        ]
        return runner_status(stored.desired, instances)

    # -- operations, for holders of the runner's lock --------------------------------------------------------------

    async def start(self, runner: Runner) -> list[UnitStatus]:
        """Start the instances of a runner, as an operator asks for it; past failures are forgotten.

        Returns:
            The status of each instance right after.

        Raises:
            HeroError: As ``Instances.start``, for the first that could not be started. It will be tried again.
        """
        await self._registry.forget_retries(runner.id)
        if not runner.processes:
            return await self._instances.look(runner)
        return await together([self.starts.attempt(runner, number) for number in range(1, runner.processes + 1)])

    async def roll(self, runner: Runner, *, at_once: int) -> None:
        """Restart the instances of a runner, so many at a time, the next ones when those are started.

        Raises:
            HeroError: As ``start``, for the first that could not be restarted; later ones are left as they are.
        """
        await self.forget(runner)
        numbers = range(1, runner.processes + 1)
        for start in range(0, len(numbers), at_once):
            await together([self._restart(runner, number) for number in numbers[start : start + at_once]])

    async def _restart(self, runner: Runner, instance: int) -> None:
        name = self._site.unit_name(runner.id, instance)
        await self._instances.stop(runner, [name], reason=ExitReason.REPLACED)
        await self.starts.attempt(runner, instance)

    async def trim(self, before: Runner, after: Runner) -> None:
        """Stop the instances that a runner has no more after a change.

        Raises:
            HeroError: As ``Instances.stop``.
        """
        extra = [name for name in self._instances.names(before) if name not in self._instances.names(after)]
        if not after.processes:
            extra = self._instances.names(before)
        await self._instances.stop(before, extra)
        await self._registry.forget_retries(before.id, extra)
        self._health.forget(extra)

    async def stop(self, runner: Runner) -> list[UnitStatus]:
        """Stop the instances of a runner, as an operator asks for it; past failures are forgotten.

        Returns:
            How each instance ended.

        Raises:
            HeroError: As ``Instances.stop``. What could not be stopped is stopped by a later look.
        """
        await self.forget(runner)
        await self.changes.settle(runner.id)
        await self._instances.stop_jobs(runner)
        return await self._instances.stop(self._registry.get(runner.id).definition)

    async def forget(self, runner: Runner) -> None:
        """Forget the failures and the probes of a runner that is about to be stopped."""
        await self._registry.forget_retries(runner.id)
        self._health.forget(self._instances.names(runner))

    async def reset(self, runner: Runner) -> None:
        """Forget the failures of a runner, ours and systemd's: what is meant to run is started with the next look.

        Raises:
            HeroError: As ``Instances.stop``.
        """
        await self._registry.forget_retries(runner.id)
        units = await self._instances.look(runner)
        await self._instances.stop(runner, [unit.name for unit in units if unit.active_state in _OVER or waits(unit)])
        self.look_at(runner.id)

    # -- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at runners when it is time to, until cancelled."""
        self.on_doubt()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweep(), name="sweep")
            while True:
                for runner in self._agenda.take_due():
                    tasks.create_task(self._look(runner), name=f"look-at-{runner}")
                await self._agenda.until_due()

    async def _look(self, runner: str) -> None:
        with self._agenda.looking(runner):
            try:
                async with self._registry.known(runner) as stored:
                    await self._bring_about(stored)
            except (RunnerNotFound, SystemdUnavailable):
                pass  # it was removed; or all are looked at when systemd can be reached again
            except HeroError as exc:
                logger.warning("%s", exc, extra={"runner": runner})
            except Exception:
                logger.exception("cannot look at runner %s", runner)

    async def _sweep(self) -> None:
        while True:
            try:
                self._note_unsettled(await self._processes.states(self._site.unit_name("*")))
            except HeroError:
                pass  # all are looked at when systemd can be reached again
            except Exception:
                logger.exception("cannot look for runners that are not as they are meant to be")
            await asyncio.sleep(SWEEP_S)

    def _note_unsettled(self, states: dict[str, str]) -> None:
        self._loaded = {}
        for name in states:
            self._loaded.setdefault(self._site.runner_id(name), []).append(name)
        for runner in self._registry:
            if not self._is_settled(self._registry.get(runner), states):
                self._agenda.add(runner)

    def _is_settled(self, stored: StoredRunner, states: dict[str, str]) -> bool:
        runner = stored.definition
        if stored.replaces is not None or self._surplus(runner):
            return False
        if not runner.has_processes:
            return stored.desired is not Desired.DRAINED
        found = [states.get(name, "inactive") for name in self._instances.names(runner)]
        match stored.desired:
            case Desired.RUNNING:
                return set(found) == {"active"} and not stored.retries
            case Desired.STOPPED:
                return _OVER.issuperset(found)
            case Desired.DRAINED:
                return False
            case Desired.ENDED:
                return True

    def _surplus(self, runner: Runner) -> list[str]:
        """Return the units of a runner beyond its instances: a change was broken off, or made while we were away."""
        wanted = self._instances.names(runner) if runner.processes else []
        return [name for name in self._loaded.get(runner.id, ()) if name not in wanted]

    # -- one runner ----------------------------------------------------------------------------------------------

    async def _bring_about(self, stored: StoredRunner) -> None:
        runner = stored.definition
        if stored.replaces is not None:
            await self.changes.settle(runner.id)
            return
        await self._stop_surplus(runner)
        if not runner.has_processes:
            await self._drain_jobs(stored)
            return
        match stored.desired:
            case Desired.RUNNING:
                await self._keep_running(stored)
            case Desired.STOPPED:
                await self._keep_stopped(runner)
            case Desired.DRAINED:
                await self._drain(runner)
            case Desired.ENDED:
                pass  # what runs all the same has been started by somebody else

    async def _keep_stopped(self, runner: Runner) -> None:
        """Stop what a stop has left: it failed, or was broken off."""
        if any(unit.active_state not in _OVER for unit in await self._instances.look(runner)):
            logger.info("stopping runner %s, which is meant to be stopped", runner.id, extra={"runner": runner.id})
            await self.stop(runner)

    async def _drain(self, runner: Runner) -> None:
        left = await self._drains.go_on(runner)
        if not left:
            logger.info("runner %s has drained", runner.id, extra={"runner": runner.id})
            await self._registry.want(runner.id, Desired.STOPPED)
            await self.stop(runner)
        elif not all(unit.main_pid for unit in left):
            self._agenda.add(runner.id, in_s=WAIT_PAUSE_S)  # there is no news of a process that begins

    async def _drain_jobs(self, stored: StoredRunner) -> None:
        """Stop a runner that drains and has no processes, when there are no units of its jobs any more."""
        runner = stored.definition.id
        if stored.desired is not Desired.DRAINED:
            return
        if await self._processes.one_shots.sub_states(self._site.job_units(runner)):
            self._agenda.add(runner, in_s=WAIT_PAUSE_S)
            return
        logger.info("runner %s has drained", runner, extra={"runner": runner})
        await self._registry.want(runner, Desired.STOPPED)

    async def _keep_running(self, stored: StoredRunner) -> None:
        runner = stored.definition
        units = await self._instances.look(runner)
        self._health.follow(runner, units)
        verdicts = await together([self._verdict(stored, *each) for each in enumerate(units, start=1)])
        if all(each is Verdict.ENDED for each in verdicts) and not stored.retries:
            await self._note_ended(runner, units)
            return
        if not {Verdict.START, Verdict.RETRY}.isdisjoint(verdicts) and await self._must_wait(runner):
            self._agenda.add(runner.id, in_s=WAIT_PAUSE_S)
            return
        numbered = zip(range(1, runner.processes + 1), units, verdicts, strict=False)
        await together([self._see_to(runner, *each) for each in numbered])

    async def _note_ended(self, runner: Runner, units: Sequence[UnitStatus]) -> None:
        """Note that a runner has ended for good, unless all units are being stopped, and we are next."""
        ended_s = time.time() - max(unit.state_change_usec for unit in units) / 1e6
        if 0 <= ended_s < DOUBT_S or await self._processes.is_shutting_down():
            self._agenda.add(runner.id, in_s=DOUBT_S)
            return
        logger.info("runner %s has ended", runner.id, extra={"runner": runner.id})
        await self._registry.want(runner.id, Desired.ENDED)

    async def _stop_surplus(self, runner: Runner) -> None:
        names = self._surplus(runner)
        await self._instances.stop(runner, names)
        await self._registry.forget_retries(runner.id, names)
        self._health.forget(names)

    async def _verdict(self, stored: StoredRunner, instance: int, unit: UnitStatus) -> Verdict:
        runner = stored.definition
        # systemd forgets a run that ended well while nobody held on to it. Only these need not be started again.
        is_unknown = runner.restart is not RestartPolicy.ALWAYS and not unit.invocation_id
        return verdict(
            runner.restart,
            stored.desired,
            unit,
            is_replaced=self._instances.is_replaced(unit),
            has_ended_well=is_unknown
            and await self._instances.has_ended_well(runner, instance, since=stored.wanted_at),
        )

    async def _must_wait(self, runner: Runner) -> bool:
        """Whether runners that this one comes after are not there yet. Those that never come are waited for as well."""
        try:
            return bool(await self._dependencies.unmet(runner))
        except DependencyNotReady:
            return True

    async def _see_to(self, runner: Runner, instance: int, unit: UnitStatus, needs: Verdict) -> None:
        retry = self.starts.retry_of(runner, unit)
        if needs is Verdict.LEAVE:
            await self.starts.forgive(runner, unit)
            await self._replace_if_due(runner, instance, unit)
        elif retry is not None and retry.invocation_id == unit.invocation_id:
            await self.starts.retry(runner, instance, retry)
        elif needs is Verdict.START:
            logger.info("starting runner %s, which is meant to run", runner.id, extra={"runner": runner.id})
            await self.starts.attempt(runner, instance)
        elif needs is Verdict.RETRY:
            await self.starts.note_failure(runner, unit, reason=f"its result is '{unit.result}'")

    async def _replace_if_due(self, runner: Runner, instance: int, unit: UnitStatus) -> None:
        """Replace an instance that is not alive, or old enough."""
        if unit.active_state != "active":
            return
        if not self._health.is_alive(unit):
            await self._instances.stop(runner, [unit.name], reason=ExitReason.UNHEALTHY)
            # Not at once, or what never works would be restarted as fast as its probe fails.
            await self.starts.note_failure(runner, UnitStatus(unit.name), reason="its liveness probe fails")
        elif await self._is_old(runner, unit):
            logger.info("replacing unit %s for its age", unit.name, extra={"runner": runner.id, "unit": unit.name})
            await self._instances.stop(runner, [unit.name], reason=ExitReason.MAX_AGE)
            await self.starts.attempt(runner, instance)

    async def _is_old(self, runner: Runner, unit: UnitStatus) -> bool:
        """Whether a unit is to be replaced by now; if not yet, see to it that it is looked at when it is."""
        started = datetime.fromtimestamp(unit.state_change_usec / 1e6, UTC)
        ends = [started + timedelta(seconds=runner.max_age_s + _jitter_s(runner, unit))] if runner.max_age_s else []
        if runner.restart_calendar is not None:
            moment = await self._calendar.next_after(runner.restart_calendar, started)
            ends += [] if moment is None else [moment]
        if not ends:
            return False
        left_s = (min(ends) - datetime.now(UTC)).total_seconds()
        if left_s > 0:
            self._agenda.add(runner.id, in_s=left_s)
        return left_s <= 0


def _next_start(stored: StoredRunner, unit: UnitStatus) -> datetime | None:
    """Return when a unit that failed is started again by us; ``None`` when it is not, or runs again."""
    retry = stored.retries.get(unit.name)
    if retry is None or retry.due_at is None or unit.is_running:
        return None
    now = datetime.now(UTC)
    return now + timedelta(seconds=left_s(stored.definition.backoff, retry.due_at, now=now.timestamp()))


def _jitter_s(runner: Runner, unit: UnitStatus) -> float:
    """Return how much older an instance may get: the same for one run whenever it is asked for, another for each."""
    return runner.max_age_jitter_s * random.Random(unit.invocation_id).random()  # noqa: S311  # it guards nothing
