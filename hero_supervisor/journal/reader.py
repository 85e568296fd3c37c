"""Reads the log of units from journald, through one short-lived ``journalctl`` process per read.

    LogQuery → journalctl --output=export → bytes in small chunks → ExportParser → entry → LogRecord

**Bounds.** The newest entries are read backwards, entries after a cursor forwards, and in both directions reading
ends when there are enough lines or enough bytes: what is cut off is what the caller can ask for next. A search that has
looked at much and found little ends with a record of kind ``cut``, which says where. A message keeps its first 64 KiB.

**Which entries**: those that ``journalctl -u`` shows, so also what systemd, journald and the kernel's OOM killer say of
the unit. Units need not be loaded any more.

**Lost cursors.** journald deletes its oldest files when there is too much, and entries copied from /run to /var become
other entries. ``journalctl`` then silently begins at the next entry that there is. We see that the first entry is not
that of the cursor; because that one may also be of another unit or priority, we look again without conditions. If it is
nowhere, the answer begins with a record of kind ``gap``, and is read anew, so that it follows that record.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import JournalUnavailable
from hero_supervisor.records import LogKind, LogRecord

from . import process
from .entry import record_of, unit_of
from .query import arguments_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hero_supervisor.log_query import LogQuery

#: Bytes of all messages of one answer.
MAX_TOTAL_BYTES: Final = 4 * 1024 * 1024
#: Bytes of entries, and seconds, after which a search ends with what it has.
MAX_SEARCH_BYTES: Final = 64 * 1024 * 1024
MAX_SEARCH_S: Final = 5.0
#: Reads under way at once; each is a process.
MAX_READERS: Final = 8
#: Longest time for one read, in seconds. Reading slows down with the number and size of journal files.
READ_TIMEOUT_S: Final = 30.0

#: Entries among which that of a cursor is looked for: those of several files may have the same time.
_NEAR: Final = 8


class JournalReader:
    """Reads the log of units of the system manager, or of this user's manager."""

    def __init__(self, *, user: bool = False, program: str = "journalctl") -> None:
        """Args: whose units; and the program to run, found on PATH."""
        self.user = user
        self.program = program
        self._slots = asyncio.Semaphore(MAX_READERS)

    async def read(self, query: LogQuery, *, timeout_s: float = READ_TIMEOUT_S) -> list[LogRecord]:
        """Return log records, oldest first: the newest ones, or the ones after a cursor.

        Args:
            query: Which ones. There may be fewer when they have more than 4 MiB of text in all, or when the search
                was ``cut``; only an empty answer says that nothing follows. A ``gap`` or ``cut`` is not counted.
            timeout_s: Longest time to wait, in seconds.

        Raises:
            InvalidInput: The query has faults, such as a cursor that is none.
            JournalUnavailable: ``journalctl`` is missing, fails, takes too long, or may not read the journal.

        Source: journalctl(1).
        """
        query = query.checked()
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                return await self._read(query)
        except TimeoutError:
            text = f"cannot read the log of {', '.join(query.units)}: no answer within {timeout_s:g} s"
            raise JournalUnavailable(text, units=query.units) from None

    async def _read(self, query: LogQuery) -> list[LogRecord]:
        answer = await self._answer(query)
        if query.after_cursor is None:
            return answer.records[::-1]
        if answer.has_cursor or not (gap := await self.find_gap(query.after_cursor)):
            return answer.records
        return [gap, *(await self._answer(query)).records]

    async def _answer(self, query: LogQuery) -> _Answer:
        answer = _Answer(query, user=self.user)
        await process.scan([self.program, *process.OPTIONS, *arguments_for(query, user=self.user)], answer.take)
        return answer

    async def find_gap(self, cursor: str) -> LogRecord | None:
        """Return a record that stands for what was lost after a cursor, or None when its entry is in the journal.

        Its own cursor is that of the first entry there is after the gap; of the newest entry when the cursor lies in
        the future; the same cursor when the journal is empty.
        """
        near = await self._some(f"--cursor={cursor}", f"--lines={_NEAR}")
        if any(record.cursor == cursor for record in near):
            return None
        following = near or await self._some("--reverse", "--lines=1")
        resumed = following[0] if following else None
        return marker(
            LogKind.GAP,
            cursor=resumed.cursor if resumed else cursor,
            timestamp=resumed.timestamp if resumed else datetime.now(UTC),
            message="lines may be missing here: the journal no longer has the entry to go on after",
        )

    async def newest_cursor(self) -> str | None:
        """Return the position of the journal's newest entry; None when there is none."""
        newest = await self._some("--reverse", "--lines=1")
        return newest[0].cursor if newest else None

    async def _some(self, *arguments: str) -> list[LogRecord]:
        found: list[LogRecord] = []

        def take(entry: Mapping[str, bytes]) -> bool:
            found.append(record_of(entry))
            return False

        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                await process.scan([self.program, *process.OPTIONS, *arguments], take)
        except TimeoutError:
            text = f"cannot look up a position in the journal: no answer within {READ_TIMEOUT_S:g} s"
            raise JournalUnavailable(text) from None
        return found


class _Answer:
    """Takes entries one by one, keeps those that are wanted, and knows when there are enough."""

    def __init__(self, query: LogQuery, *, user: bool) -> None:
        self._query = query
        self._user = user
        self._text_size = 0
        self._searched_bytes = 0
        self._deadline = time.monotonic() + MAX_SEARCH_S
        self.records: list[LogRecord] = []
        #: Whether the entry of the query's cursor was among them.
        self.has_cursor = False

    def take(self, entry: Mapping[str, bytes]) -> bool:
        """Take the next entry; return whether the answer is complete."""
        record = record_of(entry, unit_of(entry, user=self._user))
        if record.cursor == self._query.after_cursor:
            self.has_cursor = True
            return False
        if self._query.wants(record):
            return self._keep(record)
        return self._give_up(entry, record)

    def _keep(self, record: LogRecord) -> bool:
        self._text_size += len(record.message)
        if self.records and self._text_size > MAX_TOTAL_BYTES:
            return True
        self.records.append(record)
        return len(self.records) >= self._query.lines

    def _give_up(self, entry: Mapping[str, bytes], record: LogRecord) -> bool:
        """Count what was looked at in vain; at a bound, end the search and say so."""
        self._searched_bytes += sum(map(len, entry.values()))
        if self._searched_bytes < MAX_SEARCH_BYTES and time.monotonic() < self._deadline:
            return False
        rest, way = ("newer", "after_cursor") if self._query.after_cursor else ("older", "until")
        message = f"{rest} lines were not searched: this search has seen enough; go on from here with {way}"
        self.records.append(marker(LogKind.CUT, cursor=record.cursor, timestamp=record.timestamp, message=message))
        return True


def marker(kind: LogKind, *, cursor: str, timestamp: datetime, message: str, dropped: int = 0) -> LogRecord:
    """Return a record that is no journal entry."""
    return LogRecord(
        kind=kind,
        cursor=cursor,
        timestamp=timestamp,
        priority=4,
        message=message,
        pid=None,
        invocation_id=None,
        job_id=None,
        dropped=dropped,
    )
