"""The private Redis server as a transient unit, for when no Redis is configured.

It is a unit of its own, so it outlives the supervisor like the runners that use it. It listens on a unix socket
only, in a runtime directory that systemd makes and removes with the unit. Its data is in the state directory.

Runners have users of their own, so every user can connect, but only who knows the password gets anything: it is in a
file that only the service's user can read, and reaches runners in their environment file, which systemd reads for them.

It runs as the service's user, since its data is in that user's directory, but without any of root's rights. What needs
a mount namespace is left out for a user's manager, which would ignore it or fail.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from .errors import RedisUnavailable
from .settings import Manager
from .unit import Property, TransientUnit, exec_start, flag, lifetime, no_namespaces

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0


_SANDBOX: Final = (
    flag("NoNewPrivileges"),
    flag("RestrictSUIDSGID"),
    flag("RestrictRealtime"),
    flag("LockPersonality"),
    flag("MemoryDenyWriteExecute"),
    no_namespaces(),
    Property("RestrictAddressFamilies", "(bas)", [True, ["AF_UNIX"]]),
    Property("SystemCallArchitectures", "as", ["native"]),
    Property("SystemCallFilter", "(bas)", [True, ["@system-service"]]),
    Property("UMask", "u", 0o077),
)


def unit_name(namespace: str) -> str:
    """Return the name of a namespace's Redis unit."""
    return f"{namespace}-redis.service"


def url(namespace: str, manager: Manager, password: str) -> str:
    """Return the URL of a namespace's Redis."""
    return f"unix://:{password}@{_socket_path(namespace, manager)}"


def find_program() -> str:
    """Return the path of ``redis-server``: beside our own interpreter, or on the search path.

    Raises:
        RedisUnavailable: There is none.
    """
    own = Path(sys.executable).with_name("redis-server")
    found = str(own) if own.exists() else shutil.which("redis-server", path=f"{os.environ.get('PATH')}:{os.defpath}")
    if found is None:
        raise RedisUnavailable(
            "cannot start the private Redis: there is no redis-server program",
            hint="install the package redis-server, or set redis_url to a Redis that runs",
        )
    return found


def render(program: str, namespace: str, manager: Manager, config_path: Path, data_path: Path) -> TransientUnit:
    """Render the Redis server of a namespace into its unit.

    Args:
        program: Path of ``redis-server``.
        namespace: Names the unit, its slice and its runtime directory.
        manager: Whose runtime directory holds the socket.
        config_path: Existing file with its password.
        data_path: Existing directory for the append-only file.
    """
    properties = (
        Property("Description", "s", f"Redis of Hero Supervisor, namespace {namespace}"),
        Property("Slice", "s", f"{namespace}.slice"),
        Property("Type", "s", "exec"),
        Property("RuntimeDirectory", "as", [f"{namespace}-redis"]),
        Property("RuntimeDirectoryMode", "u", 0o711),
        Property("Restart", "s", "always"),
        Property("RestartUSec", "t", 500_000),
        # For ever: nobody else starts it again, and what ails it (memory, a full disk) may pass.
        Property("StartLimitIntervalUSec", "t", 0),
        exec_start((program, str(config_path), *_options(_socket_path(namespace, manager), data_path))),
        *_SANDBOX,
        *(_system_sandbox(data_path) if manager is Manager.SYSTEM else ()),
        *lifetime(start_timeout_s=START_TIMEOUT_S, stop_timeout_s=STOP_TIMEOUT_S),
    )
    return TransientUnit(unit_name(namespace), properties, START_TIMEOUT_S, STOP_TIMEOUT_S)


def _system_sandbox(data_path: Path) -> tuple[Property, ...]:
    return (
        Property("CapabilityBoundingSet", "t", 0),
        Property("ProtectSystem", "s", "strict"),
        Property("ReadWritePaths", "as", [str(data_path)]),
        Property("ProtectHome", "s", "read-only"),
        flag("PrivateDevices"),
        flag("PrivateNetwork"),
        flag("ProtectKernelTunables"),
        flag("ProtectKernelModules"),
        flag("ProtectKernelLogs"),
        flag("ProtectControlGroups"),
        flag("ProtectClock"),
        flag("ProtectHostname"),
    )


def _socket_path(namespace: str, manager: Manager) -> str:
    runtime = "/run" if manager is Manager.SYSTEM else os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    return f"{runtime}/{namespace}-redis/redis.sock"


def _options(socket_path: str, data_path: Path) -> tuple[str, ...]:
    options = {
        "port": "0",
        "unixsocket": socket_path,
        "unixsocketperm": "777",
        "dir": str(data_path),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # Refuse writes when memory runs out; any other policy would silently throw jobs away.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": "",
    }
    return tuple(word for name, value in options.items() for word in (f"--{name}", value))
