"""Hero Supervisor: keeps runners alive as systemd units and never loses a job they were given.

The library, without any server or CLI package::

    from hero_supervisor import JobBuilder, Runner, SupervisorBuilder

    supervisor = await SupervisorBuilder().redis_url("redis://localhost:6379").namespace("hero").build()
    async with supervisor:
        await supervisor.add_runner(Runner(id="py", executor="python"))
        await supervisor.start_runner("py")
        result = await supervisor.queue_and_wait("py", JobBuilder().payload("print(6 * 7)").build())

``SupervisorApp`` adds the JSON-RPC server and needs the extra ``server``.

Names are loaded when they are first used: ``herosup`` and ``hero-runner`` live in this package too, and neither
should wait for a D-Bus library that it does not use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import SupervisorApp
    from .builder import SupervisorBuilder
    from .client import JobClient
    from .definition.limits import Limits, LogRate
    from .definition.restart import Backoff
    from .definition.sandbox import Sandbox
    from .errors import HeroError
    from .job import Job, JobResult, JobStatus
    from .job_builder import JobBuilder
    from .records import ExitReason, ExitRecord, LogRecord, RunnerState, RunnerStats, RunnerStatus, StatusSummary
    from .runner import Runner
    from .supervisor import Supervisor

__all__ = [
    "Backoff",
    "ExitReason",
    "ExitRecord",
    "HeroError",
    "Job",
    "JobBuilder",
    "JobClient",
    "JobResult",
    "JobStatus",
    "Limits",
    "LogRate",
    "LogRecord",
    "Runner",
    "RunnerState",
    "RunnerStats",
    "RunnerStatus",
    "Sandbox",
    "StatusSummary",
    "Supervisor",
    "SupervisorApp",
    "SupervisorBuilder",
]

_MODULES = {
    "app": ("SupervisorApp",),
    "builder": ("SupervisorBuilder",),
    "client": ("JobClient",),
    "errors": ("HeroError",),
    "job": ("Job", "JobResult", "JobStatus"),
    "job_builder": ("JobBuilder",),
    "definition.limits": ("Limits", "LogRate"),
    "records": ("ExitReason", "ExitRecord", "LogRecord", "RunnerState", "RunnerStats", "RunnerStatus", "StatusSummary"),
    "definition.restart": ("Backoff",),
    "runner": ("Runner",),
    "definition.sandbox": ("Sandbox",),
    "supervisor": ("Supervisor",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as exc:
        raise ImportError(
            f"cannot load {name}: the package {exc.name!r} is not installed; pip install 'hero-supervisor[server]'"
        ) from exc
