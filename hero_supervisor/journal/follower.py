"""One ``journalctl --follow`` for all units of a supervisor, whose entries are given to any number of followers.

It starts with the first subscription and ends with the last::

    newest cursor → journalctl --follow --cursor=… → entry → its unit's subscriptions → queues → followers

**Which entries.** ``journalctl --follow --unit='glob*'`` exits while no such unit has logged, and resolves the glob
only once. So the matches are: what runs in the slice of the runners; what journald says about such a process; and
everything that systemd itself says, of which we drop what is about other units. It has no field with an index that
would tell them apart. That is one pass over the journal for all.

**Where to begin.** ``--lines=0`` shows nothing, ever, while no entry has matched before (systemd 252). So the position
of the newest entry is looked up first, and reading begins there; it is also where to go on when ``journalctl`` dies at
once. Every entry that is written after a subscription has been handed out comes through it.

**When it dies** it is started again at the last entry that was seen. Is that gone from the journal, all followers get a
record of kind ``gap``. When it dies several times at once, all followers end with its complaint.

**Speed.** journald keeps what we have not read, so we pause while a follower's queue is more than half full; but not
longer than ``PATIENCE_S`` for one that does not move, which then loses lines alone (see ``subscription.py``).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import JournalUnavailable

from . import process
from .entry import record_of, unit_of
from .export import ExportParser
from .subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from hero_supervisor.log_query import LogQuery

    from .reader import JournalReader

#: How long the others wait for a follower with a full queue.
PATIENCE_S: Final = 0.25
#: A ``journalctl`` that lives shorter has failed; so many failures in a row are the end.
SHORT_LIFE_S: Final = 1.0
MAX_FAILURES: Final = 5
#: Pause before ``journalctl`` is started again, times the number of failures but the first.
RESTART_DELAY_S: Final = 0.1
#: Units whose followers are remembered; systemd also speaks of units that come and go.
_MAX_ROUTES: Final = 1_000


class LogFollower:
    """Feeds subscriptions while there are any."""

    def __init__(self, reader: JournalReader, *, slice_name: str, job_slice_name: str | None = None) -> None:
        """Args: how to read the journal; and the slice whose units may be followed."""
        self._reader = reader
        self._slice_names = [slice_name] if job_slice_name is None else [slice_name, job_slice_name]
        self._subscriptions: set[Subscription] = set()
        self._routes: dict[str, tuple[Subscription, ...]] = {}
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        # Where to go on, and whether that entry itself has been seen.
        self._cursor: str | None = None
        self._has_seen_cursor = True

    @asynccontextmanager
    async def subscribe(self, query: LogQuery) -> AsyncIterator[Subscription]:
        """Hand out a subscription that gets every record from now on that the query wants.

        Raises:
            JournalUnavailable: The journal cannot be read.
        """
        subscription = Subscription(query)
        self._subscriptions.add(subscription)
        self._routes.clear()
        try:
            self._start()
            await self._ready.wait()
            yield subscription
        finally:
            subscription.close()
            self._subscriptions.discard(subscription)
            self._routes.clear()
            if not self._subscriptions:
                await self._stop()

    async def close(self) -> None:
        """End all followers, after what they have not taken yet."""
        for subscription in self._subscriptions:
            subscription.close()
        await self._stop()

    def _start(self) -> None:
        if self._task is None:
            self._ready = asyncio.Event()
            self._task = asyncio.create_task(self._run(self._ready), name="journal-follower")

    async def _stop(self) -> None:
        # Forgotten before it has ended: who subscribes meanwhile starts another one.
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, ready: asyncio.Event) -> None:
        try:
            self._cursor, self._has_seen_cursor = await self._reader.newest_cursor(), True
            ready.set()
            await self._keep_following()
        except Exception as exc:
            # Raised by those who follow; this task has nobody else to tell. When it was stopped, not even those.
            if self._task is asyncio.current_task():
                self._task = None
                for subscription in self._subscriptions:
                    subscription.close(exc)
        finally:
            ready.set()

    async def _keep_following(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                if failures:
                    await self._look_for_gap()
                await self._follow()
            except JournalUnavailable:
                failures = failures + 1 if loop.time() - began < SHORT_LIFE_S else 1
                if failures >= MAX_FAILURES:
                    raise
            await asyncio.sleep(RESTART_DELAY_S * (failures - 1))

    async def _look_for_gap(self) -> None:
        """Tell all followers when the entry to go on after is gone, and go on with the next one that there is."""
        if self._cursor and (gap := await self._reader.find_gap(self._cursor)):
            self._cursor, self._has_seen_cursor = gap.cursor, False
            for subscription in self._subscriptions:
                subscription.put(gap)

    async def _follow(self) -> None:
        """Deliver entries until ``journalctl`` ends.

        Raises:
            JournalUnavailable: It cannot be run, or has ended, which it does not do by itself.
        """
        parser = ExportParser()
        async with process.running(self._command()) as journalctl:
            while chunk := await journalctl.output.read(process.CHUNK_BYTES):
                for entry in parser.feed(chunk):
                    self._deliver(entry)
                await self._pause_for_followers()
            await journalctl.check_exit()
        raise JournalUnavailable("cannot follow the journal: journalctl has ended")

    def _command(self) -> list[str]:
        begin = f"--cursor={self._cursor}" if self._cursor else "--no-tail"
        return [self._reader.program, *process.OPTIONS, "--follow", begin, *self._matches()]

    def _matches(self) -> list[str]:
        """Return what any entry of a unit of ours has: of its processes, and of the manager, journald or root."""
        field = "_SYSTEMD_USER_SLICE" if self._reader.user else "_SYSTEMD_SLICE"
        manager = "_SYSTEMD_USER_UNIT=init.scope" if self._reader.user else "_PID=1"
        own = [f"{field}={name}" for name in self._slice_names]
        terms = [*([each] for each in own), [manager], *([f"OBJECT{each}", "_UID=0"] for each in own)]
        return [word for term in terms for word in ("+", *term)][1:]

    def _deliver(self, entry: Mapping[str, bytes]) -> None:
        cursor = entry.get("__CURSOR", b"").decode(errors="replace")
        if cursor == self._cursor and self._has_seen_cursor:
            return
        unit_name = unit_of(entry, user=self._reader.user)
        if subscriptions := self._route(unit_name):
            record = record_of(entry, unit_name)
            for subscription in subscriptions:
                if subscription.query.wants(record):
                    subscription.put(record)
        self._cursor, self._has_seen_cursor = cursor, True

    def _route(self, unit_name: str) -> tuple[Subscription, ...]:
        found = self._routes.get(unit_name)
        if found is None:
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            found = self._routes[unit_name] = tuple(
                subscription
                for subscription in self._subscriptions
                if any(fnmatchcase(unit_name, pattern) for pattern in subscription.query.units)
            )
        return found

    async def _pause_for_followers(self) -> None:
        """Let the followers run, and wait a little while one of them has a full queue."""
        await asyncio.sleep(0)
        crowded = [subscription for subscription in self._subscriptions if subscription.is_crowded]
        try:
            async with asyncio.timeout(PATIENCE_S):
                for subscription in crowded:
                    await subscription.wait_for_room()
        except TimeoutError:
            for subscription in crowded:
                if subscription.is_crowded:
                    subscription.fall_behind()
