"""Gives each event to the followers that want it, and keeps the last ones of each topic.

Followers with the same wishes are looked at together, and those that follow one job are found by it: what an event
costs grows with the number of those who get it, and not with all. Nothing here waits.
"""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hero_supervisor.errors import TooManyStreams

from .cursor import Position
from .entry import Entry
from .event import DEFAULT_TOPICS, Event, Gap, GapCause, GapEvent, Topic, topics_of
from .ring import Ring
from .stream import Stream, gap_entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .lazily import Lazily
    from .query import EventQuery

#: Most streams that are open at a time.
MAX_STREAMS: Final = 4096


class EventHub:
    """The events of one supervisor."""

    def __init__(self, *, max_streams: int = MAX_STREAMS) -> None:
        #: Another one for each run of the supervisor.
        self.epoch: Final = secrets.token_hex(4)
        self._serial = 0
        self._rings = {topic: Ring() for topic in DEFAULT_TOPICS}
        self._max_streams = max_streams
        #: By the job that they follow, ``None`` for none in particular, and then by what they want.
        self._streams: dict[str | None, dict[EventQuery, set[Stream]]] = {}
        self._count = 0
        self._sources: dict[Topic, Lazily] = {}
        self._is_closed = False

    def add_source(self, topic: Topic, source: Lazily) -> None:
        """Have a source run while somebody wants events of a topic."""
        self._sources[topic] = source

    # -- producers -----------------------------------------------------------------------------------------------

    def publish(self, kind: type[Event], data: object, **about: Any) -> None:
        """Tell of something that has happened.

        Args:
            kind: The type of the event.
            data: Its data.
            about: ``runner``, ``instance`` and ``job_id``, where it is about such a thing.
        """
        fields = {"cursor": f"{self.epoch}-{self._serial + 1}", "at": datetime.now(UTC), "data": data, **about}
        self._tell(kind(**fields))

    def note_gap(self, topic: Topic) -> None:
        """Tell that events of a topic may be missing: for a while nobody could see them."""
        self.publish(GapEvent, Gap(cause=GapCause.BLIND, topics=(topic,)))

    def begin(self, topic: Topic) -> None:
        """Take note that what happened to a topic before now was not seen."""
        self._serial += 1
        self._rings[topic].forget(self._serial)
        # Who is here already did not wait any longer for it.
        if any(topic in query.topics for queries in self._streams.values() for query in queries):
            self.note_gap(topic)

    # -- followers -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self, query: EventQuery, since: Position | None = None) -> AsyncIterator[Stream]:
        """Give a stream of what is wanted, for the time of a block.

        Args:
            query: What is wanted.
            since: Where to go on; without it, it begins now.

        Raises:
            TooManyStreams: As many as may be are open.
        """
        if self._count >= self._max_streams:
            text = f"cannot open another stream of events: {self._count} are open"
            raise TooManyStreams(text, hint="close streams that nobody reads", streams=self._count)
        self._count += 1
        try:
            async with AsyncExitStack() as stack:
                for topic in () if self._is_closed else sorted(query.topics & self._sources.keys()):
                    await stack.enter_async_context(self._sources[topic].wanted())
                stream = self._enter(query, since)
                stack.callback(self._leave, stream)
                yield stream
        finally:
            self._count -= 1

    def close(self) -> None:
        """End all streams, and those that are opened later."""
        self._is_closed = True
        for queries in self._streams.values():
            for streams in queries.values():
                for stream in streams:
                    stream.close()

    async def aclose(self) -> None:
        """End all streams and all sources."""
        self.close()
        for source in self._sources.values():
            await source.aclose()

    # -- inside --------------------------------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        self._serial += 1
        entry = Entry(event, self._serial)
        for topic in topics_of(event):
            self._rings[topic].add(entry)
        is_for_all = isinstance(event, GapEvent)
        for job_id in tuple(self._streams) if is_for_all else {None, event.job_id}:
            for query, streams in self._streams.get(job_id, {}).items():
                if query.wants(event):
                    for stream in streams:
                        stream.put(entry)

    def _enter(self, query: EventQuery, since: Position | None) -> Stream:
        missed = self._missed(query, since) if since else []
        # Who goes away again before it has taken what it missed, comes back for that.
        serial = self._known_serial(since) if since and missed else self._serial
        here = Position(self.epoch, serial, since.log if since else "")
        stream = Stream(query, here, missed, serial=lambda: self._serial)
        self._streams.setdefault(query.job_id, {}).setdefault(query, set()).add(stream)
        if self._is_closed:
            stream.close()
        return stream

    def _leave(self, stream: Stream) -> None:
        queries = self._streams[stream.query.job_id]
        queries[stream.query].discard(stream)
        if not queries[stream.query]:
            del queries[stream.query]
        if not queries:
            del self._streams[stream.query.job_id]

    def _is_known(self, since: Position) -> bool:
        return since.epoch == self.epoch and since.serial <= self._serial

    def _known_serial(self, since: Position) -> int:
        """Return the number of the last event that a follower has seen of this run."""
        return since.serial if self._is_known(since) else 0

    def _missed(self, query: EventQuery, since: Position) -> list[Entry]:
        """Return what has happened since, as far as it is known, after a gap for what is not."""
        is_known = self._is_known(since)
        serial = self._known_serial(since)
        topics = sorted(query.topics & self._rings.keys())
        lacking = [topic for topic in topics if not is_known or serial < self._rings[topic].complete_after]
        found = {
            entry.serial: entry
            for topic in topics
            for entry in self._rings[topic].after(serial)
            if query.wants(entry.event)
        }
        entries = [found[number] for number in sorted(found)]
        if not lacking:
            return entries
        cause = GapCause.FORGOTTEN if is_known else GapCause.RESTARTED
        return [gap_entry(Position(self.epoch, serial), Gap(cause=cause, topics=tuple(lacking))), *entries]
