"""The journal as the supervisor's log source: reading, and following with a replay before it.

**The seam.** A follower first reads what the journal has, in pages, then subscribes, and reads once more what came
meanwhile. Every record is thus in one of the two at least; what is in both is told by its position, and left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hero_supervisor.records import LogKind

from .follower import LogFollower
from .position import Seen
from .reader import JournalReader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hero_supervisor.log_query import LogQuery
    from hero_supervisor.records import LogRecord

    from .subscription import Subscription

#: Records that a replay reads at once.
PAGE_LINES: Final = 2_000


class JournalSource:
    """The log of one supervisor's runners."""

    def __init__(
        self, *, slice_name: str, job_slice_name: str | None = None, user: bool = False, program: str = "journalctl"
    ) -> None:
        """Prepare.

        Args:
            slice_name: The slice that the runners are in.
            job_slice_name: The one that jobs are in that are units of their own.
            user: Whose units they are.
            program: The program to run, found on PATH.
        """
        self._reader = JournalReader(user=user, program=program)
        self._follower = LogFollower(self._reader, slice_name=slice_name, job_slice_name=job_slice_name)

    async def read(self, query: LogQuery) -> list[LogRecord]:
        """Return log records, oldest first; see ``JournalReader.read``."""
        return await self._reader.read(query)

    def follow(self, query: LogQuery) -> AsyncGenerator[LogRecord, None]:
        """Return log records as they come, and before them the newest ``lines``, or all after the cursor.

        It goes on until it is closed (``contextlib.aclosing``), or this source is. A ``gap`` stands for records that
        the journal lost, or that were not taken in time: up to 10,000 of them, or 4 MiB of text, wait to be taken.

        Args:
            query: Which ones; ``lines`` may be 0.

        Raises:
            InvalidInput: The query has faults; raised at once.
            JournalUnavailable: The journal cannot be read, or not any more; raised by the iteration.
        """
        return self._follow(query.checked())

    async def close(self) -> None:
        """End all that follow."""
        await self._follower.close()

    async def _follow(self, query: LogQuery) -> AsyncGenerator[LogRecord, None]:
        replay = _Replay(self._reader, query)
        while not replay.is_near_end:
            for record in await replay.next_page():
                yield record
        async with self._follower.subscribe(query) as subscription:
            while not replay.has_reached(subscription):
                for record in await replay.next_page():
                    yield record
            while (live := await subscription.take()) is not None:
                if live not in replay.seen:
                    yield live


class _Replay:
    """Reads what the journal has already, page by page."""

    def __init__(self, reader: JournalReader, query: LogQuery) -> None:
        self._reader = reader
        self._query = query
        self._is_at_end = query.after_cursor is None and not query.lines
        #: Whether the next page will probably be the last. The newest lines are one page, read at the very end.
        self.is_near_end = query.after_cursor is None
        self.seen = Seen()

    async def next_page(self) -> list[LogRecord]:
        """Return the next records; none at the end."""
        has_cursor = self._query.after_cursor is not None
        query = replace(self._query, lines=PAGE_LINES) if has_cursor else self._query
        page = await self._reader.read(query)
        self._is_at_end = not page or not has_cursor
        self.is_near_end = len(page) < PAGE_LINES and not any(record.kind is LogKind.CUT for record in page)
        if page and has_cursor:
            self._query = replace(query, after_cursor=page[-1].cursor)
        records = [record for record in page if record.kind is not LogKind.CUT]
        for record in records:
            self.seen.add(record)
        return records

    def has_reached(self, subscription: Subscription) -> bool:
        """Whether there is no more to read, or everything more comes through the subscription."""
        return self._is_at_end or (subscription.first is not None and subscription.first in self.seen)
