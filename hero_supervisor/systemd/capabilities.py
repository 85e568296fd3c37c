"""What the manager here can do. It tells its version; what it does not tell is read from the kernel's files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import SystemdUnavailable
from hero_supervisor.unit import Capabilities
from hero_supervisor.unit.capabilities import MIN_VERSION

from .bus import MANAGER_INTERFACE, MANAGER_PATH
from .unit_status import get_property, value_in

if TYPE_CHECKING:
    from .bus import SystemdBus

_CGROUPS: Final = Path("/sys/fs/cgroup")
_SYSCTLS: Final = Path("/proc/sys")

#: A setting of the kernel, and the value with which a user's manager cannot make user namespaces.
_FORBIDDING: Final = (
    ("user/max_user_namespaces", "0"),
    ("kernel/unprivileged_userns_clone", "0"),  # Debian's
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),  # Ubuntu's
)


async def read_version(bus: SystemdBus) -> int:
    """Return the manager's version, as in 252.

    Raises:
        SystemdUnavailable: It is older than 252, or the connection is lost.
        HeroError: As ``SystemdBus.call``.
    """
    call = get_property(MANAGER_PATH, MANAGER_INTERFACE, "Version", purpose="read systemd's version")
    text = str(value_in(await bus.call(call), "Version", "s"))
    found = re.match(r"\D{0,20}(\d{1,9})", text)
    version = int(found[1]) if found else 0
    if version < MIN_VERSION:
        reason = f"its version '{text}' is older than {MIN_VERSION}"
        raise SystemdUnavailable(f"cannot use this systemd: {reason}", version=version)
    return version


def read_capabilities(
    version: int, *, is_user: bool, cgroups: Path = _CGROUPS, sysctls: Path = _SYSCTLS
) -> Capabilities:
    """Return what a manager can do.

    Args:
        version: Its version.
        is_user: This user's manager instead of the system's.
        cgroups: Where the cgroup file system is mounted.
        sysctls: Where the kernel's settings are.
    """
    uid = os.getuid()
    group = cgroups / f"user.slice/user-{uid}.slice/user@{uid}.service" if is_user else cgroups
    controllers = _read(group / "cgroup.controllers")
    forbidden = any(_read(sysctls / name) == value for name, value in _FORBIDDING)
    return Capabilities(
        version=version,
        is_user=is_user,
        # Where the file is missing, nothing is known, and a limit may well be enforced by other means (cgroup v1).
        **({} if controllers is None else {"controllers": frozenset(controllers.split())}),
        has_user_namespaces=not forbidden,
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
