"""Entries for the journal, each with the job it belongs to.

journald's native protocol is one datagram per entry: ``NAME=value`` lines. Source: systemd.io/JOURNAL_NATIVE_PROTOCOL.
Pieces of at most ``MAX_LINE_BYTES`` always fit one datagram, so the protocol's way for larger ones is not needed.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"
#: syslog's word for ordinary messages. What is on stderr need not be an error.
PRIORITY_INFO: Final = "6"
#: Seconds that one who cannot wait in an event loop waits for a journald that is behind.
BEHIND_S: Final = 1.0


def encode(fields: Mapping[str, str | bytes]) -> bytes:
    """Return an entry, or the beginning of one, in the native protocol."""
    return b"".join(_field(name.encode(), value) for name, value in fields.items())


def _field(name: bytes, value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    if b"\n" not in raw:
        return name + b"=" + raw + b"\n"
    return name + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n"


class JournalSocket:
    """A connection to journald, made when it is needed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the socket; the next entry opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def open(self) -> socket.socket:
        """Return the socket, which does not block.

        Raises:
            OSError: There is no journald.
        """
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            # Connected, because only then it is not writable while journald's queue is full.
            self._socket.connect(self._path)
        return self._socket

    def send(self, record: bytes) -> bool:
        """Send an entry, waiting a moment while journald is behind; return whether it took it."""
        # The second time with a new socket: journald may have been restarted.
        for _ in range(2):
            try:
                self._send_once(record)
            except OSError:
                self.close()
            else:
                return True
        return False

    def _send_once(self, record: bytes) -> None:
        sock = self.open()
        try:
            sock.send(record)
        except BlockingIOError:
            select.select([], [sock], [], BEHIND_S)
            sock.send(record)


class JobLog:
    """Where the output of jobs goes: the journal, or our own stdout and stderr when there is no journald."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._socket = JournalSocket(path)

    def close(self) -> None:
        """Close the socket; the next entry opens another."""
        self._socket.close()

    async def write(self, entry: bytes, line: bytes, *, stream: str) -> None:
        """Log one line; waits while journald is behind, so that a flood slows its script and not us.

        Args:
            entry: The line's fields, encoded, without the message.
            line: The message.
            stream: ``stdout`` or ``stderr``, for when there is no journald.
        """
        if not await self._send(entry + _field(b"MESSAGE", line)):
            out = sys.stdout if stream == "stdout" else sys.stderr
            # Nobody may be reading us; the job goes on all the same.
            with suppress(OSError, ValueError):
                out.buffer.write(line + b"\n")
                out.buffer.flush()

    async def _send(self, record: bytes) -> bool:
        # The second time with a new socket: journald may have been restarted.
        for _ in range(2):
            try:
                await self._send_once(record)
            except OSError:
                self.close()
            else:
                return True
        return False

    async def _send_once(self, record: bytes) -> None:
        sock = self._socket.open()
        try:
            sock.send(record)
        except BlockingIOError:
            await asyncio.get_running_loop().sock_sendall(sock, record)
