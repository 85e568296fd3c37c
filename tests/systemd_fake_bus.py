"""A bus and a systemd manager in one, played by the test: what they answer, in which order, or that they do not.

It speaks the real protocol over a real socket, with dbus-next's marshalling, so the code under test is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

# The library has no types.
dbus_next: Any = importlib.import_module("dbus_next")
Marshaller: Any = importlib.import_module("dbus_next._private.marshaller").Marshaller
Unmarshaller: Any = importlib.import_module("dbus_next._private.unmarshaller").Unmarshaller
Message, Variant = dbus_next.Message, dbus_next.Variant

BUS = "org.freedesktop.DBus"
SYSTEMD = "org.freedesktop.systemd1"
MANAGER_PATH = "/org/freedesktop/systemd1"
MANAGER = f"{SYSTEMD}.Manager"
#: Unique name of the manager that the bus has.
MANAGER_NAME = ":1.1"

#: Given a call, returns the messages to send in one go.
Answer = Callable[[Any], list[Any]]


def reply(call: Any, signature: str = "", *body: object) -> Any:
    """Return the answer to a call."""
    return Message.new_method_return(call, signature, list(body))


def error(call: Any, name: str, text: str = "some text") -> Any:
    """Return an error as the answer to a call."""
    return Message.new_error(call, name, text)


def signal(member: str, signature: str, *body: object, sender: str = MANAGER_NAME, interface: str = MANAGER) -> Any:
    """Return a signal of the manager."""
    message = Message.new_signal(MANAGER_PATH, interface, member, signature, list(body))
    message.sender = sender
    return message


def job_removed(path: str, result: str = "done", **header: str) -> Any:
    """Return the signal that a unit job ended."""
    return signal("JobRemoved", "uoss", 7, path, "a.service", result, **header)


def owner_changed(new_owner: str) -> Any:
    """Return the signal that the manager left the bus ('') or came back."""
    names = [SYSTEMD, "" if new_owner else MANAGER_NAME, new_owner]
    return signal("NameOwnerChanged", "sss", *names, sender=BUS, interface=BUS)


class FakeBus:
    """Listens at ``address`` from ``open`` to ``close``; serves any number of connections."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "bus"
        self.address = f"unix:path={self._path}"
        #: What was called, of all connections, in order.
        self.calls: list[Any] = []
        #: How many connections there have been.
        self.accepted = 0
        #: The properties that the manager has, with their D-Bus types.
        self.properties: dict[str, tuple[str, object]] = {
            "Version": ("s", "252.39-1"),
            "StateChangeTimestamp": ("t", 5),
            "LoadState": ("s", "loaded"),
            "ActiveState": ("s", "active"),
            "SubState": ("s", "running"),
            "MainPID": ("u", 42),
            "InvocationID": ("ay", bytes(16)),
            "NRestarts": ("u", 0),
            "ControlGroup": ("s", "/system.slice/a.service"),
            "Result": ("s", "success"),
            "ExecMainCode": ("i", 0),
            "ExecMainStatus": ("i", 0),
            "Job": ("(uo)", [0, "/"]),
            "InactiveExitTimestampMonotonic": ("t", 0),
            "State": ("s", "running"),
        }
        #: How a call is answered, by member; a call without an entry gets an empty reply.
        self.answers: dict[str, Answer] = {
            "Hello": lambda call: [reply(call, "s", ":1.7")],
            "GetNameOwner": lambda call: [reply(call, "s", MANAGER_NAME)],
            "Get": lambda call: [reply(call, "v", Variant(*self.properties[call.body[1]]))],
            "GetUnit": lambda call: [reply(call, "o", "/unit")],
        }
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._called = asyncio.Condition()
        #: Cleared, the bus hangs: it reads on no connection, and answers nobody.
        self.reads = asyncio.Event()
        self.reads.set()

    async def open(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, self._path, limit=1 << 20)
        return self

    async def close(self) -> None:
        """Close all connections and stop listening."""
        if self._server is not None:
            self._server.close()
        self.drop()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        self._path.unlink(missing_ok=True)

    def drop(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    def send(self, *messages: Any) -> None:
        """Send messages to all connections, in one go."""
        for writer in self._writers:
            writer.write(b"".join(_frame(message) for message in messages))

    def send_bytes(self, data: bytes) -> None:
        """Send what is no message."""
        for writer in self._writers:
            writer.write(data)

    def never(self, member: str) -> None:
        """Leave all calls of a member unanswered."""
        self.answers[member] = lambda _: []

    def members(self) -> list[str]:
        """Return the names of the calls, in order."""
        return [call.member for call in self.calls]

    async def called(self, member: str, times: int = 1) -> Any:
        """Wait for the ``times``-th call of a member and return it."""
        async with asyncio.timeout(5), self._called:
            await self._called.wait_for(lambda: self.members().count(member) >= times)
        return [call for call in self.calls if call.member == member][times - 1]

    # -- one connection ------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.accepted += 1
        self._writers.append(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._serving.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        writer.write(b"OK 0123456789abcdef0123456789abcdef\r\n")
        await reader.readuntil(b"BEGIN\r\n")
        while True:
            call = await _read_message(reader)
            await self.reads.wait()
            self.calls.append(call)
            for message in self.answers.get(call.member, lambda call: [reply(call)])(call):
                writer.write(_frame(message))
            async with self._called:
                self._called.notify_all()


async def _read_message(reader: asyncio.StreamReader) -> Any:
    head = await reader.readexactly(16)
    body_size, _, fields_size = struct.unpack_from("<III", head, 4)
    rest = await reader.readexactly((fields_size + 7) // 8 * 8 + body_size)
    return Unmarshaller(io.BytesIO(head + rest)).unmarshall()


def _frame(message: Any) -> bytes:
    """Marshal a message with its sender, which a bus adds and clients do not."""
    fields = [
        (1, "o", message.path),
        (2, "s", message.interface),
        (3, "s", message.member),
        (4, "s", message.error_name),
        (5, "u", message.reply_serial),
        (7, "s", message.sender or MANAGER_NAME),
        (8, "g", message.signature),
    ]
    body = Marshaller(message.signature, message.body)
    body.marshall()
    present = [[code, Variant(kind, value)] for code, kind, value in fields if value]
    # The bus is free in its serial numbers.
    head = Marshaller("yyyyuua(yv)", [ord("l"), message.message_type.value, 0, 1, len(body.buffer), 1, present])
    head.marshall()
    head.align(8)
    return bytes(head.buffer + body.buffer)
