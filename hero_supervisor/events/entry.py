"""An event with its JSON, which is made once and not for each follower."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from .event import Event, LogEvent

if TYPE_CHECKING:
    from hero_supervisor.records import LogRecord

_ENCODER: Final = msgspec.json.Encoder()


class Entry:
    """An event, and its JSON."""

    __slots__ = ("_head", "event", "json", "name", "serial")

    def __init__(self, event: Event, serial: int = 0) -> None:
        """Args: the event, and its number among those that are told to all; 0 for others."""
        self.event: Final = event
        self.serial: Final = serial
        #: What it is called where names are given to events.
        self.name: Final = str(event.__struct_config__.tag).encode()
        self.json: Final = _ENCODER.encode(event)
        # Up to the cursor, which is the first field.
        self._head = self.json.index(b'"cursor":"') + len(b'"cursor":"')

    def json_at(self, cursor: str) -> bytes:
        """Return the JSON with another cursor: that of a follower of several things is one for all of them."""
        if cursor == self.event.cursor:
            return self.json
        return self.json[: self._head] + cursor.encode() + self.json[self._head + len(self.event.cursor) :]

    def event_at(self, cursor: str) -> Event:
        """Return the event with another cursor."""
        return self.event if cursor == self.event.cursor else msgspec.structs.replace(self.event, cursor=cursor)


@lru_cache(maxsize=256)
def log_entry(runner: str, record: LogRecord) -> Entry:
    """Return a line of a log as an event. Many may follow one log."""
    return Entry(
        LogEvent(
            cursor="",
            at=record.timestamp,
            runner=runner,
            instance=record.instance,
            job_id=record.job_id,
            data=record,
        )
    )
