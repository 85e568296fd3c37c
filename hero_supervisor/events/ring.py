"""The last events of one topic, for those who come back."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .entry import Entry

#: Bounds of one ring.
MAX_EVENTS: Final = 5_000
MAX_BYTES: Final = 2 * 1024 * 1024


class Ring:
    """A bounded number of events, in the order of their serials, which are not all of one topic."""

    def __init__(self, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        #: All events with a higher serial are here.
        self.complete_after = 0

    def add(self, entry: Entry) -> None:
        """Add an event; the oldest ones make room. The last one is kept whatever its size."""
        self._entries.append(entry)
        self._bytes += len(entry.json)
        while len(self._entries) > 1 and (len(self._entries) > self._max_events or self._bytes > self._max_bytes):
            oldest = self._entries.popleft()
            self._bytes -= len(oldest.json)
            self.complete_after = oldest.serial

    def forget(self, serial: int) -> None:
        """Forget all: up to a serial nobody knows all that happened."""
        self._entries.clear()
        self._bytes = 0
        self.complete_after = serial

    def after(self, serial: int) -> list[Entry]:
        """Return the events with a higher serial, the oldest first."""
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.serial <= serial:
                break
            found.append(entry)
        return found[::-1]
