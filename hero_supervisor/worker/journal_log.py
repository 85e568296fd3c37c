"""Entries for the journal, each with the job it belongs to.

Pieces of at most ``MAX_LINE_BYTES`` always fit one datagram, so the protocol's way for larger ones is not needed.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Final

from hero_supervisor.journald import JOURNAL_SOCKET, JournalSocket, encode_field

#: syslog's word for ordinary messages. What is on stderr need not be an error.
PRIORITY_INFO: Final = "6"


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
        if not await self._socket.send_soon(entry + encode_field(b"MESSAGE", line)):
            out = sys.stdout if stream == "stdout" else sys.stderr
            # Nobody may be reading us; the job goes on all the same.
            with suppress(OSError, ValueError):
                out.buffer.write(line + b"\n")
                out.buffer.flush()
