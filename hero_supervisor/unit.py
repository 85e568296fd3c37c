"""Pure: a runner into the transient unit that systemd runs, and what systemd reports of a unit.

Nothing here talks to systemd. D-Bus property names are not always those of unit files (times are ``…USec``);
their types are in org.freedesktop.systemd1(5) and systemd.service(5).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from .runner import Readiness, RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .runner import Runner

#: A runner that has to be started more often than this within the window is given up as failed.
START_LIMIT_BURST: Final = 5
START_LIMIT_INTERVAL_S: Final = 30.0

_RESTART_WORDS: Final = {
    RestartPolicy.ALWAYS: "always",
    RestartPolicy.ON_FAILURE: "on-failure",
    RestartPolicy.NEVER: "no",
}


class Property(NamedTuple):
    """One property of a transient unit: its D-Bus name, D-Bus signature and value."""

    name: str
    signature: str
    value: object


@dataclass(frozen=True, slots=True)
class TransientUnit:
    """A unit for ``StartTransientUnit``."""

    name: str
    properties: tuple[Property, ...]
    #: Longest time systemd may take to start it, and to stop it.
    start_timeout_s: float
    stop_timeout_s: float


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """The properties of a unit that we look at, in systemd's words."""

    name: str
    active_state: str = "inactive"
    sub_state: str = "dead"
    main_pid: int = 0
    #: 32 hexadecimal digits; empty when the unit never ran.
    invocation_id: str = ""
    #: Microseconds since the epoch; 0 when the unit never ran.
    state_change_usec: int = 0
    restarts: int = 0
    result: str = "success"
    #: CLD_EXITED (1), CLD_KILLED (2), CLD_DUMPED (3), or 0 while no process of the unit has ended.
    exec_main_code: int = 0
    exec_main_status: int = 0

    @property
    def is_running(self) -> bool:
        """Whether its start has been asked for and no stop has been since."""
        return self.active_state in {"active", "reloading", "activating"}


@dataclass(frozen=True, slots=True)
class Site:
    """What every unit of one supervisor has in common."""

    namespace: str
    #: File with the environment that is no business of other users (a Redis URL may hold a password).
    environment_file: Path

    def unit_name(self, runner_id: str) -> str:
        """Return the name of a runner's unit."""
        return f"{self.namespace}-runner-{runner_id}.service"

    def runner_id(self, unit_name: str) -> str:
        """Return the id of the runner that a unit of ours belongs to."""
        return unit_name.removeprefix(f"{self.namespace}-runner-").removesuffix(".service")

    @property
    def slice(self) -> str:
        """Name of the slice that holds all runners; systemd nests it in ``{namespace}.slice``."""
        return f"{self.namespace}-runners.slice"


def render(runner: Runner, site: Site, *, queue: str) -> TransientUnit:
    """Render a runner into its unit.

    Args:
        runner: A valid runner.
        site: What the supervisor's units have in common.
        queue: The Redis list that the runner takes job ids from.
    """
    environment = {**runner.env, **_runner_environment(runner, site, queue)}
    properties = [
        Property("Description", "s", runner.description or f"Hero runner {runner.id}"),
        Property("Slice", "s", site.slice),
        exec_start(command_of(runner)),
        Property("Environment", "as", [f"{name}={value}" for name, value in environment.items()]),
        Property("EnvironmentFiles", "a(sb)", [[str(site.environment_file), False]]),
        Property("Type", "s", "notify" if runner.readiness is Readiness.NOTIFY else "exec"),
        Property("Restart", "s", _RESTART_WORDS[runner.restart]),
        Property("RestartUSec", "t", _usec(runner.restart_delay_s)),
        Property("StartLimitIntervalUSec", "t", _usec(START_LIMIT_INTERVAL_S)),
        Property("StartLimitBurst", "u", START_LIMIT_BURST),
        Property("SyslogIdentifier", "s", runner.id),
        Property("LogExtraFields", "aay", _log_fields(runner, site)),
        Property("KillMode", "s", _kill_mode(runner)),
        *lifetime(start_timeout_s=runner.start_timeout_s, stop_timeout_s=runner.stop_timeout_s),
        *_optional(WorkingDirectory=runner.working_directory, User=runner.user, Group=runner.group),
    ]
    return TransientUnit(
        name=site.unit_name(runner.id),
        properties=tuple(properties),
        start_timeout_s=runner.start_timeout_s,
        stop_timeout_s=runner.stop_timeout_s,
    )


def command_of(runner: Runner) -> tuple[str, ...]:
    """Return the argument vector of a runner: its own, or the bundled runner's."""
    if runner.executor is None:
        return runner.command
    # -P keeps the working directory out of the module search path.
    module = (sys.executable, "-P", "-m", "hero_supervisor.worker")
    return (*module, runner.id, "--executor", runner.executor.value)


def exec_start(command: tuple[str, ...]) -> Property:
    """Return the property that makes systemd execute ``command`` byte for byte.

    ``ExecStart`` would expand ``$NAME`` in arguments even over D-Bus; ``ExecStartEx`` takes a flag against it.
    ``%`` specifiers are expanded in unit files only, so nothing is escaped here.
    """
    return Property("ExecStartEx", "a(sasas)", [[command[0], list(command), ["no-env-expand"]]])


def lifetime(*, start_timeout_s: float, stop_timeout_s: float) -> tuple[Property, ...]:
    """Return the properties by which every unit of ours is started, kept and killed.

    ``CollectMode=inactive`` with a reference (``AddRef``) keeps the unit and its result until we drop the
    reference; a failed unit stays even after that, so a failure that nobody saw is still there to be read.
    """
    return (
        Property("TimeoutStartUSec", "t", _usec(start_timeout_s)),
        Property("TimeoutStopUSec", "t", _usec(stop_timeout_s)),
        Property("SendSIGKILL", "b", True),  # noqa: FBT003  # a property's value, not an argument
        Property("CollectMode", "s", "inactive"),
        Property("AddRef", "b", True),  # noqa: FBT003
    )


def _kill_mode(runner: Runner) -> str:
    """Return who gets SIGTERM first; SIGKILL gets the whole control group in both modes.

    The bundled runner passes a stop on to its job when that has had its grace; SIGTERM for all would end it at once.
    """
    return "mixed" if runner.executor else "control-group"


def _runner_environment(runner: Runner, site: Site, queue: str) -> Mapping[str, str]:
    return {
        "HERO_RUNNER": runner.id,
        "HERO_NAMESPACE": site.namespace,
        "HERO_QUEUE": queue,
    }


def _log_fields(runner: Runner, site: Site) -> list[bytes]:
    fields = {"HERO_RUNNER": runner.id, "HERO_NAMESPACE": site.namespace}
    return [f"{name}={value}".encode() for name, value in fields.items()]


def _optional(**values: str | None) -> list[Property]:
    return [Property(name, "s", value) for name, value in values.items() if value is not None]


def _usec(seconds: float) -> int:
    return round(seconds * 1_000_000)
