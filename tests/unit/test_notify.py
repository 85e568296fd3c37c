"""Messages to the service manager."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.notify import notify, watchdog_interval_s

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("is_abstract", [False, True])
def test_states_arrive_at_the_manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_abstract: bool) -> None:
    address = f"@hero-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1", "STATUS=on")
        assert manager.recv(100) == b"READY=1\nSTATUS=on"


def test_nothing_happens_without_a_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_a_period(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], interval_s: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert watchdog_interval_s() == interval_s
