"""Units that write to the real journal, and what tests need to read it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.journal import JournalReader
from hero_supervisor.log_query import LogQuery
from hero_supervisor.records import LogKind
from hero_supervisor.systemd import SystemdManager
from tests.systemd_fixtures import IS_USER, stop_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hero_supervisor.records import LogRecord
    from hero_supervisor.unit import Property, TransientUnit

    MakeUnit = Callable[..., TransientUnit]

#: Sends one journal entry, given as a Python expression, in journald's own protocol; of any size.
SEND = """
import fcntl, os, socket, sys
fd = os.memfd_create("entry", os.MFD_ALLOW_SEALING)
os.write(fd, eval(sys.argv[1]))
fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
    sock.connect("/run/systemd/journal/socket")
    socket.send_fds(sock, [b""], [fd])
"""


@pytest.fixture
def reader() -> JournalReader:
    return JournalReader(user=IS_USER)


@pytest.fixture
async def units(unit_prefix: str, bus_address: str) -> AsyncIterator[SystemdManager]:
    async with SystemdManager(user=IS_USER, address=bus_address) as manager:
        yield manager
        await stop_all(manager, unit_prefix)


needs_own_rate_limit = pytest.mark.skipif(
    IS_USER, reason="sets a unit's rate limit: journald knows that of units of the system manager only"
)
needs_throw_away_machine = pytest.mark.skipif(
    IS_USER or not socket.gethostname().startswith("sandbox-"),
    reason="removes journal files: needs root in a throw-away machine",
)


async def read(reader: JournalReader, unit: str, *, timeout_s: float = 30, **conditions: Any) -> list[LogRecord]:
    return await reader.read(LogQuery(units=(unit,), **conditions), timeout_s=timeout_s)


async def ran(units: SystemdManager, unit: TransientUnit) -> str:
    """Run a unit to its end, unload it, make journald write all it has, and return the run's id."""
    invocation_id = (await units.start(unit)).invocation_id
    await units.stop(unit.name, timeout_s=10)
    await journalctl("--sync")
    return invocation_id


async def journalctl(command: str) -> None:
    process = await asyncio.create_subprocess_exec("journalctl", "--quiet", command)
    await process.wait()


def script(make_unit: MakeUnit, text: str, name: str = "a", more: tuple[Property, ...] = ()) -> TransientUnit:
    """Return a unit that runs a shell script, with a pause before it and after it.

    journald reads systemd's messages and a program's lines from two sockets, in any order, and looks up the run that a
    line belongs to when it reads the line: the program may be gone by then.
    """
    return make_unit("/bin/sh", "-c", f"sleep 0.1; {text}; sleep 0.1", kind="oneshot", name=name, more=more)


def entry(make_unit: MakeUnit, expression: str) -> TransientUnit:
    """Return a unit that sends an entry; what it is made of is a Python expression."""
    return make_unit(sys.executable, "-c", SEND, expression, kind="oneshot")


def own(records: list[LogRecord]) -> list[str]:
    """Return the messages that are not systemd's; theirs may come before or after its own first one."""
    return [record.message for record in records if record.pid != manager_pid()]


@cache
def manager_pid() -> int:
    """Return the process that tells of the start and the end of units: systemd."""
    if not IS_USER:
        return 1
    command = ["systemctl", "show", "--property=MainPID", "--value", f"user@{os.getuid()}.service"]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def messages(records: list[LogRecord]) -> list[str]:
    """Return the messages of what was written by somebody."""
    return [record.message for record in records if record.kind is LogKind.LINE]
