"""What the service tells the systemd that started it. Source: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import os
import socket


def notify(*states: str) -> None:
    """Send states such as ``READY=1`` to the service manager; nothing happens when none listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        # A leading @ stands for the NUL of an abstract socket address.
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall("\n".join(states).encode())


def watchdog_interval_s() -> float | None:
    """Return how often ``WATCHDOG=1`` is to be sent, in seconds; ``None`` when no watchdog runs."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    is_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    # Half the period, as sd_watchdog_enabled(3) advises.
    return int(usec) / 2_000_000 if usec.isdecimal() and is_for_us else None
