"""The private Redis server as a transient unit, for when no Redis is configured.

It is a unit of its own, so it outlives the supervisor like the runners that use it. It listens on a unix socket
only, in a runtime directory that systemd makes and removes with the unit. Its data is in the state directory.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from .errors import RedisUnavailable
from .settings import Manager
from .unit import Property, TransientUnit, exec_start, lifetime

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0


def unit_name(namespace: str) -> str:
    """Return the name of a namespace's Redis unit."""
    return f"{namespace}-redis.service"


def url(namespace: str, manager: Manager) -> str:
    """Return the URL of a namespace's Redis."""
    return f"unix://{_socket_path(namespace, manager)}"


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


def render(program: str, namespace: str, manager: Manager, data_path: Path) -> TransientUnit:
    """Render the Redis server of a namespace into its unit.

    Args:
        program: Path of ``redis-server``.
        namespace: Names the unit, its slice and its runtime directory.
        manager: Whose runtime directory holds the socket.
        data_path: Existing directory for the append-only file.
    """
    properties = (
        Property("Description", "s", f"Redis of Hero Supervisor, namespace {namespace}"),
        Property("Slice", "s", f"{namespace}.slice"),
        Property("Type", "s", "exec"),
        Property("RuntimeDirectory", "as", [f"{namespace}-redis"]),
        Property("RuntimeDirectoryMode", "u", 0o700),
        Property("NoNewPrivileges", "b", True),  # noqa: FBT003  # a property's value, not an argument
        Property("Restart", "s", "always"),
        Property("RestartUSec", "t", 100_000),
        exec_start((program, *_options(_socket_path(namespace, manager), data_path))),
        *lifetime(start_timeout_s=START_TIMEOUT_S, stop_timeout_s=STOP_TIMEOUT_S),
    )
    return TransientUnit(unit_name(namespace), properties, START_TIMEOUT_S, STOP_TIMEOUT_S)


def _socket_path(namespace: str, manager: Manager) -> str:
    runtime = "/run" if manager is Manager.SYSTEM else os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    return f"{runtime}/{namespace}-redis/redis.sock"


def _options(socket_path: str, data_path: Path) -> tuple[str, ...]:
    options = {
        "port": "0",
        "unixsocket": socket_path,
        "unixsocketperm": "700",
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
