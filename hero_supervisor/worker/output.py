"""What a job's process prints: the beginning or the end is kept, every line goes to the journal.

Lines are sent to journald's native socket, where they can carry fields of their own, so that the lines of one job can
be found by ``HERO_JOB_ID``. The sender waits when journald is slow; the process then waits at its full pipe.
Memory is bounded whatever is printed: a line that does not end is cut into pieces.

Source: systemd.io/JOURNAL_NATIVE_PROTOCOL.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")
#: Longest line that is one journal entry, in bytes; far below what a datagram can hold.
MAX_LINE_BYTES: Final = 32 * 1024
CHUNK_BYTES: Final = 64 * 1024


class JournalLog:
    """Sends lines to the journal, or to standard output where there is none."""

    def __init__(self, path: Path = JOURNAL_SOCKET) -> None:
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(str(path))
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def send(self, line: bytes, fields: Mapping[str, str]) -> None:
        """Send one line; a line that journald does not take is lost, as the process must go on."""
        if self._socket is None:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
            return
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._socket, entry(line, fields))


def entry(line: bytes, fields: Mapping[str, str]) -> bytes:
    """Return a journal entry; neither the line nor the fields may contain a newline."""
    named = [f"{name}={value}".encode() for name, value in fields.items()]
    return b"\n".join([*named, b"PRIORITY=6", b"MESSAGE=" + line, b""])


class Stream:
    """One output of a process: a pipe, the lines sent on from it, and the part that is kept."""

    def __init__(self, log: JournalLog, fields: Mapping[str, str], *, keep: int, keeps_end: bool = False) -> None:
        """Args: where lines go and their fields; how many bytes are kept, of the beginning or of the end."""
        self._log = log
        self._fields = fields
        self._keep = keep
        self._keeps_end = keeps_end
        self._line = bytearray()
        self.kept = bytearray()
        #: Bytes that were not kept.
        self.dropped = 0

    async def read(self, fd: int) -> None:
        """Read a pipe to its end and close it."""
        reader = asyncio.StreamReader(limit=CHUNK_BYTES)
        loop = asyncio.get_running_loop()
        pipe = open(fd, "rb", buffering=0)  # noqa: ASYNC230, SIM115  # a pipe; the transport closes it
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                self._keep_part(chunk)
                await self._send_lines(chunk)
            if self._line:
                await self._log.send(bytes(self._line), self._fields)
        finally:
            transport.close()

    def text(self) -> str:
        """Return what was kept, with a mark where something is missing."""
        text = self.kept.decode(errors="replace")
        if not self.dropped:
            return text
        mark = f"[… {self.dropped} bytes are not kept …]"
        return f"{mark}\n{text}" if self._keeps_end else f"{text}\n{mark}\n"

    def _keep_part(self, chunk: bytes) -> None:
        self.kept += chunk
        too_many = len(self.kept) - self._keep
        if too_many > 0:
            self.dropped += too_many
            del self.kept[slice(None, too_many) if self._keeps_end else slice(self._keep, None)]

    async def _send_lines(self, chunk: bytes) -> None:
        self._line += chunk
        *lines, rest = bytes(self._line).split(b"\n")
        while len(rest) > MAX_LINE_BYTES:
            lines.append(rest[:MAX_LINE_BYTES])
            rest = rest[MAX_LINE_BYTES:]
        self._line[:] = rest
        for line in lines:
            for start in range(0, len(line) or 1, MAX_LINE_BYTES):
                await self._log.send(line[start : start + MAX_LINE_BYTES], self._fields)
