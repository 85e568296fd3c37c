"""What one follower has not taken yet.

::

    what it missed while it was away (``replay``) → a gap, if it is slow → what comes now (``live``), and log lines

**A slow follower** never holds up anybody: when ``MAX_WAITING`` events wait for it, they are thrown away, counted, and
told as one gap; it goes on with what is new. Thrown away are those that wait and not those that come, so that what is
held for followers that do not move is always of the recent past, which they share.

**Log lines** wait in a queue of their own, so that they cannot push out events. Who brings them waits for room; behind
it is the journal, which loses nothing by that (``journal/subscription.py``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from .entry import Entry
from .event import Gap, GapCause, GapEvent, Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .cursor import Position
    from .query import EventQuery

#: Bounds of what waits for one follower.
MAX_WAITING: Final = 1_000
MAX_WAITING_BYTES: Final = 1024 * 1024
MAX_WAITING_LINES: Final = 500
#: What is taken at once.
BATCH_BYTES: Final = 64 * 1024


class Delivery(NamedTuple):
    """An event on its way to a follower, and where the follower is when it has taken it."""

    entry: Entry
    cursor: str


class Stream:
    """Events on their way to one follower."""

    def __init__(
        self,
        query: EventQuery,
        position: Position,
        replay: Iterable[Entry] = (),
        *,
        serial: Callable[[], int] = lambda: 0,
    ) -> None:
        """Prepare.

        Args:
            query: What is wanted.
            position: Where the follower is.
            replay: What is told to it first.
            serial: Returns the number of the last event of all.
        """
        self.query: Final = query
        #: Is called when the stream is closed.
        self.on_close: Callable[[], None] | None = None
        self._serial = serial
        self._position = position
        self._replay = deque(replay)
        self._live: deque[Entry] = deque()
        self._live_bytes = 0
        self._lines: deque[Entry] = deque()
        self._lost: tuple[int, Entry] | None = None
        self._error: Exception | None = None
        self._is_closed = False
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()

    @property
    def cursor(self) -> str:
        """Where the follower is."""
        return str(self._position)

    def put(self, entry: Entry) -> None:
        """Add an event that is wanted; when too many wait, throw those away and count them."""
        if len(self._live) >= MAX_WAITING or self._live_bytes >= MAX_WAITING_BYTES:
            lost = self._lost[0] if self._lost else 0
            self._lost = (lost + len(self._live), self._live[-1])
            self._live.clear()
            self._live_bytes = 0
        self._live.append(entry)
        self._live_bytes += len(entry.json)
        self._changed.set()

    async def put_line(self, entry: Entry) -> None:
        """Add a line of a log, when there is room."""
        while len(self._lines) >= MAX_WAITING_LINES and not self._is_closed:
            self._has_room.clear()
            await self._has_room.wait()
        self._lines.append(entry)
        self._changed.set()

    def close(self, error: Exception | None = None) -> None:
        """End it at once; the follower gets the error, if there is one."""
        self._is_closed, self._error = True, error
        self._changed.set()
        self._has_room.set()
        if self.on_close is not None:
            self.on_close()

    def start_log_at(self, log_cursor: str) -> None:
        """Take note of where in the journal the follower is."""
        self._position = self._position._replace(log=log_cursor)

    async def take(self, *, timeout_s: float | None = None) -> list[Delivery] | None:
        """Wait for events and return some; an empty list when the time is up, ``None`` at the end.

        When the time is up, the follower is where all are: nothing that has happened was wanted.

        Raises:
            Exception: What ended the stream.
        """
        while not self._has_any() or self._is_closed:
            if self._error is not None:
                raise self._error
            if self._is_closed:
                return None
            self._changed.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()
            except TimeoutError:
                if not self._has_any() and not self._is_closed:
                    self._position = self._position._replace(serial=self._serial())
                    return []
        return self._batch()

    # -- inside --------------------------------------------------------------------------------------------------

    def _has_any(self) -> bool:
        return bool(self._replay or self._live or self._lost or self._lines)

    def _batch(self) -> list[Delivery]:
        found: list[Delivery] = []
        size = 0
        while size < BATCH_BYTES and (entry := self._next()) is not None:
            found.append(self._delivered(entry))
            size += len(entry.json)
        self._has_room.set()
        return found

    def _next(self) -> Entry | None:
        if self._replay:
            return self._replay.popleft()
        if self._lost:
            return self._gap(*self._lost)
        if self._live:
            entry = self._live.popleft()
            self._live_bytes -= len(entry.json)
            return entry
        return self._lines.popleft() if self._lines else None

    def _delivered(self, entry: Entry) -> Delivery:
        if entry.event.topic is Topic.LOG:
            self._position = self._position._replace(log=entry.event.data.cursor)  # type: ignore[attr-defined]  # of a log
        else:
            self._position = self._position._replace(serial=entry.serial)
        return Delivery(entry, str(self._position))

    def _gap(self, lost: int, last: Entry) -> Entry:
        self._lost = None
        topics = tuple(sorted(self.query.topics - {Topic.LOG}))
        return gap_entry(
            self._position._replace(serial=last.serial), Gap(cause=GapCause.SLOW, topics=topics, lost=lost)
        )


def gap_entry(position: Position, gap: Gap) -> Entry:
    """Return a gap as an event."""
    return Entry(
        GapEvent(cursor=f"{position.epoch}-{position.serial}", at=datetime.now(UTC), data=gap), position.serial
    )
