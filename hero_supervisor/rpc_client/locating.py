"""Where a service of this machine can be reached, when nobody says."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from .address import DEFAULT_URL

#: The system's service; a user's is in the directory of this name in ``$XDG_RUNTIME_DIR``.
LOCAL_SOCKET: Final = Path("/run/hero-supervisor/api.sock")


def default_url() -> str:
    """Return where a service of this machine can be reached, best with all rights: its unix socket, or else TCP.

    Root looks for the system's service first, others for their own.
    """
    own = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent") / LOCAL_SOCKET.relative_to("/run")
    candidates = [LOCAL_SOCKET, own] if os.geteuid() == 0 else [own, LOCAL_SOCKET]
    return next((f"unix:{path}" for path in candidates if _can_connect(path)), DEFAULT_URL)


def _can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
