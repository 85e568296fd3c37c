"""The life of one runner: added, started, stopped, removed.

A method takes the runner's lock, so that operations on one runner follow one another and never wait for another runner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from hero_supervisor import schema
from hero_supervisor.definition.restart import PositiveSeconds
from hero_supervisor.engine.drain import drain_signal
from hero_supervisor.engine.order import cycle_faults
from hero_supervisor.errors import Conflict, Fault, InvalidInput, InvalidRunner, OperationTimeout, RunnerExists
from hero_supervisor.queue.keys import Keys
from hero_supervisor.reachability import reach_faults
from hero_supervisor.records import ExitReason, RunnerStatus
from hero_supervisor.runner import JobProtocol, Runner, RunnerId
from hero_supervisor.state import Desired, StoredRunner
from hero_supervisor.unit import faults_on

from .parts import Parts

logger = logging.getLogger(__name__)

QueueName = Annotated[str, Meta(min_length=1, max_length=200, description="Name of a Redis list.")]
AtOnce = Annotated[int, Meta(ge=1, le=64, description="Number of instances, from 1 to 64.")]


class LifecycleOperations(Parts):
    """Adding, starting, stopping and removing one runner."""

    async def add_runner(self, runner: Runner) -> RunnerStatus:
        """Add a runner; it is started by ``start_runner``, or at once if its ``autostart`` says so.

        Args:
            runner: Its definition.

        Returns:
            Its status.

        Raises:
            InvalidRunner: The definition has faults, or cannot be carried out here; all are listed.
            RunnerExists: A runner of this id exists.
            HeroError: As ``start_runner``, with ``autostart``. The runner is added all the same.
        """
        return await self._add(await self._checked(runner), is_declared=False)

    async def register_runner(self, runner: RunnerId, queue: QueueName | None = None) -> None:
        """Make a runner known whose processes are started by others, and give it jobs from now on.

        One that is known already, and takes ids from this list, stays as it is: so it may register at each start.

        Args:
            runner: Its id.
            queue: The Redis list it takes ids from; ``{namespace}:q:work:type:{id}`` when not given.

        Raises:
            InvalidRunner: The name of the list has faults.
            RunnerExists: A runner of this id takes ids from another list.
        """
        wanted = await self._checked(Runner(id=runner, queue=queue, external=True, autostart=True))
        if runner not in self._registry:
            await self._add(wanted, is_declared=False)
        elif self._queue_of(self._registry.get(runner).definition) != self._queue_of(wanted):
            text = f"cannot register runner '{runner}': one of this id takes its jobs from another list"
            raise RunnerExists(text, hint=f"remove it first: herosup runner remove {runner}", runner=runner)

    async def remove_runner(self, runner: RunnerId) -> None:
        """Stop a runner and forget it. Its queue and its jobs stay.

        Raises:
            RunnerNotFound: No runner has this id.
        """
        with self._reconciler.starts.interrupted(self._registry.get(runner).definition):
            async with self._registry.known(runner) as stored:
                await self._stop(stored)
                await self._registry.remove(runner)
        logger.info("removed runner %s", runner, extra={"runner": runner})

    async def list_runners(self) -> list[str]:
        """Return the ids of all runners, in the order in which they were added."""
        return list(self._registry)

    async def start_runner(self, runner: RunnerId) -> RunnerStatus:
        """Start the instances of a runner that do not run, and wait until systemd calls them started.

        Returns:
            Its status after the start.

        Raises:
            RunnerNotFound: No runner has this id.
            DependencyNotReady: A runner that it comes after is not there, and does not come in time.
            CommandNotExecutable: Its command does not exist or cannot be executed.
            UnitFailed: It ended before it was ready.
            OperationTimeout: It was not ready within its ``start_timeout_s``.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        await self._dependencies.wait(self._registry.get(runner).definition)
        async with self._registry.known(runner) as stored:
            return await self._start(stored)

    async def stop_runner(self, runner: RunnerId) -> RunnerStatus:
        """Stop a runner and every process it started: its stop signal, then SIGKILL after its ``stop_timeout_s``.

        Returns:
            Its status after the stop; ``result`` is ``timeout`` when SIGKILL was needed.

        Raises:
            RunnerNotFound: No runner has this id.
            OperationTimeout: systemd did not report the end in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        with self._reconciler.starts.interrupted(self._registry.get(runner).definition):
            async with self._registry.known(runner) as stored:
                return await self._stop(stored)

    async def drain_runner(
        self,
        runner: RunnerId,
        timeout: PositiveSeconds | None = None,  # noqa: ASYNC109  # the argument's name on the wire
    ) -> RunnerStatus:
        """Let a runner finish the jobs it has, take no more, and stop. Another operation may come in between.

        Args:
            runner: Id of the runner.
            timeout: Seconds to wait; for ever when not given.

        Returns:
            Its status when it has ended.

        Raises:
            RunnerNotFound: No runner has this id.
            Conflict: It has no ``drain_signal``; or it was started again meanwhile.
            OperationTimeout: It has not finished in time; it goes on draining. A stop ends that.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        async with self._registry.known(runner) as stored:
            if stored.definition.job_protocol is not JobProtocol.UNIT:
                drain_signal(stored.definition)
            await self._registry.want(runner, Desired.DRAINED)
            await self._reconciler.forget(stored.definition)
        logger.info("draining runner %s", runner, extra={"runner": runner})
        self._reconciler.look_at(runner)
        self._keeper.look_at(runner)
        try:
            async with asyncio.timeout(timeout):
                await self._drained(runner)
        except TimeoutError:
            text = f"cannot drain runner '{runner}' in time: it has not finished after {timeout:g} s"
            raise OperationTimeout(text, hint="it goes on; to end it now, stop it", runner=runner) from None
        return await self.get_runner_status(runner)

    async def reset_runner(self, runner: RunnerId) -> RunnerStatus:
        """Forget a runner's failures: one that waits for its next start, or was given up, is started at once.

        One that is not meant to run does not count as failed any more; it is not started.

        Returns:
            Its status; what is started now may not run yet.

        Raises:
            RunnerNotFound: No runner has this id.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        async with self._registry.known(runner) as stored:
            await self._reconciler.reset(stored.definition)
        return await self.get_runner_status(runner)

    async def restart_runner(self, runner: RunnerId) -> RunnerStatus:
        """Stop a runner if it runs, and start it with its present definition.

        Raises:
            RunnerNotFound: No runner has this id.
            CommandNotExecutable: Its command does not exist or cannot be executed.
            UnitFailed: It ended before it was ready.
            OperationTimeout: It did not stop, or was not ready, in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        async with self._registry.known(runner) as stored:
            await self._instances.stop(stored.definition, reason=ExitReason.REPLACED)
            return await self._start(stored)

    async def roll_runner(self, runner: RunnerId, at_once: AtOnce = 1) -> RunnerStatus:
        """Restart the instances of a runner, some at a time, the next ones only when those are ready.

        When one cannot be started the rest are left as they are. Nothing happens to a runner that is not meant to run.

        Raises:
            RunnerNotFound: No runner has this id.
            UnitFailed: An instance could not be started; it is tried again.
            OperationTimeout: An instance was not ready, or not stopped, in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        async with self._registry.known(runner) as stored:
            if stored.desired is Desired.RUNNING:
                await self._reconciler.roll(stored.definition, at_once=at_once)
        return await self.get_runner_status(runner)

    async def get_runner_status(self, runner: RunnerId) -> RunnerStatus:
        """Return the status of a runner, with what systemd says of its units.

        Raises:
            RunnerNotFound: No runner has this id.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        stored = self._registry.get(runner)
        [units] = await self._instances.look_at_all([stored.definition])
        return self._reconciler.status(stored, units)

    # -- inside --------------------------------------------------------------------------------------------------

    async def _drained(self, runner: str) -> None:
        """Wait until a runner does not drain any more, because it has, or was stopped."""
        await self._registry.wanted_no_more(runner, Desired.DRAINED)
        async with self._registry.known(runner) as stored:  # whoever ended it has stopped it then
            if stored.desired is Desired.RUNNING:
                raise Conflict(f"cannot drain runner '{runner}': it was started again", runner=runner)

    async def _add(self, runner: Runner, *, is_declared: bool) -> RunnerStatus:
        async with self._registry.lock(runner.id):
            await self._registry.add(runner, is_declared=is_declared)
            logger.info("added runner %s", runner.id, extra={"runner": runner.id})
        if runner.autostart:
            return await self.start_runner(runner.id)
        return await self.get_runner_status(runner.id)

    async def _checked(self, runner: Runner) -> Runner:
        """Return a runner if it is valid and can be carried out here.

        Raises:
            InvalidRunner: With every fault.
        """
        checked = self._with_present_instances(runner.checked())
        if checked.restart_calendar is not None:
            try:
                await self._calendar.next_after(checked.restart_calendar, datetime.now(UTC))
            except InvalidInput as exc:
                raise InvalidRunner(exc.faults) from exc
        return schema.check(checked, self._faults_here, error=InvalidRunner)

    def _with_present_instances(self, runner: Runner) -> Runner:
        """Return a definition with as many instances as there are now, if it lets its jobs decide that."""
        if runner.demand is None or runner.id not in self._registry:
            return runner
        present = self._registry.get(runner.id).definition.instances
        bounded = max(runner.demand.min_instances, min(present, runner.demand.max_instances))
        return replace(runner, instances=bounded)

    def _faults_here(self, runner: Runner) -> Iterable[Fault]:
        """Yield what is wrong with a valid runner on this machine, among the runners that are here."""
        after = {id: tuple(self._registry.get(id).definition.after) for id in self._registry}
        yield from cycle_faults(runner.id, after | {runner.id: tuple(runner.after)})
        yield from self._queue_faults(runner)
        if runner.external:
            return
        yield from faults_on(runner, self._site, self._processes.capabilities)
        yield from reach_faults(runner, self._site, self._processes.capabilities)

    def _queue_faults(self, runner: Runner) -> Iterable[Fault]:
        """Yield why a runner may not have the list that it names: what is put into one is taken from there."""
        if runner.queue is None:
            return
        if Keys(self._site.namespace).is_own(runner.queue):
            yield Fault("queue", "is the name of one of the supervisor's own keys")
        for other in self._registry:
            if other != runner.id and self._queue_of(self._registry.get(other).definition) == runner.queue:
                yield Fault("queue", f"is the list of runner '{other}': jobs would be taken from each other")

    async def _start(self, stored: StoredRunner) -> RunnerStatus:
        runner = stored.definition
        # First the wish, then the deed: after a crash in between the next supervisor carries it out.
        await self._registry.want(runner.id, Desired.RUNNING)
        self._keeper.look_at(runner.id)
        units = await self._reconciler.start(runner)
        logger.info("started runner %s", runner.id, extra={"runner": runner.id})
        return self._reconciler.status(self._registry.get(runner.id), units)

    async def _stop(self, stored: StoredRunner) -> RunnerStatus:
        runner = stored.definition
        await self._registry.want(runner.id, Desired.STOPPED)
        self._keeper.look_at(runner.id)
        units = await self._reconciler.stop(runner)
        self._keeper.look_at(runner.id)
        logger.info("stopped runner %s", runner.id, extra={"runner": runner.id})
        return self._reconciler.status(self._registry.get(runner.id), units)
