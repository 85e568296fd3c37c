"""The sandbox profiles: what each of their words means to systemd. docs/runners.md has the same table in prose.

*default* is what one would run in production without knowing the program: it may read the system, use the network and
write to its own state directory, nothing else. *strict* also takes from it what few programs need. *trusted* sets
nothing.

On the system manager a runner that names no user gets a dynamic one. All instances of a runner have the same, and their
state directory belongs to it. Measured on 252:

- A **user's manager** can do nearly all of it, but only together with ``PrivateUsers``: without, it ignores what
  needs a mount namespace, silently, or fails (``PrivateDevices``, ``BindReadOnlyPaths``, ``CapabilityBoundingSet``).
  It cannot give another user, ignores ``ProtectProc`` and ``ProcSubset`` all the same, and fails at
  ``ProtectKernelLogs``; the kernel's log is not an ordinary user's to read anyway.
- ``PrivateTmp`` and ``ProtectHome=tmpfs`` hide what is below. When our own interpreter is there, as in a virtual
  environment in a home directory, it is mounted back for the bundled runner, read-only.

Rejected for *strict*: ``PrivateNetwork`` (workers call other services; it is among the extra properties),
``PrivatePIDs`` (newer systemds only; PID 1 of a namespace has its own rules for signals).
"""

from __future__ import annotations

import sys
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from hero_supervisor.definition.sandbox import Sandbox

from .transient import Property, flag, no_namespaces, shown_paths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hero_supervisor.runner import Runner

    from .capabilities import Capabilities
    from .site import Site

_DEFAULT: Final = (
    flag("NoNewPrivileges"),
    Property("ProtectSystem", "s", "strict"),
    Property("ProtectHome", "s", "read-only"),
    flag("PrivateTmp"),
    flag("PrivateDevices"),
    flag("ProtectKernelTunables"),
    flag("ProtectKernelModules"),
    flag("ProtectKernelLogs"),
    flag("ProtectControlGroups"),
    flag("ProtectClock"),
    flag("ProtectHostname"),
    flag("RestrictSUIDSGID"),
    flag("RestrictRealtime"),
    flag("LockPersonality"),
    Property("SystemCallArchitectures", "as", ["native"]),
    Property("UMask", "u", 0o077),
)

_STRICT: Final = (
    *(prop for prop in _DEFAULT if prop.name != "ProtectHome"),
    Property("ProtectHome", "s", "tmpfs"),
    Property("ProtectControlGroupsEx", "s", "strict"),  # its own subtree only; left out before 257
    Property("ProtectProc", "s", "invisible"),
    Property("ProcSubset", "s", "pid"),
    flag("PrivateUsers"),
    flag("PrivateIPC"),
    flag("MemoryDenyWriteExecute"),
    Property("CapabilityBoundingSet", "t", 0),
    no_namespaces(),
    Property("RestrictAddressFamilies", "(bas)", [True, ["AF_UNIX", "AF_INET", "AF_INET6"]]),
    Property("SystemCallFilter", "(bas)", [True, ["@system-service"]]),
    Property("SystemCallFilter", "(bas)", [False, ["@privileged", "@resources"]]),
    Property("SystemCallErrorNumber", "i", 1),  # EPERM, which programs can handle; the default kills
)

_PROFILES: Final = {Sandbox.DEFAULT: _DEFAULT, Sandbox.STRICT: _STRICT, Sandbox.TRUSTED: ()}

#: What a user's manager fails at, ignores, is given in any case, or has not been tried with.
_SYSTEM_ONLY: Final = frozenset(
    {"ProtectKernelLogs", "ProtectProc", "ProcSubset", "PrivateUsers", "ProtectControlGroupsEx"}
)

#: Directories whose content a profile hides.
_HIDDEN: Final = {
    Sandbox.DEFAULT: ("/tmp", "/var/tmp"),  # noqa: S108  # nothing is written there
    Sandbox.STRICT: ("/tmp", "/var/tmp", "/home", "/root", "/run/user"),  # noqa: S108
    Sandbox.TRUSTED: (),
}


def sandbox_of(runner: Runner, site: Site) -> Sandbox:
    """Return the sandbox of a runner, which may leave it to the site."""
    return runner.sandbox or site.default_sandbox


def has_dynamic_user(runner: Runner, site: Site, capabilities: Capabilities) -> bool:
    """Whether systemd makes a user for a runner."""
    is_shut_in = sandbox_of(runner, site) is not Sandbox.TRUSTED
    return is_shut_in and runner.user is None and not capabilities.is_user


def sandbox_properties(runner: Runner, site: Site, capabilities: Capabilities) -> Iterable[Property]:
    """Yield the properties that shut a runner in."""
    sandbox = sandbox_of(runner, site)
    if sandbox is Sandbox.TRUSTED:
        return
    if has_dynamic_user(runner, site, capabilities):
        yield flag("DynamicUser")
    for prop in _PROFILES[sandbox]:
        if not (capabilities.is_user and prop.name in _SYSTEM_ONLY):
            yield prop
    if capabilities.is_user:
        yield flag("PrivateUsers")
    yield Property("StateDirectory", "as", [site.state_directory(runner.id)])
    bound = [path for path in executor_paths() if is_hidden(path, sandbox)] if runner.executor else []
    if bound:
        yield shown_paths(bound)


def is_hidden(path: str, sandbox: Sandbox) -> bool:
    """Whether a sandbox shows a runner something else, or nothing, in place of an absolute path."""
    return any(is_within(path, directory) for directory in _HIDDEN[sandbox])


def executor_paths() -> tuple[str, ...]:
    """Return the directories that the bundled runner needs: of our interpreter and of this package."""
    package = str(Path(__file__).parents[1])
    found = dict.fromkeys([sys.prefix, sys.base_prefix, package])
    return tuple(path for path in found if not any(path != other and is_within(path, other) for other in found))


def is_within(path: str, directory: str) -> bool:
    """Whether a path is that of a directory or of something in it."""
    return PurePath(path).is_relative_to(directory)
