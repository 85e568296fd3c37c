"""A runner into its transient unit: which field becomes which property.

Fast restarts are systemd's: it gives a unit up that was started more than ``StartLimitBurst`` times within
``StartLimitIntervalUSec``. The supervisor then makes the unit anew from time to time, with a burst of 1. As long as a
run is shorter than the interval, one such start is all that systemd makes; once a run was longer, systemd restarts it
again (measured on 252), so a runner that has recovered is supervised without us.

Some fields are for the supervisor alone and render to nothing: ``labels``, ``autostart``, ``instances``, ``after``,
the slow part of ``backoff``, ``reload_signal``, ``max_age_s`` (``RuntimeMaxSec`` would end a worker in the middle of
a job), ``restart_calendar``.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Final

from hero_supervisor.definition.extra_properties import EXTRA_PROPERTIES
from hero_supervisor.definition.restart import RestartPolicy
from hero_supervisor.drain import DRAINED_STATUS
from hero_supervisor.runner import Readiness

from .capabilities import Capabilities
from .sandbox import sandbox_properties
from .transient import NO_LIMIT, Property, TransientUnit, duration, exec_reload, exec_start, flag, lifetime, shown_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hero_supervisor.definition.extra_properties import ExtraValue
    from hero_supervisor.definition.limits import Limits
    from hero_supervisor.runner import Runner

    from .site import Site

_RESTART_WORDS: Final = {
    RestartPolicy.ALWAYS: "always",
    RestartPolicy.ON_FAILURE: "on-failure",
    RestartPolicy.NEVER: "no",
}

#: Longest pause before a restart by systemd while the supervisor makes the slow ones.
SLOW_DELAY_S: Final = 0.1

#: Ends by these signals are no failures for systemd; for another stop signal it has to be told. Source:
#: systemd.service(5).
_CLEAN_SIGNALS: Final = frozenset({"SIGHUP", "SIGINT", "SIGTERM"})


def render(
    runner: Runner,
    site: Site,
    *,
    queue: str,
    instance: int = 1,
    burst: int | None = None,
    capabilities: Capabilities | None = None,
) -> TransientUnit:
    """Render an instance of a runner into its unit.

    Args:
        runner: A valid runner; what ``faults_on`` finds in it may make systemd refuse the unit.
        site: What the supervisor's units have in common.
        queue: The Redis list that the runner takes job ids from.
        instance: Which one, from 1.
        burst: Starts within ``backoff.stable_after_s``; one more than its ``fast_retries`` when not given.
        capabilities: What the manager can do; what the oldest system manager can when not given.
    """
    capabilities = capabilities or Capabilities()
    log_fields = {"HERO_RUNNER": runner.id, "HERO_INSTANCE": instance, "HERO_NAMESPACE": site.namespace}
    properties = (
        Property("Description", "s", runner.description or f"Hero runner {runner.id}"),
        Property("Slice", "s", site.slice),
        *_process(runner, site, queue, instance),
        *_restarts(runner, burst),
        *_ends(runner),
        *bounds(runner, site, capabilities),
        *log_properties(runner, log_fields),
    )
    return TransientUnit(
        name=site.unit_name(runner.id, instance),
        properties=tuple(prop for prop in properties if capabilities.knows(prop.name)),
        start_timeout_s=runner.start_timeout_s,
        stop_timeout_s=runner.stop_timeout_s,
        left_out=tuple(prop.name for prop in properties if not capabilities.knows(prop.name)),
    )


def bounds(runner: Runner, site: Site, capabilities: Capabilities) -> Iterable[Property]:
    """Yield what a process of a runner may take, and how it is shut in."""
    yield from map(flag, ("CPUAccounting", "IOAccounting", "MemoryAccounting", "TasksAccounting"))
    yield from limit_properties(runner.limits)
    yield from optional("t", LimitNOFILE=runner.limits.open_files, LimitNOFILESoft=runner.limits.open_files)
    yield Property("OOMPolicy", "s", runner.oom_policy.value)
    yield from sandbox_properties(runner, site, capabilities)
    yield from map(_extra_property, runner.extra_properties, runner.extra_properties.values())


def log_properties(runner: Runner, fields: Mapping[str, object]) -> Iterable[Property]:
    """Yield how a process of a runner logs; ``fields`` are in each of its journal entries."""
    yield Property("SyslogIdentifier", "s", runner.id)
    yield Property("LogExtraFields", "aay", [f"{name}={value}".encode() for name, value in fields.items()])
    yield duration("LogRateLimitIntervalUSec", runner.log_rate.interval_s)
    yield Property("LogRateLimitBurst", "u", runner.log_rate.burst)


def command_of(runner: Runner) -> tuple[str, ...]:
    """Return the argument vector of a runner: its own, or the bundled runner's."""
    if runner.executor is None:
        return runner.command
    # -P keeps the working directory out of the module search path.
    module = (sys.executable, "-P", "-m", "hero_supervisor.worker")
    return (*module, runner.id, "--executor", runner.executor.value)


def _process(runner: Runner, site: Site, queue: str, instance: int) -> Iterable[Property]:
    environment = {**runner.env, **_runner_environment(runner, site, queue, instance)}
    yield exec_start(command_of(runner))
    if runner.reload_command:
        yield exec_reload(runner.reload_command)
    yield Property("Environment", "as", [f"{name}={value}" for name, value in environment.items()])
    yield Property("EnvironmentFiles", "a(sb)", [[str(site.environment_file), False]])
    yield from identity(runner)
    yield Property("Type", "s", "notify" if runner.readiness is Readiness.NOTIFY else "exec")
    if runner.watchdog_s is not None:
        yield duration("WatchdogUSec", runner.watchdog_s)
        yield Property("NotifyAccess", "s", "main")


def identity(runner: Runner) -> Iterable[Property]:
    """Yield as whom a process of a runner runs, where, and what only it may read."""
    if runner.credentials:
        yield Property("LoadCredential", "a(ss)", [[name, path] for name, path in runner.credentials.items()])
    yield from optional("s", WorkingDirectory=runner.working_directory, User=runner.user, Group=runner.group)


def _restarts(runner: Runner, burst: int | None) -> Iterable[Property]:
    yield Property("Restart", "s", _RESTART_WORDS[runner.restart])
    # systemd waits once more before it sees that the limit is hit: with a burst of 1 that is no restart, only a delay.
    yield duration("RestartUSec", runner.restart_delay_s if burst != 1 else min(runner.restart_delay_s, SLOW_DELAY_S))
    yield duration("StartLimitIntervalUSec", runner.backoff.stable_after_s)
    yield Property("StartLimitBurst", "u", burst or runner.backoff.fast_retries + 1)


def _ends(runner: Runner) -> Iterable[Property]:
    number = signal.Signals[runner.stop_signal].value
    yield Property("KillMode", "s", _kill_mode(runner))
    yield Property("KillSignal", "i", number)
    yield from _good_ends(runner, number)
    yield from lifetime(start_timeout_s=runner.start_timeout_s, stop_timeout_s=runner.stop_timeout_s)


def _good_ends(runner: Runner, stop_signal: int) -> Iterable[Property]:
    """Yield which ends are no failures, and which of them are not followed by a restart."""
    drained = [DRAINED_STATUS] if runner.executor or runner.drain_signal else []
    signals = [] if runner.stop_signal in _CLEAN_SIGNALS else [stop_signal]
    if drained or signals:
        yield Property("SuccessExitStatus", "(aiai)", [drained, signals])
    if drained:
        yield Property("RestartPreventExitStatus", "(aiai)", [drained, []])


def _kill_mode(runner: Runner) -> str:
    """Return who gets the stop signal first; SIGKILL gets the whole control group in both modes.

    The bundled runner passes a stop on to its job when that has had its grace; SIGTERM for all would end it at once.
    """
    return "mixed" if runner.executor else "control-group"


def limit_properties(limits: Limits) -> list[Property]:
    """Return the limits of a control group as properties; systemd can change these while a unit runs.

    A limit that is not set is given as what systemd takes for none, so that it can also be lifted.
    """
    quota = limits.cpu_quota_percent
    values = {
        "MemoryHigh": limits.memory_high_bytes,
        "MemoryMax": limits.memory_max_bytes,
        "MemorySwapMax": limits.memory_swap_max_bytes,
        "CPUQuotaPerSecUSec": None if quota is None else quota * 10_000,
        "CPUWeight": limits.cpu_weight,
        "IOWeight": limits.io_weight,
        "TasksMax": limits.tasks_max,
    }
    return [Property(name, "t", NO_LIMIT if value is None else value) for name, value in values.items()]


def _runner_environment(runner: Runner, site: Site, queue: str, instance: int) -> Mapping[str, str]:
    return {
        "HERO_RUNNER": runner.id,
        "HERO_INSTANCE": str(instance),
        "HERO_NAMESPACE": site.namespace,
        "HERO_QUEUE": queue,
        "HERO_UNIT": site.unit_name(runner.id, instance),
        "HERO_CONCURRENCY": str(runner.concurrency),
    }


def _extra_property(name: str, value: ExtraValue) -> Property:
    signature = EXTRA_PROPERTIES[name].signature
    if signature == "a(ssbt)" and isinstance(value, tuple):
        return shown_paths(value)
    return Property(name, signature, list(value) if isinstance(value, tuple) else value)


def optional(signature: str, **values: str | int | None) -> Iterable[Property]:
    """Return the properties whose values are not ``None``."""
    return [Property(name, signature, value) for name, value in values.items() if value is not None]
