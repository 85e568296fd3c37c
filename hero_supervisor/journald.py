"""Entries for journald with fields of one's own.

journald's native protocol is one datagram per entry: ``NAME=value`` lines. Source: systemd.io/JOURNAL_NATIVE_PROTOCOL.
"""

from __future__ import annotations

import asyncio
import select
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"
#: Seconds that one who cannot wait in an event loop waits for a journald that is behind.
BEHIND_S: Final = 1.0


def encode(fields: Mapping[str, str | bytes]) -> bytes:
    """Return an entry, or the beginning of one, in the native protocol."""
    return b"".join(encode_field(name.encode(), value) for name, value in fields.items())


def encode_field(name: bytes, value: str | bytes) -> bytes:
    """Return one field of an entry."""
    raw = value.encode() if isinstance(value, str) else value
    if b"\n" not in raw:
        return name + b"=" + raw + b"\n"
    return name + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n"


class JournalSocket:
    """A connection to journald, made when it is needed."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        # An event loop waits for one writer of a socket.
        self._turn = asyncio.Lock()

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

    async def send_soon(self, record: bytes) -> bool:
        """Send an entry, waiting in the event loop as long as journald is behind; return whether it took it."""
        async with self._turn:
            for _ in range(2):
                try:
                    await self._send_soon_once(record)
                except OSError:
                    self.close()
                else:
                    return True
            return False

    async def _send_soon_once(self, record: bytes) -> None:
        sock = self.open()
        try:
            sock.send(record)
        except BlockingIOError:
            await asyncio.get_running_loop().sock_sendall(sock, record)
