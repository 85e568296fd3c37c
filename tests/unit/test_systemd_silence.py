"""A bus that hangs and keeps its connections open is a lost one; a manager that is merely busy is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.systemd import bus as bus_module
from hero_supervisor.systemd import connection as connection_module
from hero_supervisor.systemd.connection import MAX_CALLS, MAX_EXCHANGES, Call, Connection
from tests import systemd_fake_bus as fake
from tests.redis_fixtures import eventually
from tests.unit.conftest import News, open_connections, waiting_start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hero_supervisor.systemd.library import Library
    from tests.systemd_fake_bus import FakeBus

# A wait without an end is ended here.
pytestmark = pytest.mark.timeout(10)

SLOW = Call("ask what takes long", "/", "a.b", "Slow")
#: How the loss is told.
HUNG = "cannot reach systemd over '.*': the bus does not answer"


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SILENCE_S", 0.05)
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(bus_module, "CONNECT_TIMEOUT_S", 0.2)


@pytest.fixture
async def manager(bus: FakeBus, library: Library) -> AsyncIterator[SystemdManager]:
    """The manager under test; its calls have all the time of the world."""
    async with SystemdManager(address=bus.address, library=library, call_timeout_s=300) as manager:
        yield manager


@pytest.fixture
async def connection(bus: FakeBus, library: Library) -> AsyncIterator[Connection]:
    connection = await Connection.open(library, bus.address, lambda _: None, timeout_s=5)
    yield connection
    await connection.close()


class Busy:
    """Lets the calls of a member wait until ``answer``."""

    def __init__(self, bus: FakeBus, member: str) -> None:
        self._bus = bus
        self._calls: list[Any] = []
        bus.answers[member] = self._hold

    def _hold(self, call: Any) -> list[Any]:
        self._calls.append(call)
        return []

    def answer(self) -> None:
        self._bus.send(*map(fake.reply, self._calls))


# -- a bus that hangs ----------------------------------------------------------------------------------------------


async def test_a_bus_that_hangs_fails_calls_and_unit_jobs_and_is_found_again_when_it_goes_on(
    bus: FakeBus, manager: SystemdManager
) -> None:
    news, start = News(manager), await waiting_start(bus, manager)
    bus.reads.clear()
    for outcome in await asyncio.gather(start, manager.status("a.service"), return_exceptions=True):
        with pytest.raises(errors.SystemdUnavailable, match=HUNG):
            raise outcome  # type: ignore[misc]  # it is checked here that it is an exception
    assert not manager.connected
    with pytest.raises(errors.SystemdUnavailable, match=HUNG):
        await manager.status("a.service")
    await eventually(lambda: bus.accepted == 4)  # two tries have failed, and one is under way
    with pytest.raises(errors.SystemdUnavailable, match=HUNG):  # still the first cause
        await manager.status("a.service")
    bus.reads.set()
    assert await news.told() == "doubt"
    assert (await manager.status("a.service")).main_pid == 42


async def test_a_bus_that_hangs_while_it_is_set_up_is_given_up(bus: FakeBus, library: Library) -> None:
    def hang(_: object) -> list[object]:
        bus.reads.clear()
        return []

    bus.answers["AddMatch"] = hang
    with pytest.raises(errors.SystemdUnavailable, match=HUNG):
        await SystemdManager(address=bus.address, library=library, call_timeout_s=300).open()
    assert open_connections() == 0


async def test_a_bus_that_hangs_while_all_slots_are_taken_fails_all_calls(bus: FakeBus, connection: Connection) -> None:
    bus.never("Slow")
    calls = [connection.call([SLOW] * MAX_CALLS, timeout_s=300) for _ in range(MAX_EXCHANGES + 20)]
    waiting = asyncio.gather(*calls, return_exceptions=True)
    await bus.called("Slow", MAX_EXCHANGES * MAX_CALLS)
    await bus.called("Ping")  # the manager is busy
    bus.reads.clear()
    outcomes = {(type(outcome), str(outcome)) for outcome in await waiting}
    assert {kind for kind, _ in outcomes} == {errors.SystemdUnavailable}
    assert all(text.endswith("the bus does not answer") for _, text in outcomes)
    assert (await connection.wait_lost()).message.endswith("the bus does not answer")
    assert connection.calls_waiting == 0


async def test_closing_ends_the_doubt(bus: FakeBus, connection: Connection) -> None:
    bus.never("Slow")
    bus.never("Ping")
    call = asyncio.create_task(connection.ask(SLOW, timeout_s=300))
    await bus.called("Ping")
    await connection.close()  # no task may be left: the fixture of all tests looks
    with pytest.raises(errors.SystemdUnavailable, match="closed"):
        await call


# -- a bus that does not -------------------------------------------------------------------------------------------


async def test_a_manager_that_is_busy_is_waited_for(bus: FakeBus, connection: Connection) -> None:
    busy = Busy(bus, "Slow")
    calls = [connection.call([SLOW] * MAX_CALLS, timeout_s=300) for _ in range(MAX_EXCHANGES)]
    waiting = asyncio.gather(*calls)
    ping = await bus.called("Ping", 3)  # it is asked again and again, though all slots are taken
    assert (ping.destination, ping.interface) == (fake.BUS, "org.freedesktop.DBus.Peer")
    assert connection.loss is None
    assert connection.calls_waiting <= MAX_EXCHANGES * MAX_CALLS + 1 < 128
    busy.answer()
    assert sum(map(len, await waiting)) == MAX_EXCHANGES * MAX_CALLS
    assert connection.loss is None


async def test_a_bus_that_answers_with_an_error_is_there(bus: FakeBus, connection: Connection) -> None:
    bus.answers["Ping"] = lambda call: [fake.error(call, "org.freedesktop.DBus.Error.UnknownMethod")]
    busy = Busy(bus, "Slow")
    call = asyncio.create_task(connection.ask(SLOW, timeout_s=300))
    await bus.called("Ping", 2)
    busy.answer()
    assert await call == []


async def test_a_bus_is_not_asked_while_calls_are_answered_or_none_waits(
    bus: FakeBus, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "SILENCE_S", 0.3)  # longer than a busy machine lets us wait for an answer
    busy = Busy(bus, "Slow")
    call = asyncio.create_task(connection.ask(SLOW, timeout_s=300))
    await bus.called("Ping")
    busy.answer()
    await call
    await asyncio.wait([asyncio.create_task(connection.wait_lost())], timeout=0.9)  # three silences
    asked = bus.members().count("Ping")
    del bus.answers["Slow"]
    end_s = asyncio.get_running_loop().time() + 0.9
    while asyncio.get_running_loop().time() < end_s:
        await connection.ask(SLOW, timeout_s=300)
    assert bus.members().count("Ping") == asked == 1
