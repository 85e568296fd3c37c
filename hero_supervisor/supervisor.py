"""``Supervisor``: owns every connection; every operation on runners and jobs is a method of it (``operations/``).

What runs is systemd's business; what should run is kept in the state directory; ``engine/`` brings the two together;
jobs are in Redis.

Stopping the supervisor leaves runners running. Opening it adopts what runs, so it may die between any two lines. It
connects to Redis last: runners are supervised also while Redis is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Self

from .api_keys import KeyStore
from .calendar import Calendar
from .client import JobClient
from .engine.bulk import BulkOperations
from .engine.dependencies import Dependencies
from .engine.health import HealthKeeper
from .engine.instances import Instances
from .engine.private_redis import PrivateRedis
from .engine.probe_command import ProbeCommands
from .engine.reconcile import Reconciler
from .engine.registry import Registry
from .engine.stats import StatsReader
from .errors import RedisUnavailable
from .events import EventHub, JobNews, RunnerNews
from .jobs.claimed import ClaimedJobs
from .jobs.demand import DemandKeeper
from .jobs.execution import Executions, Host
from .jobs.idle import IdlePings
from .jobs.keeper import JobKeeper
from .jobs.listed import ListedJobs
from .jobs.lists import list_of, lists_of
from .jobs.rates import Rates
from .jobs.scheduler import Scheduler
from .jobs.units import UnitJobs
from .operations.access import AccessOperations
from .operations.declared import DeclaredOperations
from .operations.events import EventOperations
from .operations.exits import ExitOperations
from .operations.health import HealthOperations
from .operations.job_views import JobViews
from .operations.jobs import JobOperations
from .operations.logs import LogOperations
from .operations.measures import MeasureOperations
from .operations.queues import QueueOperations
from .operations.schedules import ScheduleOperations
from .operations.stats import StatsOperations
from .ports import AuditLog, ExitSource, LogSource, ProcessManager
from .probing import Checker
from .queue.keys import Keys
from .records import ExitReason
from .runner import JobProtocol, Runner
from .scope import Scope
from .settings import Manager, Secrets
from .state import StateDirectory, boot_id
from .unit import Site

logger = logging.getLogger(__name__)

#: Seconds for Redis to answer when the supervisor opens.
REDIS_START_TIMEOUT_S = 30


class Supervisor(
    DeclaredOperations,
    JobOperations,
    JobViews,
    QueueOperations,
    ScheduleOperations,
    LogOperations,
    StatsOperations,
    ExitOperations,
    EventOperations,
    HealthOperations,
    AccessOperations,
    MeasureOperations,
):
    """Keeps runners alive and queues their jobs. Made by ``SupervisorBuilder``; use it as ``async with``."""

    def __init__(
        self,
        *,
        site: Site,
        state: StateDirectory,
        processes: ProcessManager,
        logs: LogSource,
        exits: ExitSource,
        audit: AuditLog,
        manager: Manager,
        redis_url: str | None,
        secrets: Secrets,
        anonymous_scope: Scope = Scope.READ,
        audit_scope: Scope = Scope.USER,
        declared: Iterable[Runner] = (),
    ) -> None:
        self.secrets = secrets
        self.anonymous_scope = anonymous_scope
        self.audit_scope = audit_scope
        self._keys = KeyStore(state.keys_file)
        self._audit = audit
        self._site = site
        self._state = state
        self._processes = processes
        self._logs = logs
        self._exits = exits
        self._redis_url = redis_url
        self._private_redis = PrivateRedis(processes, state, site.namespace, manager)
        self._node_id = ""
        self._declared = tuple(declared)
        self._registry = Registry(state)
        self._instances = Instances(processes, site, exits, self._queue_of)
        self._stats = StatsReader(self._instances)
        self._calendar = Calendar()
        self._probe_commands = ProbeCommands(processes, site)
        self._events = EventHub()
        self._runner_news = RunnerNews(self._events, processes, self._runner_of, self._statuses)
        JobNews(self._events, lambda: self._jobs)
        self._health = HealthKeeper(
            self._checker_of, lambda runner: self._reconciler.look_at(runner), self._runner_news.touch
        )
        self._dependencies = Dependencies(self._registry, self._instances, self._health)
        self._reconciler = Reconciler(
            self._registry, self._instances, self._dependencies, self._health, self._calendar, processes, site
        )
        self._bulk = BulkOperations(self._on_operation)
        exits.watch(self._on_exit)
        common = (lambda: self._jobs, processes, exits, self._host)
        claimed = ClaimedJobs(*common)
        listed = ListedJobs(*common, self._registry, self._instances, claimed)
        self._unit_jobs = UnitJobs(
            lambda: self._jobs, self._registry, processes, logs, site, state.jobs_path, self._host
        )
        self._executions = Executions(
            {JobProtocol.CLAIM: claimed, JobProtocol.LIST: listed, JobProtocol.UNIT: self._unit_jobs}
        )
        self._demand = DemandKeeper(lambda: self._jobs, self.scale_runner)
        self._rates = Rates(lambda: self._jobs)
        pings = IdlePings(lambda: self._jobs, self._restart_unwell)
        cares = (self._executions.look, listed.adopt, self._demand.look, pings.look, self._rates.look)
        self._keeper = JobKeeper(self._registry, site, self._stirring, *cares)
        self._scheduler = Scheduler(self._registry, lambda: self._jobs, self._keeper.on_queued)
        self._supervising: list[asyncio.Task[None]] = []
        self._opened = AsyncExitStack()
        self._client: JobClient | None = None

    async def _stirring(self, runners: Iterable[Runner]) -> set[str]:
        """Return those of some runners whose queues hold anything."""
        keys = self._jobs.keys
        return await self._jobs.ledger.stirring({runner.id: lists_of(runner, keys) for runner in runners})

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
            InvalidRunner: A declared runner has faults, or cannot be carried out here.
            RedisUnavailable: Redis did not answer within 30 seconds.
        """
        async with AsyncExitStack() as stack:
            self._state.open()
            stack.callback(self._state.close)
            self._node_id = self._state.node_id()
            self._keys.load()
            stack.push_async_callback(self._keys.aclose)
            stack.push_async_callback(self._audit.close)
            stack.push_async_callback(self._logs.close)
            self._registry.load()
            await self._processes.open()
            stack.push_async_callback(self._processes.close)
            self._registry.on_change = self._runner_news.on_stored
            self._processes.watch(self._reconciler)
            self._processes.watch(self._runner_news)
            if not self._redis_url:
                await self._private_redis.open()
                self._processes.watch(self._private_redis)
            self._state.write_environment(
                {"HERO_REDIS_URL": self.redis_url, "HERO_NODE_ID": self._node_id, "HERO_BOOT_ID": boot_id()}
            )
            await self._adopt()
            await self._exits.open()
            stack.push_async_callback(self._exits.close)
            self._supervising = [await stack.enter_async_context(_running(self._reconciler.run(), name="reconciler"))]
            if not self._redis_url:
                running = _running(self._private_redis.run(), name="private-redis")
                self._supervising.append(await stack.enter_async_context(running))
            stack.push_async_callback(self._health.aclose)
            stack.push_async_callback(self._bulk.aclose)
            if self._declared:
                await self.apply_runners(self._declared, wait=False)
            self._client = await stack.enter_async_context(self._connect_redis())
            self._processes.watch(self._keeper)
            self._processes.watch(self._unit_jobs)
            stack.push_async_callback(self._executions.aclose)
            for name, work in (("job-keeper", self._keeper.run()), ("scheduler", self._scheduler.run())):
                self._supervising.append(await stack.enter_async_context(_running(work, name=name)))
            stack.push_async_callback(self._events.aclose)
            self._opened = stack.pop_all()

    async def close(self) -> None:
        """Disconnect from everything and leave runners running."""
        await self._opened.aclose()

    async def supervise(self) -> None:
        """Wait until supervision ends, which it does by ``close``, or by a fault of ours, which is raised."""
        if self._supervising:
            ended, _ = await asyncio.wait(self._supervising, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                if not task.cancelled():
                    task.result()

    @asynccontextmanager
    async def _connect_redis(self) -> AsyncIterator[JobClient]:
        async with JobClient.connect(self.redis_url, namespace=self._site.namespace) as client:
            await _wait_for_redis(client)
            for warning in await client.preflight():
                logger.warning("%s", warning)
            yield client

    @property
    def keys(self) -> KeyStore:
        """The keys of callers; there are none before ``open``, unless they are loaded."""
        return self._keys

    @property
    def audit(self) -> AuditLog:
        """Where it is written down who did what."""
        return self._audit

    @property
    def node_id(self) -> str:
        """Id of this host among those that share its Redis, made once in the state directory; '' before ``open``."""
        return self._node_id

    @property
    def redis_url(self) -> str:
        """URL of the Redis in use; it may hold a password. That of the private one is good once this is open."""
        return self._redis_url or self._private_redis.url

    async def _adopt(self) -> None:
        """Take over the units that run; the reconciler stops those of them that are not meant to."""
        for unit in await self._processes.adopt(self._site.unit_name("*")):
            runner = self._site.runner_id(unit.name)
            if runner not in self._registry:
                logger.warning("unit %s belongs to no runner that is known here; it is left alone", unit.name)
            elif unit.is_running:
                logger.info("adopted runner %s: unit %s, process %d", runner, unit.name, unit.main_pid)
                await self._instances.mend(self._registry.get(runner).definition, unit.name)

    # -- inside --------------------------------------------------------------------------------------------------

    @property
    def _jobs(self) -> JobClient:
        if self._client is None:
            raise RedisUnavailable("cannot use jobs: this supervisor has not been opened")
        return self._client

    def _host(self) -> Host:
        return Host(self._node_id, boot_id())

    async def _restart_unwell(self, runner: str) -> None:
        async with self._registry.known(runner) as stored:
            await self._instances.stop(stored.definition, reason=ExitReason.UNHEALTHY)
        self._reconciler.look_at(runner)

    def _runner_of(self, unit_name: str) -> str | None:
        runner = self._site.runner_id(unit_name)
        return runner if runner in self._registry else None

    def _checker_of(self, runner: Runner) -> Checker:
        return Checker(run_command=partial(self._probe_commands.run, runner), key_exists=self._key_exists)

    async def _key_exists(self, key: str) -> bool:
        return await self._jobs.key_exists(key)

    def _queue_of(self, runner: Runner, instance: int = 1) -> str:
        return list_of(runner, instance, Keys(self._site.namespace))


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
async def _running(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Do some work beside the block, at most until its end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
