"""The engine: every operation on runners and jobs is a method of ``Supervisor``, which owns every connection.

What runs is systemd's business; what should run is kept in the state directory; ``engine/`` brings the two together;
jobs are in Redis. A public method takes the runner's lock, so operations on one runner follow one another and never
wait for another runner.

Stopping the supervisor leaves runners running. Opening it adopts what runs, so it may die between any two lines. It
connects to Redis last: runners are supervised also while Redis is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Self

from msgspec import Meta
from msgspec.structs import replace

from . import embedded_redis
from .client import JobClient
from .engine.instances import Instances
from .engine.reconcile import Reconciler
from .engine.registry import Registry
from .engine.status import instance_status, runner_status
from .errors import HeroError, RedisUnavailable
from .job import Job, JobId, JobResult, JobStatus, JobSummary
from .ports import ExitSource, LogSource, ProcessManager
from .queue.keys import Keys
from .records import ExitReason, ExitRecord, LogRecord, RunnerOutcome, RunnerState, RunnerStatus, StatusSummary
from .restart import PositiveSeconds
from .runner import Runner, RunnerId
from .settings import Manager, Secrets
from .state import Desired, StateDirectory, StoredRunner
from .unit import Site, UnitStatus

logger = logging.getLogger(__name__)

Lines = Annotated[int, Meta(ge=1, le=10_000, description="Number of lines, from 1 to 10000.")]
Limit = Annotated[int, Meta(ge=1, le=1_000, description="Number of entries, from 1 to 1000.")]
Instance = Annotated[int, Meta(ge=1, description="Which of a runner's instances, from 1.")]

#: Seconds that ``queue_and_wait`` allows beside the job's own timeout, when the caller names no time.
WAIT_MARGIN_S = 60
#: Seconds for Redis to answer when the supervisor opens.
REDIS_START_TIMEOUT_S = 30


class Supervisor:
    """Keeps runners alive and queues their jobs. Made by ``SupervisorBuilder``; use it as ``async with``."""

    def __init__(
        self,
        *,
        site: Site,
        state: StateDirectory,
        processes: ProcessManager,
        logs: LogSource,
        exits: ExitSource,
        manager: Manager,
        redis_url: str | None,
        secrets: Secrets,
        declared: Iterable[Runner] = (),
    ) -> None:
        self.secrets = secrets
        self._site = site
        self._state = state
        self._processes = processes
        self._logs = logs
        self._exits = exits
        self._manager = manager
        self._redis_url = redis_url
        self._declared = tuple(declared)
        self._registry = Registry(state)
        self._instances = Instances(processes, site, self._queue_of)
        self._reconciler = Reconciler(self._registry, self._instances, processes, site)
        self._opened = AsyncExitStack()
        self._client: JobClient | None = None

    # -- life cycle ----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Take the state directory, connect to systemd and Redis, and adopt the runners that run.

        Raises:
            StateLocked: Another supervisor uses the state directory.
            CorruptRecord: The state directory holds something that this version did not write.
            SystemdUnavailable: The systemd manager cannot be reached.
            RedisUnavailable: Redis did not answer within 30 seconds.
        """
        async with AsyncExitStack() as stack:
            self._state.open()
            stack.callback(self._state.close)
            self._registry.load()
            await self._processes.open()
            stack.push_async_callback(self._processes.close)
            self._processes.watch(self._reconciler)
            if not self._redis_url:
                await self._start_redis()
            self._state.write_environment({"HERO_REDIS_URL": self.redis_url})
            await self._registry.declare(self._declared)
            await self._adopt()
            await self._exits.open()
            stack.push_async_callback(self._exits.close)
            await stack.enter_async_context(_running(self._reconciler.run(), name="reconciler"))
            self._client = await stack.enter_async_context(self._connect_redis())
            self._opened = stack.pop_all()

    async def close(self) -> None:
        """Disconnect from everything and leave runners running."""
        await self._opened.aclose()

    @asynccontextmanager
    async def _connect_redis(self) -> AsyncIterator[JobClient]:
        async with JobClient.connect(self.redis_url, namespace=self._site.namespace) as client:
            await _wait_for_redis(client)
            yield client

    @property
    def redis_url(self) -> str:
        """URL of the Redis in use; it may hold a password. That of the private one is good once this is open."""
        return self._redis_url or embedded_redis.url(self._site.namespace, self._manager)

    async def _start_redis(self) -> None:
        namespace = self._site.namespace
        status = await self._processes.status(embedded_redis.unit_name(namespace))
        if not status.is_running:
            program = embedded_redis.find_program()
            unit = embedded_redis.render(program, namespace, self._manager, self._state.redis_path)
            await self._processes.start(unit)

    async def _adopt(self) -> None:
        """Take over the units that run. One that runs is meant to run, whatever the file says.

        A start is written down while systemd starts the unit, so after a crash the file may be behind.
        """
        for unit in await self._processes.adopt(self._site.unit_name("*")):
            runner = self._site.runner_id(unit.name)
            if runner not in self._registry:
                logger.warning("unit %s belongs to no runner that is known here; it is left alone", unit.name)
            elif unit.is_running:
                logger.info("adopted runner %s: unit %s, process %d", runner, unit.name, unit.main_pid)
                await self._registry.want(runner, Desired.RUNNING)

    # -- runners -------------------------------------------------------------------------------------------------

    async def add_runner(self, runner: Runner) -> RunnerStatus:
        """Add a runner; it is started by ``start_runner``.

        Args:
            runner: Its definition.

        Returns:
            Its status: stopped.

        Raises:
            InvalidRunner: The definition has faults; all are listed.
            RunnerExists: A runner of this id exists.
        """
        runner = runner.checked()
        async with self._registry.lock(runner.id):
            await self._registry.add(runner)
            logger.info("added runner %s", runner.id, extra={"runner": runner.id})
            return await self._status(runner.id)

    async def remove_runner(self, runner: RunnerId) -> None:
        """Stop a runner and forget it. Its queue and its jobs stay.

        Raises:
            RunnerNotFound: No runner has this id.
        """
        async with self._registry.known(runner) as stored:
            await self._stop(stored)
            await self._registry.remove(runner)
            logger.info("removed runner %s", runner, extra={"runner": runner})

    async def list_runners(self) -> list[str]:
        """Return the ids of all runners, in the order in which they were added."""
        return list(self._registry)

    async def start_runner(self, runner: RunnerId) -> RunnerStatus:
        """Start a runner and wait until systemd calls it started. Does nothing to one that runs.

        Returns:
            Its status after the start.

        Raises:
            RunnerNotFound: No runner has this id.
            CommandNotExecutable: Its command does not exist or cannot be executed.
            UnitFailed: It ended before it was ready.
            OperationTimeout: It was not ready within its ``start_timeout_s``.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        async with self._registry.known(runner) as stored:
            return await self._start(stored)

    async def stop_runner(self, runner: RunnerId) -> RunnerStatus:
        """Stop a runner and every process it started: SIGTERM, then SIGKILL after its ``stop_timeout_s``.

        Returns:
            Its status after the stop; ``result`` is ``timeout`` when SIGKILL was needed.

        Raises:
            RunnerNotFound: No runner has this id.
            OperationTimeout: systemd did not report the end in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        async with self._registry.known(runner) as stored:
            return await self._stop(stored)

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
            await self._expect_exits(stored.definition, ExitReason.REPLACED)
            await self._instances.stop(stored.definition)
            return await self._start(stored)

    async def get_runner_status(self, runner: RunnerId) -> RunnerStatus:
        """Return the status of a runner, with what systemd says of its unit.

        Raises:
            RunnerNotFound: No runner has this id.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._status(runner)

    async def get_runner_logs(
        self, runner: RunnerId, lines: Lines = 100, after_cursor: str | None = None, job_id: JobId | None = None
    ) -> list[LogRecord]:
        """Return journal entries of a runner, oldest first: the newest ones, or the ones after a cursor.

        Args:
            runner: Id of the runner.
            lines: Most entries to return.
            after_cursor: ``cursor`` of the record to go on after.
            job_id: Only entries of this job.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidInput: The cursor is not one.
            JournalUnavailable: The journal cannot be read.
        """
        self._registry.get(runner)
        unit_name = self._site.unit_name(runner)
        return await self._logs.read(unit_name, lines=lines, after_cursor=after_cursor, job_id=job_id)

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

    async def get_all_runner_status(self) -> list[RunnerStatus]:
        """Return the status of every runner, in the order of ``list_runners``.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return list(await asyncio.gather(*map(self._status, self._registry)))

    async def get_all_status(self) -> StatusSummary:
        """Return how many runners are in each status, and the status of each.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        statuses = await self.get_all_runner_status()
        found = Counter(status.status for status in statuses)
        return StatusSummary(
            total=len(statuses),
            counts={state.value: found[state] for state in RunnerState},
            runners={status.id: status.status for status in statuses},
        )

    async def start_all(self) -> list[RunnerOutcome]:
        """Start all runners, side by side; what became of each is reported, and none stops the others."""
        return await self._for_each(self._registry, self.start_runner)

    async def stop_all(self) -> list[RunnerOutcome]:
        """Stop all runners, side by side; what became of each is reported, and none stops the others."""
        return await self._for_each(self._registry, self.stop_runner)

    # -- jobs ----------------------------------------------------------------------------------------------------

    async def queue_job_to_runner(self, runner: RunnerId, job: Job) -> str:
        """Store a job and put it at the end of a runner's queue. Repeating the call with the same job is safe.

        Args:
            runner: Id of the runner; it need not run yet.
            job: The job; ``runner`` is filled in, and ``executor`` when the runner is a bundled one.

        Returns:
            The job's id.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
            RedisUnavailable: Redis does not answer.
        """
        definition = self._registry.get(runner).definition
        executor = job.executor or (definition.executor.value if definition.executor else "")
        addressed = replace(job, runner=runner, executor=executor).checked()
        await self._jobs.enqueue(addressed, queue=self._queue_of(definition))
        logger.info("queued job %s to runner %s", job.id, runner, extra={"runner": runner, "job_id": job.id})
        return job.id

    async def queue_and_wait(
        self,
        runner: RunnerId,
        job: Job,
        timeout: PositiveSeconds | None = None,  # noqa: ASYNC109  # the argument's name on the wire
    ) -> JobResult:
        """Queue a job and wait for its end.

        Args:
            runner: Id of the runner.
            job: The job.
            timeout: Seconds to wait; the job's own timeout and a minute when not given.

        Returns:
            The job's result, or its error: a job that ends badly is an answer, not a failure of this call.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
            OperationTimeout: It has not ended in time; it stays queued or goes on.
            RedisUnavailable: Redis does not answer.
        """
        job_id = await self.queue_job_to_runner(runner, job)
        return await self._jobs.wait_for_result(job_id, timeout_s=timeout or job.timeout + WAIT_MARGIN_S)

    async def get_job(self, job_id: JobId) -> Job:
        """Return a job as it was queued.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.get_job(job_id)

    async def get_job_status(self, job_id: JobId) -> JobStatus:
        """Return where a job is in its life.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.get_job_status(job_id)

    async def get_job_result(self, job_id: JobId) -> JobResult:
        """Return how a job stands, with its result or error once it has ended.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.get_job_result(job_id)

    async def list_jobs(
        self, status: JobStatus | None = None, runner: RunnerId | None = None, limit: Limit = 100
    ) -> list[JobSummary]:
        """Return jobs, newest first.

        Args:
            status: Only jobs in this status.
            runner: Only jobs of this runner.
            limit: Most jobs to return.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        return await self._jobs.list_jobs(status=status, runner=runner, limit=limit)

    # -- inside --------------------------------------------------------------------------------------------------

    @property
    def _jobs(self) -> JobClient:
        if self._client is None:
            raise RedisUnavailable("cannot use jobs: this supervisor has not been opened")
        return self._client

    def _queue_of(self, runner: Runner) -> str:
        return runner.queue or Keys(self._site.namespace).work_queue(runner.id)

    async def _start(self, stored: StoredRunner) -> RunnerStatus:
        runner = stored.definition
        # Both at once: whichever is lost in a crash, the next start repairs it (_adopt, Reconciler).
        writing = asyncio.ensure_future(self._registry.want(runner.id, Desired.RUNNING))
        try:
            units = await self._reconciler.start(runner)
        finally:
            await writing
        logger.info("started runner %s", runner.id, extra={"runner": runner.id})
        return self._status_from(self._registry.get(runner.id), units)

    async def _stop(self, stored: StoredRunner) -> RunnerStatus:
        runner = stored.definition
        # First the wish, then the deed: a crash in between must not bring back what an operator stopped.
        await self._registry.want(runner.id, Desired.STOPPED)
        self._reconciler.forget(runner)
        await self._expect_exits(runner, ExitReason.OPERATOR)
        units = await self._instances.stop(runner)
        logger.info("stopped runner %s", runner.id, extra={"runner": runner.id})
        return self._status_from(self._registry.get(runner.id), units)

    async def _expect_exits(self, runner: Runner, reason: ExitReason) -> None:
        """Take down why a runner is about to be stopped, so that the records of its exits say so whatever happens."""
        for unit in await self._instances.look(runner):
            if unit.is_running:
                await self._exits.expect(unit.name, unit.invocation_id, reason)

    async def _status(self, runner: str) -> RunnerStatus:
        stored = self._registry.get(runner)
        return self._status_from(stored, await self._instances.look(stored.definition))

    def _status_from(self, stored: StoredRunner, units: Sequence[UnitStatus]) -> RunnerStatus:
        runner = stored.definition.id
        instances = [
            instance_status(runner, number, unit, self._reconciler.next_start(unit.name))
            for number, unit in enumerate(units, start=1)
        ]
        return runner_status(stored.desired, instances)

    async def _for_each(
        self, runners: Iterable[str], operation: Callable[[str], Awaitable[RunnerStatus]]
    ) -> list[RunnerOutcome]:
        async def outcome(runner: str) -> RunnerOutcome:
            try:
                return RunnerOutcome(id=runner, status=(await operation(runner)).status)
            except HeroError as exc:
                logger.warning("%s", exc, extra={"runner": runner})
                return RunnerOutcome(id=runner, error=exc.message, kind=exc.kind)

        return list(await asyncio.gather(*map(outcome, tuple(runners))))


async def _wait_for_redis(client: JobClient) -> None:
    """Wait for the first answer: a private Redis reads its data first, another one may start after us."""
    deadline = asyncio.get_running_loop().time() + REDIS_START_TIMEOUT_S
    while True:
        try:
            return await client.ping()
        except RedisUnavailable:
            if asyncio.get_running_loop().time() > deadline:
                raise
        # There is no event for a server that begins to answer.
        await asyncio.sleep(0.02)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Do some work beside the block, at most until its end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
