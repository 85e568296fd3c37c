"""A real systemd for tests: the system manager as root, this user's manager otherwise.

Every test that starts units takes ``unit_prefix`` into their names; afterwards none of them may be loaded.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.systemd import SystemdManager
from hero_supervisor.systemd import library as libraries
from hero_supervisor.systemd.bus import address_of
from hero_supervisor.unit import Property, TransientUnit, exec_start, lifetime
from tests.conftest import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from hero_supervisor.systemd.library import Library
    from hero_supervisor.unit import UnitStatus

#: Whose manager the tests use.
IS_USER = os.getuid() != 0

#: A command that runs on, and what lets systemd execute it again when it ends all the same.
SLEEP = ("/bin/sleep", "1000")
RESTART = (Property("Restart", "s", "always"), Property("RestartUSec", "t", 50_000))
AT_ONCE = (Property("Restart", "s", "always"), Property("RestartUSec", "t", 0))

#: Words that do not survive a shell, a unit file, or a terminal.
HOSTILE = [
    "$HOME",
    "${HOME}",
    "$$",
    "%n %% %i",
    "a b\tc",
    "'\"`\\",
    "line\nbreak\r",
    "ünï ☃ \U0001f600",
    "",
    "--",
    ";",
    "\x01\x1b[0m\x7f",
    "@-:!+",
    "x" * 100_000,
]


def systemctl(*arguments: str) -> str:
    """Run systemctl for the manager that the tests use, and return what it writes."""
    command = ["systemctl", *(["--user"] if IS_USER else []), "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


async def changed(manager: SystemdManager, name: str, **wanted: object) -> UnitStatus:
    """Wait until a unit's status has these values. The manager tells of unit jobs only, so this has to look."""
    async with asyncio.timeout(10):
        while True:
            status = await manager.status(name)
            if all(getattr(status, field) == value for field, value in wanted.items()):
                return status
            await asyncio.sleep(0.02)


def kill(pid: int) -> None:
    """Kill a process at once."""
    os.kill(pid, signal.SIGKILL)


def proc(pid: int, name: str) -> Path:
    """Return the path of a file about a process."""
    return Path("/proc", str(pid), name)


def arguments_of(pid: int) -> list[bytes]:
    """Return the command line of a process."""
    return proc(pid, "cmdline").read_bytes().split(b"\0")[:-1]


async def run_systemctl(verb: str) -> None:
    """Let systemd reload or re-execute itself."""
    process = await asyncio.create_subprocess_exec("systemctl", *(["--user"] if IS_USER else []), verb)
    assert await process.wait() == 0


def loaded_units(prefix: str) -> list[str]:
    """Return the names of the loaded units that begin with ``prefix``."""
    lines = systemctl("list-units", "--all", "--plain", "--no-legend", f"{prefix}*").splitlines()
    return [line.split()[0] for line in lines]


def forget_state(namespace: str) -> None:
    """Remove the state directories of a namespace's runners, which systemd keeps."""
    home = Path.home()
    places = [home / ".config", home / ".local/state"] if IS_USER else [Path("/var/lib"), Path("/var/lib/private")]
    for place in places:
        shutil.rmtree(place / namespace, ignore_errors=True)


@pytest.fixture(params=libraries.LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    """Each of the D-Bus libraries that can be used."""
    try:
        return libraries.load(request.param)
    except ImportError:
        missing(f"{request.param} is not installed")


@pytest.fixture
def bus_address() -> str:
    """Where the manager is that the tests use."""
    address = address_of(user=IS_USER)
    path = address.partition("unix:path=")[2]
    if not Path("/run/systemd/system").is_dir() or (path and not Path(path).exists()):
        missing(f"there is no systemd to be reached at {address}")
    return address


@pytest.fixture
def unit_prefix(bus_address: str) -> Iterator[str]:
    """Begin of the names of a test's units. Fails the test when one of them stays loaded."""
    _ = bus_address
    prefix = f"herotest{uuid.uuid4().hex[:8]}"  # no dash: slices would be nested in ones that stay
    yield prefix
    left = loaded_units(prefix)
    if left:
        systemctl("stop", *left)
        systemctl("reset-failed", *left)
    assert not left, f"units left behind: {left}"


@pytest.fixture
async def manager(unit_prefix: str, bus_address: str, library: Library) -> AsyncIterator[SystemdManager]:
    """An open manager, with each D-Bus library."""
    async with SystemdManager(user=IS_USER, address=bus_address, library=library) as manager:
        yield manager
        await stop_all(manager, unit_prefix)


async def stop_all(manager: SystemdManager, prefix: str) -> None:
    """Stop and unload a test's units, so that what is left then was leaked by the code under test."""
    units = [status.name for status in await manager.adopt(f"{prefix}*.service")]
    await asyncio.gather(*(manager.stop(name, timeout_s=30) for name in units))


@pytest.fixture
def make_unit(unit_prefix: str) -> Callable[..., TransientUnit]:
    """Make units: ``make_unit("/bin/sleep", "9")``, with more properties as ``Property`` objects."""

    def make(
        *command: str, name: str = "a", more: tuple[Property, ...] = (), stop_timeout_s: float = 10, kind: str = "exec"
    ) -> TransientUnit:
        properties = (
            Property("Description", "s", "test unit"),
            exec_start(command),
            Property("Type", "s", kind),
            *lifetime(start_timeout_s=20, stop_timeout_s=stop_timeout_s),
            *more,
        )
        return TransientUnit(f"{unit_prefix}-{name}.service", properties, 20, stop_timeout_s)

    return make
