"""One bus connection against a peer that misbehaves, with both D-Bus libraries."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import NotFound, OperationTimeout, SystemdRefused, SystemdUnavailable
from hero_supervisor.systemd import connection as connection_module
from hero_supervisor.systemd.connection import MAX_CALLS, MAX_EXCHANGES, Call, Connection
from tests import systemd_fake_bus as fake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hero_supervisor.systemd.library import Library
    from tests.systemd_fake_bus import FakeBus

PING = Call("ping", "/", "a.b", "Ping")


@pytest.fixture(autouse=True)
async def nothing_fails_unseen() -> AsyncIterator[None]:
    """Fail a test after which asyncio says that nobody looked at an error."""
    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(str(context)))
    yield
    gc.collect()
    assert said == []


@pytest.fixture
async def connection(bus: FakeBus, library: Library) -> AsyncIterator[Connection]:
    connection = await Connection.open(library, bus.address, lambda _: None, timeout_s=5)
    yield connection
    await connection.close()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(path: Path, serve: Serve) -> AsyncIterator[str]:
    """Serve one connection with a function; yields the D-Bus address."""
    served = asyncio.Event()

    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()
        served.set()

    server = await asyncio.start_unix_server(serve_and_close, path)
    yield f"unix:path={path}"
    server.close()
    await served.wait()


async def ask(connection: Connection, call: Call = PING, timeout_s: float = 5) -> Any:
    return await connection.ask(call, timeout_s=timeout_s)


# -- connecting ----------------------------------------------------------------------------------------------------


async def test_a_missing_bus_is_reported_with_its_address(tmp_path: Path, library: Library) -> None:
    with pytest.raises(SystemdUnavailable, match=f"unix:path={tmp_path}/none"):
        await Connection.open(library, f"unix:path={tmp_path}/none", lambda _: None, timeout_s=5)


@pytest.mark.parametrize("address", ["", "nonsense", "unix:", "tcp:host=256.0.0.1,port=x", "unix:path=\0"])
async def test_a_wrong_address_is_reported(address: str, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(SystemdUnavailable):
        await Connection.open(library, address, lambda _: None, timeout_s=5)


async def test_a_bus_that_closes_during_authentication_is_reported_at_once(tmp_path: Path, library: Library) -> None:
    async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        writer.close()

    async with listening(tmp_path / "bus", close_at_once) as address:
        with pytest.raises(SystemdUnavailable):
            await Connection.open(library, address, lambda _: None, timeout_s=30)


async def test_a_bus_that_rejects_us_is_reported(tmp_path: Path, library: Library) -> None:
    async def reject(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        writer.write(b"REJECTED EXTERNAL\r\n")
        await reader.read()

    async with listening(tmp_path / "bus", reject) as address:
        with pytest.raises(SystemdUnavailable):
            await Connection.open(library, address, lambda _: None, timeout_s=30)


async def test_a_bus_that_sends_an_endless_line_is_given_up(tmp_path: Path, library: Library) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 100_000)
        await reader.read()

    async with listening(tmp_path / "bus", babble) as address:
        began = time.monotonic()
        with pytest.raises(SystemdUnavailable):
            await Connection.open(library, address, lambda _: None, timeout_s=30)
        assert time.monotonic() - began < 10  # it was not the deadline


async def test_a_bus_that_accepts_and_says_nothing_is_given_up(tmp_path: Path, library: Library) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(tmp_path / "bus", say_nothing) as address:
        with pytest.raises(SystemdUnavailable, match=r"no answer within 0\.1 s"):
            await Connection.open(library, address, lambda _: None, timeout_s=0.1)


async def test_a_bus_that_does_not_answer_hello_is_given_up(bus: FakeBus, library: Library) -> None:
    bus.never("Hello")
    with pytest.raises(SystemdUnavailable, match="no answer within"):
        await Connection.open(library, bus.address, lambda _: None, timeout_s=0.2)


async def test_a_bus_that_closes_instead_of_answering_hello_is_reported(bus: FakeBus, library: Library) -> None:
    def drop(_: object) -> list[object]:
        bus.drop()
        return []

    bus.answers["Hello"] = drop
    with pytest.raises(SystemdUnavailable):
        await Connection.open(library, bus.address, lambda _: None, timeout_s=30)


async def test_a_bus_that_accepts_nobody_does_not_stop_the_loop(tmp_path: Path, library: Library) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(str(tmp_path / "bus"))
        server.listen(0)
        first.connect(str(tmp_path / "bus"))  # fills the queue: connecting now blocks
        began = time.monotonic()
        with pytest.raises(SystemdUnavailable):
            await Connection.open(library, f"unix:path={tmp_path}/bus", lambda _: None, timeout_s=0.5)
        assert time.monotonic() - began < 5


# -- calling -------------------------------------------------------------------------------------------------------


async def test_calls_that_do_not_fit_into_the_socket_buffer_wait_for_room(bus: FakeBus, connection: Connection) -> None:
    big = Call("send much", "/", "a.b", "Big", "s", ("x" * 200_000,))
    bus.reads.clear()
    calls = [asyncio.create_task(ask(connection, big)) for _ in range(50)]
    await asyncio.wait(calls, timeout=0.2)  # time to fill the buffer: there is nobody who reads
    assert connection.loss is None
    bus.reads.set()
    await asyncio.gather(*calls)
    assert bus.members().count("Big") == 50


async def test_no_more_calls_are_under_way_than_a_bus_allows(bus: FakeBus, connection: Connection) -> None:
    bus.never("Ping")
    calls = [asyncio.create_task(connection.call([PING] * MAX_CALLS, timeout_s=5)) for _ in range(100)]
    await bus.called("Ping", MAX_EXCHANGES * MAX_CALLS)
    await ask_the_bus_in_vain(connection)
    assert connection.calls_waiting == MAX_EXCHANGES * MAX_CALLS < 128
    assert bus.members().count("Ping") == MAX_EXCHANGES * MAX_CALLS
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)


async def ask_the_bus_in_vain(connection: Connection) -> None:
    """Let a short deadline pass."""
    with pytest.raises(OperationTimeout):
        await ask(connection, timeout_s=0.05)


async def test_a_call_on_a_lost_connection_is_refused(bus: FakeBus, connection: Connection) -> None:
    bus.drop()
    loss = await connection.wait_lost()
    assert bus.address in loss.message
    with pytest.raises(SystemdUnavailable, match="lost"):
        await ask(connection)


async def test_a_call_is_the_first_to_notice_that_the_connection_was_cut(connection: Connection) -> None:
    connection._bus._sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(SystemdUnavailable, match="cannot reach systemd over"):
        await connection.ask(PING, timeout_s=5)


async def test_a_connection_is_lost_before_anybody_has_been_told(connection: Connection) -> None:
    connection._bus._finalize(OSError("gone"))  # what the library does first
    assert connection.loss is not None


async def test_a_call_right_after_closing_is_refused(connection: Connection) -> None:
    await connection.close()
    with pytest.raises(SystemdUnavailable):
        await ask(connection)


async def test_closing_does_not_wait_for_a_library_that_never_sees_the_end(
    bus: FakeBus, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "CLOSE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(connection._bus, "disconnect", lambda: None)
    bus.never("Ping")
    call = asyncio.create_task(ask(connection, timeout_s=30))
    await bus.called("Ping")
    async with asyncio.timeout(5):
        await connection.close()
        with pytest.raises(SystemdUnavailable):
            await call


async def test_losing_the_connection_fails_all_calls_at_once(bus: FakeBus, connection: Connection) -> None:
    bus.never("Ping")
    calls = [asyncio.create_task(ask(connection, timeout_s=30)) for _ in range(MAX_EXCHANGES + 20)]
    await bus.called("Ping", MAX_EXCHANGES)
    bus.drop()
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {SystemdUnavailable}
    assert connection.calls_waiting == 0


async def test_garbage_from_the_bus_is_a_lost_connection(bus: FakeBus, connection: Connection) -> None:
    bus.never("Ping")
    call = asyncio.create_task(ask(connection))
    await bus.called("Ping")
    bus.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4)
    with pytest.raises(SystemdUnavailable):
        await call


async def test_a_call_without_an_answer_ends_at_its_deadline_and_leaves_nothing_behind(
    bus: FakeBus, connection: Connection
) -> None:
    bus.never("Ping")
    outcomes = await asyncio.gather(*(ask(connection, timeout_s=0.1) for _ in range(50)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {OperationTimeout}
    assert connection.calls_waiting == 0


async def test_a_cancelled_call_leaves_nothing_behind(bus: FakeBus, connection: Connection) -> None:
    bus.never("Ping")
    call = asyncio.create_task(ask(connection))
    await bus.called("Ping")
    assert connection.calls_waiting == 1
    call.cancel()
    await asyncio.wait([call])
    assert connection.calls_waiting == 0


async def test_a_late_answer_is_ignored(bus: FakeBus, connection: Connection) -> None:
    bus.never("Ping")
    await ask_the_bus_in_vain(connection)
    late = fake.reply(bus.calls[-1])
    bus.answers["Ping"] = lambda call: [late, late, fake.reply(call)]
    assert await ask(connection) == []


async def test_calls_sent_together_are_answered_in_order_whatever_the_order_of_replies(
    bus: FakeBus, connection: Connection
) -> None:
    held: list[Any] = []

    def hold_three(call: Any) -> list[Any]:
        held.insert(0, fake.reply(call, "s", call.body[0]))
        return held if len(held) == 3 else []

    bus.answers["Echo"] = hold_three
    calls = [Call("echo", "/", "a.b", "Echo", "s", (word,), "s") for word in "abc"]
    replies = await connection.call(calls, timeout_s=5)
    assert [reply.body[0] for reply in replies] == ["a", "b", "c"]


async def test_an_error_reply_becomes_our_error(bus: FakeBus, connection: Connection) -> None:
    bus.answers["Ping"] = lambda call: [fake.error(call, "org.freedesktop.systemd1.NoSuchUnit", "Unit x not loaded.")]
    with pytest.raises(NotFound, match=r"cannot ping: Unit x not loaded$"):
        await ask(connection)


@pytest.mark.parametrize(("signature", "values"), [("", []), ("u", [1]), ("ss", ["a", "b"])])
async def test_an_answer_of_other_types_is_refused(
    signature: str, values: list[Any], bus: FakeBus, connection: Connection
) -> None:
    bus.answers["Ping"] = lambda call: [fake.reply(call, signature, *values)]
    with pytest.raises(SystemdRefused, match=f"the types '{signature}' instead of 's'"):
        await ask(connection, PING._replace(returns="s"))


async def test_an_error_without_a_text_is_still_an_error(bus: FakeBus, connection: Connection) -> None:
    def bare_error(call: object) -> list[object]:
        message = fake.error(call, "a.b.C")
        message.signature, message.body = "", []
        return [message]

    bus.answers["Ping"] = bare_error
    with pytest.raises(SystemdRefused, match=r"cannot ping: a\.b\.C"):
        await ask(connection)


async def test_a_call_may_be_sent_without_waiting_for_an_answer(bus: FakeBus, connection: Connection) -> None:
    connection.post(PING)
    await bus.called("Ping")
    assert connection.calls_waiting == 0
    bus.drop()
    await connection.wait_lost()
    connection.post(PING)
