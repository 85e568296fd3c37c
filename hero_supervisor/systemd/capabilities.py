"""What the manager here can do: the part that the bus does not tell is read from the kernel's files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from hero_supervisor.unit import Capabilities

_CGROUPS: Final = Path("/sys/fs/cgroup")
_SYSCTLS: Final = Path("/proc/sys")

#: A setting of the kernel, and the value with which a user's manager cannot make user namespaces.
_FORBIDDING: Final = (
    ("user/max_user_namespaces", "0"),
    ("kernel/unprivileged_userns_clone", "0"),  # Debian's
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),  # Ubuntu's
)


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
