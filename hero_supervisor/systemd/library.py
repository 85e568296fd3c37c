"""Which D-Bus library is used, and what is mended in it. Nothing outside this package imports one.

``dbus-fast`` when it is installed, else ``dbus-next`` 0.2.3; the first is the living fork of the second, and all that
we use is the same in both: a connected socket, ``Message`` in and out, serial numbers. We use neither library's calls
(``connection.py`` has its own: theirs wait for ever, and leak) nor proxies (they cost an introspection round trip).

Mended here:

- Both: the writer takes a full socket buffer (EAGAIN) for a lost connection. It writes through ``PatientSocket``.
- dbus-fast: it writes at once, and when that fails it closes the socket and asks the loop to wait for it all the same:
  a call raises "bad file descriptor" instead of failing with the connection.
- dbus-next: the constructor connects a blocking socket, so a bus that accepts nobody would stop our event loop.
- dbus-next: when the peer closes during authentication, its reader asks for two more bytes for ever without ever
  yielding: no timeout can interrupt that.
- dbus-next: nobody closes the socket of a lost connection.

Rejected: connecting in a thread first as a trial. The second, real connection can meet the same fault.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hero_supervisor.unit import Property

#: By preference.
LIBRARIES: Final = ("dbus_fast", "dbus_next")

#: Longest line that a bus may send during authentication; real ones take some 40 bytes.
MAX_AUTH_LINE_BYTES: Final = 16 * 1024


class Received(Protocol):
    """What we look at in a message that arrived."""

    @property
    def message_type(self) -> object:
        """Call, return, error or signal."""

    @property
    def reply_serial(self) -> int:
        """Serial number of the call that this answers."""

    @property
    def sender(self) -> str | None:
        """Unique bus name of the sender; the bus itself vouches for it."""

    @property
    def path(self) -> str | None:
        """Object that a signal is about."""

    @property
    def interface(self) -> str | None:
        """Interface of a signal."""

    @property
    def member(self) -> str | None:
        """Name of a signal."""

    @property
    def error_name(self) -> str | None:
        """Name of the error, when this is one."""

    @property
    def signature(self) -> str:
        """Types of the body."""

    @property
    def body(self) -> Sequence[Any]:
        """Values, of the types that the signature says."""


class Variant(Protocol):
    """A value with its type."""

    @property
    def signature(self) -> str:
        """Type of the value."""

    @property
    def value(self) -> Any:
        """The value."""


class Library:
    """One of the two libraries, mended. Make one with ``load``."""

    def __init__(self, name: str) -> None:
        root: Any = importlib.import_module(name)
        aio: Any = importlib.import_module(f"{name}.aio")
        self.name = name
        self._root = root
        mends = (_PatientWriting, _NextMended if name == "dbus_next" else _FastMended)
        self._bus: Any = type("MendedMessageBus", (*mends, aio.MessageBus), {})
        #: Kinds of messages.
        self.signal: Final = root.MessageType.SIGNAL
        self.error: Final = root.MessageType.ERROR
        self.method_return: Final = root.MessageType.METHOD_RETURN

    def variant(self, signature: str, value: object) -> Variant:
        """Return a value with its type."""
        variant: Variant = self._root.Variant(signature, value)
        return variant

    def pairs(self, properties: Sequence[Property]) -> list[list[object]]:
        """Return properties of a unit as systemd takes them, ``a(sv)``: each a name and its value with the type."""
        return [[prop.name, self.variant(prop.signature, prop.value)] for prop in properties]

    def method_call(self, *, serial: int, body: Sequence[object], wants_reply: bool = True, **header: str) -> Any:
        """Return a method call as a message. It does not ask the bus to start its receiver."""
        flags = self._root.MessageFlag.NO_AUTOSTART
        flags |= self._root.MessageFlag.NONE if wants_reply else self._root.MessageFlag.NO_REPLY_EXPECTED
        return self._root.Message(serial=serial, body=list(body), flags=flags, **header)

    async def connect(self, address: str) -> Any:
        """Return a connected message bus of the library. The caller sets the deadline.

        Raises:
            Exception: Whatever the library or the socket raises; nothing is left open then.
        """
        return await self._bus(bus_address=address).connect()


@functools.cache
def load(name: str | None = None) -> Library:
    """Return the library of this name, or the best one that is installed.

    Raises:
        ImportError: It is not installed.
    """
    if name is not None:
        return Library(name)
    with contextlib.suppress(ImportError):
        return load(LIBRARIES[0])
    return load(LIBRARIES[1])


class PatientSocket:
    """Stands in for the writer's socket: a full buffer means that nothing was sent, not that the connection is lost.

    The writer then waits until the socket can be written, which is what it does after any partial send.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: memoryview) -> int:
        """Send what fits and return how many bytes that was."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0


#: Stands for the library's message bus class, which each mixin below comes before; neither has usable types.
_MessageBus: Any = object


class _PatientWriting(_MessageBus):  # type: ignore[misc]
    """Lets a message bus survive a full socket buffer."""

    async def connect(self) -> Any:
        await super().connect()
        self._writer.sock = PatientSocket(self._sock)
        return self


class _FastMended(_MessageBus):  # type: ignore[misc]
    """Mends how dbus-fast meets the end of a connection."""

    def send(self, message: Any) -> Any:
        try:
            return super().send(message)
        except OSError:
            return self._writer.fut  # it has the error of the write


class _NextMended(_MessageBus):  # type: ignore[misc]
    """Mends how dbus-next connects and closes."""

    def _setup_socket(self) -> None:
        # The base class connects here, blocking.
        self._target = _unix_target(self._bus_address)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(0)
        self._stream = self._sock.makefile("rwb")
        self._fd = self._sock.fileno()

    async def connect(self) -> Any:
        try:
            await self._loop.sock_connect(self._sock, self._target)
            return await super().connect()
        except BaseException:
            self._finalize()
            raise

    async def _auth_readline(self) -> str:
        line = b""
        while not line.endswith(b"\r\n"):
            # One byte at a time: what follows the last line belongs to the message reader.
            received = await self._loop.sock_recv(self._sock, 1)
            if not received or len(line) > MAX_AUTH_LINE_BYTES:
                raise ConnectionError("the bus ended the authentication")
            line += received
        return line[:-2].decode()

    def disconnect(self) -> None:
        if not self._disconnected:
            super().disconnect()

    def _finalize(self, err: Exception | None = None) -> None:
        if self._disconnected:
            return
        super()._finalize(err)
        if self._disconnect_future.done() and not self._disconnect_future.cancelled():
            # Marks it as seen: nobody waits for it when connecting failed.
            self._disconnect_future.exception()
        with contextlib.suppress(OSError):  # what was left to be flushed has no receiver any more
            self._stream.close()
        self._sock.close()


def _unix_target(addresses: Sequence[tuple[str, dict[str, str]]]) -> str:
    """Return where to connect to: the first unix socket of an address list."""
    for transport, options in addresses:
        if transport == "unix" and "path" in options:
            return options["path"]
        if transport == "unix" and "abstract" in options:
            return f"\0{options['abstract']}"
    raise ValueError("the bus address names no unix socket")
