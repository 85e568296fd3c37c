"""What the operations work with; ``Supervisor`` makes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hero_supervisor.api_keys import KeyStore
    from hero_supervisor.calendar import Calendar
    from hero_supervisor.client import JobClient
    from hero_supervisor.engine.bulk import BulkOperations
    from hero_supervisor.engine.dependencies import Dependencies
    from hero_supervisor.engine.instances import Instances
    from hero_supervisor.engine.reconcile import Reconciler
    from hero_supervisor.engine.registry import Registry
    from hero_supervisor.engine.stats import StatsReader
    from hero_supervisor.events import EventHub
    from hero_supervisor.jobs.demand import DemandKeeper
    from hero_supervisor.jobs.keeper import JobKeeper
    from hero_supervisor.jobs.rates import Rates
    from hero_supervisor.jobs.scheduler import Scheduler
    from hero_supervisor.ports import AuditLog, ExitSource, LogSource, ProcessManager
    from hero_supervisor.runner import Runner
    from hero_supervisor.unit import Site


class Parts(ABC):
    """The parts that classes of operations share."""

    _site: Site
    _processes: ProcessManager
    _logs: LogSource
    _exits: ExitSource
    _keys: KeyStore
    _audit: AuditLog
    _registry: Registry
    _instances: Instances
    _reconciler: Reconciler
    _dependencies: Dependencies
    _bulk: BulkOperations
    _events: EventHub
    _calendar: Calendar
    _stats: StatsReader
    _keeper: JobKeeper
    _scheduler: Scheduler
    _demand: DemandKeeper
    _rates: Rates

    @property
    @abstractmethod
    def _jobs(self) -> JobClient:
        """The jobs in Redis, while there is a connection."""

    @abstractmethod
    def _queue_of(self, runner: Runner) -> str:
        """Return the Redis list that a runner takes jobs from."""
