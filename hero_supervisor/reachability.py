"""Whether the user that systemd makes for a runner can reach what it is to execute.

A dynamic user is nobody's owner and in no group, so only what all users may enter and read is open to it. A checkout in
/root, or an interpreter in a home directory, is not: better said when the runner is added than by an exit status.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .errors import Fault
from .unit.sandbox import executor_paths, has_dynamic_user, is_hidden, is_within, sandbox_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .runner import Runner
    from .unit import Capabilities, Site


#: From this version on the empty /root of ``ProtectHome=tmpfs`` is open to nobody else (measured: 257 is, 252 is not).
CLOSED_ROOT_VERSION: Final = 257


def reach_faults(runner: Runner, site: Site, capabilities: Capabilities) -> Iterable[Fault]:
    """Yield a fault if a runner's dynamic user cannot execute its program. Looks at files."""
    if not has_dynamic_user(runner, site, capabilities):
        return
    sandbox = sandbox_of(runner, site)
    needed = executor_paths() if runner.executor else runner.command[:1]
    # What the sandbox hides is either mounted back, without the directories above it, or a fault of its own.
    below_root = [path for path in needed if is_within(path, "/root") and is_hidden(path, sandbox)]
    if below_root and capabilities.version >= CLOSED_ROOT_VERSION:
        text = f"its dynamic user cannot reach {below_root[0]}: this systemd keeps the /root that it shows closed"
        yield Fault("sandbox", f"{text}; set sandbox to 'default' or 'trusted', or name a user who can")
        return
    visible = [path for path in needed if path.startswith("/") and not is_hidden(path, sandbox)]
    for path in visible:
        obstacle = closed_part(path)
        if obstacle is not None:
            yield Fault(
                "sandbox",
                f"its dynamic user cannot reach {path}, as {obstacle} is closed to other users: "
                "open it, set sandbox to 'trusted', or name a user who can",
            )
            return


def closed_part(path: str) -> str | None:
    """Return the first part of an absolute path that is not open to all users; ``None`` when all are.

    What does not exist is open: that it is missing is for others to say.
    """
    for each in dict.fromkeys([path, os.path.realpath(path)]):
        for part in [*reversed(Path(each).parents), Path(each)]:
            if not _is_open(part):
                return str(part)
    return None


def _is_open(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return False  # we ourselves may have no rights beyond those of others
    except OSError:
        return True
    return bool(mode & stat.S_IXOTH)
