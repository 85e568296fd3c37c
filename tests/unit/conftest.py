"""What tests of the systemd manager share: a bus that they play, a manager on it, and the scenes that recur."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.systemd import SystemdManager
from hero_supervisor.unit import TransientUnit, exec_start, lifetime
from tests import systemd_fake_bus as fake
from tests.redis_fixtures import eventually
from tests.systemd_fake_bus import FakeBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hero_supervisor.systemd.library import Library

JOB = "/org/freedesktop/systemd1/job/7"
UNIT = TransientUnit("a.service", (exec_start(("/bin/true",)), *lifetime(start_timeout_s=5, stop_timeout_s=5)), 5, 5)
#: How systemd lists that unit.
ROW = ["a.service", "", "loaded", "active", "running", "", "/u", 0, "", "/"]

NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"
UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[FakeBus]:
    """A bus, with a manager that answers."""
    bus = await FakeBus(tmp_path).open()
    yield bus
    await bus.close()


@pytest.fixture
async def manager(bus: FakeBus, library: Library) -> AsyncIterator[SystemdManager]:
    """The manager under test, on that bus, with each D-Bus library."""
    manager = SystemdManager(address=bus.address, library=library, call_timeout_s=1, look_interval_s=30)
    async with manager:
        yield manager


class News:
    """What the manager tells: names of units whose main process ended, and 'doubt'."""

    def __init__(self, manager: SystemdManager) -> None:
        self._told: asyncio.Queue[str] = asyncio.Queue()
        manager.watch(self)

    def on_ended(self, unit_name: str) -> None:
        self._told.put_nowait(unit_name)

    def on_doubt(self) -> None:
        self._told.put_nowait("doubt")

    async def told(self) -> str:
        async with asyncio.timeout(5):
            return await self._told.get()


async def lost(manager: SystemdManager) -> None:
    """Wait until the loss of the connection was noticed."""
    await eventually(lambda: not manager.connected)


def starts_with(bus: FakeBus, *messages: Callable[[Any], Any]) -> None:
    """Let a start be answered with these messages, in one go."""
    bus.answers["StartTransientUnit"] = lambda call: [make(call) for make in messages]


def queued(call: Any) -> Any:
    """Reply that the unit job is queued."""
    return fake.reply(call, "o", JOB)


def ended(_: Any) -> Any:
    """Say that the unit job is done."""
    return fake.job_removed(JOB)


def ends_with(result: str) -> Callable[[Any], Any]:
    """Say that the unit job ended with this result."""
    return lambda _: fake.job_removed(JOB, result)


async def waiting_start(bus: FakeBus, manager: SystemdManager) -> asyncio.Task[Any]:
    """Start the unit, and return when its unit job is waited for."""
    starts_with(bus, queued)
    start = asyncio.create_task(manager.start(UNIT))
    await bus.called("StartTransientUnit")
    await manager.status("b.service")  # the reply to the start has been handled by now
    return start


def unit_job_is_gone(bus: FakeBus) -> None:
    """Let the manager know the unit job no more."""
    reads = bus.answers["Get"]
    bus.answers["Get"] = lambda call: [fake.error(call, UNKNOWN_OBJECT)] if call.body[1] == "State" else reads(call)


def open_connections() -> int:
    """Return how many connections to a bus this process has."""
    return sum(task.get_name() == "systemd-bus-connection" for task in asyncio.all_tasks())
