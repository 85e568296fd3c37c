"""What one follower has not taken yet: a bounded queue that tells its feeder when to wait.

    roomy → crowded (half full: the feeder should pause) → behind (it paused in vain: what does not fit is counted)

A follower that is behind gets what is queued, then a record of kind ``gap`` with the number of records it missed, and
then goes on with what arrives. It is not waited for again before that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from hero_supervisor.records import LogKind

from .reader import marker

if TYPE_CHECKING:
    from hero_supervisor.log_query import LogQuery
    from hero_supervisor.records import LogRecord

#: Bounds of one queue.
MAX_QUEUED_RECORDS: Final = 10_000
MAX_QUEUED_BYTES: Final = 4 * 1024 * 1024


class Subscription:
    """Records on their way to one follower."""

    def __init__(self, query: LogQuery) -> None:
        self.query = query
        self._queue: deque[LogRecord] = deque()
        self._size = 0
        self._missed = 0
        self._last_missed: LogRecord | None = None
        self._is_behind = False
        self._is_closed = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._relieved = asyncio.Event()

    def put(self, record: LogRecord) -> None:
        """Add a record; when there is no room, only count it."""
        if self._last_missed or len(self._queue) >= MAX_QUEUED_RECORDS or self._size >= MAX_QUEUED_BYTES:
            self._missed += 1
            self._last_missed = record
            return
        self._queue.append(record)
        self._size += len(record.message)
        self._changed.set()

    @property
    def first(self) -> LogRecord | None:
        """The record that is taken next, if there is one already."""
        return self._queue[0] if self._queue else None

    @property
    def is_crowded(self) -> bool:
        """Whether it is at least half full and may still be relieved by a short wait."""
        if self._is_behind or self._is_closed:
            return False
        return len(self._queue) * 2 >= MAX_QUEUED_RECORDS or self._size * 2 >= MAX_QUEUED_BYTES

    async def wait_for_room(self) -> None:
        """Wait until it is not crowded."""
        while self.is_crowded:
            self._relieved.clear()
            await self._relieved.wait()

    def fall_behind(self) -> None:
        """Do not wait for this follower any more, until it has taken everything."""
        self._is_behind = True

    def close(self, error: Exception | None = None) -> None:
        """Nothing more will come; the follower ends, with the error if there is one, after what is queued."""
        self._is_closed, self._error = True, error
        self._changed.set()
        self._relieved.set()

    async def take(self) -> LogRecord | None:
        """Wait for the next record; None is the end.

        Raises:
            Exception: What ended the stream.
        """
        while not self._queue:
            if self._last_missed is not None:
                return self._gap(self._last_missed)
            if self._error:
                raise self._error
            if self._is_closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        record = self._queue.popleft()
        self._size -= len(record.message)
        self._is_behind = self._is_behind and bool(self._queue)
        if not self.is_crowded:
            self._relieved.set()
        return record

    def _gap(self, last: LogRecord) -> LogRecord:
        """Return a record in place of those that were missed; its cursor is that of the last one."""
        missed, self._missed, self._last_missed = self._missed, 0, None
        message = f"{missed} records were not taken in time; the log has them"
        return marker(LogKind.GAP, cursor=last.cursor, timestamp=last.timestamp, message=message, dropped=missed)
