"""What a systemd manager can do, and which fields of a runner it cannot carry out.

systemd refuses a whole unit for one property that it does not know, and silently ignores limits whose controller it
does not have. So what depends on version, manager and kernel is asked here, before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hero_supervisor.definition.extra_properties import EXTRA_PROPERTIES
from hero_supervisor.definition.limits import DEFAULT_TASKS
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.errors import Fault

from .sandbox import is_hidden, is_within, sandbox_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hero_supervisor.runner import Runner

    from .site import Site

#: The oldest version that is supported (Debian 12). What it has is in no table here.
MIN_VERSION: Final = 252

CONTROLLERS: Final = frozenset({"cpu", "io", "memory", "pids"})

#: Properties that came later, and with which version. Of a sandbox such a one is left out, and of an extra property it
#: is a fault: that was asked for by its name.
_SINCE: Final[Mapping[str, int]] = {
    "ProtectControlGroupsEx": 257,
    **{name: extra.since for name, extra in EXTRA_PROPERTIES.items() if extra.since > MIN_VERSION},
}

#: The controller that enforces a limit, or gives the property its meaning.
_CONTROLLERS: Final[Mapping[str, str]] = {
    "memory_high_bytes": "memory",
    "memory_max_bytes": "memory",
    "memory_swap_max_bytes": "memory",
    "cpu_quota_percent": "cpu",
    "cpu_weight": "cpu",
    "io_weight": "io",
    "tasks_max": "pids",
}
#: Extra properties that a user's manager accepts and cannot carry out.
_SYSTEM_ONLY: Final = frozenset({"IOSchedulingClass", "IOSchedulingPriority", "LimitMEMLOCK"})
_WITH_PATHS: Final = frozenset(name for name, extra in EXTRA_PROPERTIES.items() if extra.signature.startswith("a"))


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a systemd manager can do."""

    #: Of systemd.
    version: int = MIN_VERSION
    #: A user's manager; the system's otherwise.
    is_user: bool = False
    #: The cgroup controllers that it can use.
    controllers: frozenset[str] = CONTROLLERS
    #: Whether the kernel lets it make user namespaces; a user's manager shuts nothing in without.
    has_user_namespaces: bool = True

    def knows(self, property_name: str) -> bool:
        """Whether it knows a property that we may set."""
        return _SINCE.get(property_name, MIN_VERSION) <= self.version


def faults_on(runner: Runner, site: Site, capabilities: Capabilities) -> Iterable[Fault]:
    """Yield what of a valid runner a manager cannot carry out, by field."""
    yield from _limit_faults(runner, capabilities)
    yield from _path_faults(runner, sandbox_of(runner, site))
    yield from _version_faults(runner, capabilities)
    if capabilities.is_user:
        yield from _user_manager_faults(runner, site, capabilities)


def _limit_faults(runner: Runner, capabilities: Capabilities) -> Iterable[Fault]:
    for field, controller in _CONTROLLERS.items():
        value = getattr(runner.limits, field)
        # The default is a precaution; that it has no effect is no reason to refuse every runner.
        is_given = value is not None and (field, value) != ("tasks_max", DEFAULT_TASKS)
        if is_given and controller not in capabilities.controllers:
            yield Fault(
                f"limits.{field}", f"cannot be enforced: this systemd manager has no cgroup controller '{controller}'"
            )


def _path_faults(runner: Runner, sandbox: Sandbox) -> Iterable[Fault]:
    bound = runner.extra_properties.get("BindReadOnlyPaths", ())
    shown = bound if isinstance(bound, tuple) else ()
    paths = {"command[0]": next(iter(runner.command), ""), "working_directory": runner.working_directory or ""}
    for field, path in paths.items():
        if path.startswith("/") and is_hidden(path, sandbox) and not any(is_within(path, each) for each in shown):
            yield Fault(
                field, f"{path} is hidden by the sandbox '{sandbox}': put it elsewhere, or set sandbox to 'trusted'"
            )


def _version_faults(runner: Runner, capabilities: Capabilities) -> Iterable[Fault]:
    for name in runner.extra_properties:
        if not capabilities.knows(name):
            yield Fault(f"extra_properties.{name}", f"needs systemd {_SINCE[name]}, and this is {capabilities.version}")


def _user_manager_faults(runner: Runner, site: Site, capabilities: Capabilities) -> Iterable[Fault]:
    for field in ("user", "group"):
        if getattr(runner, field) is not None:
            yield Fault(field, "can be changed by the system manager only, and this is a user's")
    is_shut_in = sandbox_of(runner, site) is not Sandbox.TRUSTED
    if is_shut_in and not capabilities.has_user_namespaces:
        yield Fault(
            "sandbox",
            "needs the system manager, or a kernel that gives users namespaces of their own, "
            "and this one does not: set sandbox to 'trusted'",
        )
    for name in runner.extra_properties:
        if name in _SYSTEM_ONLY:
            yield Fault(f"extra_properties.{name}", "needs the system manager, and this is a user's")
        elif name in _WITH_PATHS and not is_shut_in:
            yield Fault(f"extra_properties.{name}", "needs a sandbox other than 'trusted' on a user's manager")
