"""Puts a ``Supervisor`` together from settings or from ready-made parts. Nothing is contacted before ``open``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from msgspec.structs import replace

from . import schema
from .errors import InvalidSettings
from .exits import ExitWatcher
from .journal import AuditJournal, JournalSource
from .settings import Manager, Settings, faults_in
from .state import StateDirectory
from .supervisor import Supervisor
from .systemd import SystemdManager
from .unit import Site

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .definition.sandbox import Sandbox
    from .ports import AuditLog, ExitSource, LogSource, ProcessManager
    from .runner import Runner
    from .scope import Scope


class SupervisorBuilder:
    """Configures a supervisor step by step.

    ::

        supervisor = await SupervisorBuilder().redis_url("redis://localhost:6379").namespace("hero").build()
    """

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {}
        self._processes: ProcessManager | None = None
        self._logs: LogSource | None = None
        self._exits: ExitSource | None = None
        self._audit: AuditLog | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Start from the service's settings."""
        builder = cls()
        builder._settings = {field: getattr(settings, field) for field in settings.__struct_fields__}
        return builder

    def _with(self, **values: object) -> Self:
        self._settings.update(values)
        return self

    def redis_url(self, url: str | None) -> Self:
        """Use this Redis server; ``None`` runs a private one."""
        return self._with(redis_url=url)

    def namespace(self, namespace: str) -> Self:
        """Set the first part of all Redis keys and unit names."""
        return self._with(namespace=namespace)

    def state_dir(self, path: str | Path) -> Self:
        """Keep runner definitions, and the private Redis's data, in this directory."""
        return self._with(state_dir=str(path))

    def admin_secrets(self, *secrets: str) -> Self:
        """Set the secrets that allow everything."""
        return self._with(admin_secrets=secrets)

    def user_secrets(self, *secrets: str) -> Self:
        """Set the secrets that allow job operations."""
        return self._with(user_secrets=secrets)

    def register_secrets(self, *secrets: str) -> Self:
        """Set the secrets that allow job operations and adding runners."""
        return self._with(register_secrets=secrets)

    def anonymous_scope(self, scope: Scope) -> Self:
        """Set what callers may do who show no secret."""
        return self._with(anonymous_scope=scope)

    def default_sandbox(self, sandbox: Sandbox) -> Self:
        """Shut runners in like this that name no sandbox."""
        return self._with(default_sandbox=sandbox)

    def runner(self, runner: Runner) -> Self:
        """Declare a runner: it is added and started when the application starts."""
        return self.runners([runner])

    def runners(self, runners: Iterable[Runner]) -> Self:
        """Declare several runners."""
        declared = [replace(runner, autostart=True) for runner in runners]
        return self._with(runners=(*self._settings.get("runners", ()), *declared))

    def process_manager(self, manager: Manager | ProcessManager) -> Self:
        """Choose whose units the runners become, or bring a process manager of your own."""
        if isinstance(manager, Manager):
            return self._with(manager=manager)
        self._processes = manager
        return self

    def bus(self, address: str) -> Self:
        """Reach the systemd manager at this D-Bus address."""
        return self._with(bus_address=address)

    def log_source(self, logs: LogSource) -> Self:
        """Read logs from here instead of the journal."""
        self._logs = logs
        return self

    def exit_source(self, exits: ExitSource) -> Self:
        """Learn how runs ended from here instead of the journal."""
        self._exits = exits
        return self

    def audit_log(self, audit: AuditLog) -> Self:
        """Keep here who did what, instead of in the journal."""
        self._audit = audit
        return self

    async def build(self) -> Supervisor:
        """Return the supervisor, not yet opened. It must be closed by whoever opens it.

        Raises:
            InvalidSettings: With every fault.
        """
        runners = [runner.checked() for runner in self._settings.get("runners", ())]
        settings = schema.convert(
            {**self._settings, "runners": runners}, Settings, error=InvalidSettings, rules=faults_in
        )
        state = StateDirectory(settings.state_path)
        is_user = settings.manager is Manager.USER
        site = Site(settings.namespace, state.environment_file, settings.default_sandbox)
        processes = self._processes or SystemdManager(user=is_user, address=settings.bus_address)
        exits = self._exits or ExitWatcher(
            namespace=settings.namespace, path=state.exits_file, processes=processes, user=is_user
        )
        return Supervisor(
            site=site,
            state=state,
            processes=processes,
            logs=self._logs or JournalSource(slice_name=site.slice, job_slice_name=site.job_slice, user=is_user),
            exits=exits,
            audit=self._audit or AuditJournal(namespace=settings.namespace, user=is_user),
            manager=settings.manager,
            redis_url=settings.redis_url,
            secrets=settings.secrets,
            anonymous_scope=settings.anonymous_scope,
            audit_scope=settings.audit_scope,
            declared=settings.runners,
        )
