"""``ExitWatcher``: makes a record of every run of every runner that ends, also of those that ended while it was away.

::

    read on from the stored position to the end of the journal ──► follow it ──► journalctl has ended: begin again

The stored position is behind every entry that a record was made of and before every other, so whatever dies in between,
nothing is left out; what is read twice becomes the same record twice, and the store keeps one. A position that the
journal has lost leads to the next entry in time; without any, reading begins with the last boot.

**More than the journal says.** The program's last lines are read when its run is over. systemd itself is asked at once
when an end is seen: as long as it has the unit it knows how a clean end came about, which it does not log, and
whether it is about to start the unit again. A user's manager does not even log that there was a clean end; there
the news that a main process has ended makes us ask. Of a clean end while nobody listened there is no trace.

**When the journal cannot be read** everything else goes on: it is tried again and again, and the second failure is
said in the log.

After a long absence each unit's last runs are looked at, as many as the store keeps; a runner that crashed a hundred
thousand times meanwhile costs no more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import HeroError, JournalUnavailable
from hero_supervisor.ports import ExitKind
from hero_supervisor.records import ExitReason, ExitRecord
from hero_supervisor.together import together

from .folder import ExitFolder, fold, identify
from .journal import ExitJournal
from .store import MAX_PER_RUNNER, ExitStore
from .verdict import add_status, has_ended, record_of, remember

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hero_supervisor.ports import ProcessManager
    from hero_supervisor.unit import UnitStatus

    from .folder import Run
    from .journal import Entry, Output

logger = logging.getLogger(__name__)

#: Seconds before the journal is tried again: the first time, and at most.
MIN_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 60.0
#: Longest time in seconds that a question waits until what is in the journal has been read.
CATCH_UP_TIMEOUT_S: Final = 10.0


class ExitWatcher:
    """Watches the ends of a namespace's runners. Implements ``ports.ExitSource``."""

    def __init__(
        self,
        *,
        namespace: str,
        path: Path,
        processes: ProcessManager,
        user: bool = False,
        program: str = "journalctl",
    ) -> None:
        """Prepare; nothing is read before ``open``.

        Args:
            namespace: First part of the names of the runners' units.
            path: File for the records; its directory exists when this is opened.
            processes: Knows what systemd knows of a unit.
            user: Units of this user's manager instead of the system's.
            program: What reads the journal, found on PATH.
        """
        self._namespace = namespace
        self._processes = processes
        self._is_user = user
        self._store = ExitStore(path)
        self._journal = ExitJournal(user=user, program=program)
        self._folder = ExitFolder(namespace)
        # By run: what systemd knew of it when its end was seen, if it still knew it.
        self._statuses: dict[str, UnitStatus | None] = {}
        # Units that may have ended, and whether there are any.
        self._news: set[str] = set()
        self._has_news = asyncio.Event()
        # Everything up to here is recorded.
        self._position: str | None = None
        self._has_caught_up = asyncio.Event()
        self._failures = 0
        #: How many ends were recorded, by kind.
        self.counts: Counter[ExitKind] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._on_exit: Callable[[ExitRecord], None] = lambda _: None

    def watch(self, on_exit: Callable[[ExitRecord], None]) -> None:
        """Tell ``on_exit`` from now on of each record that is made; it must not raise."""
        self._on_exit = on_exit

    async def open(self) -> None:
        """Read the records and begin to watch, beside the caller."""
        await asyncio.to_thread(self._store.open)
        if self._is_user:
            self._processes.watch(self)
        self._task = asyncio.create_task(self._run(), name="exits")

    async def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
            await self._store.add([], position=self._position)

    async def expect(self, unit_name: str, invocation_id: str, reason: ExitReason) -> None:
        """Take down why a run is about to be stopped, so that its record says so even if we do not live to see it.

        Args:
            unit_name: The run's unit.
            invocation_id: systemd's id of the run; nothing happens for '', a unit that never ran.
            reason: ``operator``, ``replaced``, ``max-age`` or ``unhealthy``. It counts only if the run is then stopped.
        """
        # A stop without a cause is an operator's anyway; nothing has to be written for it.
        is_said = reason is (self._store.expected(invocation_id) or ExitReason.OPERATOR)
        if invocation_id and not is_said:
            logger.debug("expecting the end of %s: %s", unit_name, reason)
            await self._store.expect(invocation_id, reason)

    def cause(self, invocation_id: str) -> ExitReason | None:
        """Return why a run was about to be stopped; None when it was not, or when an operator did it."""
        return self._store.expected(invocation_id)

    async def exits(self, runner: str, *, instance: int | None = None, limit: int = 20) -> list[ExitRecord]:
        """Return the ended runs of a runner, newest first. An end is among them about a second after it.

        Args:
            runner: Id of the runner.
            instance: Only this instance of it, from 1.
            limit: Most records to return.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
                await self._has_caught_up.wait()
        return self._store.exits(runner, instance=instance, limit=limit)

    # -- news of a user's manager ------------------------------------------------------------------------------------

    def on_ended(self, unit_name: str) -> None:
        """Look at a unit soon."""
        if identify(unit_name, self._namespace):
            self._news.add(unit_name)
            self._has_news.set()

    def on_doubt(self) -> None:
        """Look at all units that run soon."""
        for unit_name in self._folder.running_units:
            self.on_ended(unit_name)

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause_s = MIN_PAUSE_S
        while True:
            began = _now()
            try:
                await self._catch_up()
                self._has_caught_up.set()
                await self._follow()
            except Exception as exc:  # whatever it is, nothing else is to suffer from it
                if _now() - began > MAX_PAUSE_S:  # it was well before
                    self._failures, pause_s = 0, MIN_PAUSE_S
                self._report(exc)
            self._has_caught_up.set()
            # There is no event for a journal that can be read again.
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _report(self, error: Exception) -> None:
        # Not the first time: when systemd stops our service, its SIGTERM also meets journalctl.
        self._failures += 1
        level = logging.WARNING if self._failures == 2 else logging.DEBUG
        logger.log(
            level,
            "cannot take note of exits for now, trying again: %s",
            error,
            exc_info=not isinstance(error, HeroError),
        )

    async def _catch_up(self) -> None:
        """Read to the end of the journal, anew from what is stored, and record what has ended."""
        try:
            runs = await self._read_on(self._store.position)
        except JournalUnavailable:
            if self._store.position is None:
                raise
            # Perhaps it does not take the position for one.
            runs = await self._read_on(None)
        await self._record(runs)

    async def _read_on(self, position: str | None) -> list[Run]:
        self._folder = ExitFolder(self._namespace, position=position)
        ended: dict[str, deque[Run]] = {}
        async with self._journal.entries(position) as output:
            while (entries := await output.read()) is not None:
                self._feed(entries)
                _sort_in(self._folder.take(), ended)
        await asyncio.gather(*(self._ask(runs[-1]) for runs in ended.values()))
        return [run for runs in ended.values() for run in runs]

    async def _follow(self) -> None:
        """Record what ends from now on.

        Raises:
            JournalUnavailable: ``journalctl`` has ended.
        """
        async with self._journal.entries(self._folder.position, follow=True) as output:
            while (entries := await self._next(output)) is not None:
                self._feed(entries)
                await self._hear()
                await asyncio.gather(*map(self._ask, self._folder.waiting))
                if runs := self._folder.take(_now()):
                    await self._record(runs)
                self._position = self._folder.position
        raise JournalUnavailable("cannot read the journal: journalctl has ended")

    async def _next(self, output: Output) -> list[Entry] | None:
        """Wait for entries, at most until a run is due or there is news; None at the end."""
        due_at = self._folder.due_at
        tasks = (asyncio.create_task(output.read(), name="exits-read"), asyncio.create_task(self._has_news.wait()))
        try:
            timeout_s = None if due_at is None else max(0, due_at - _now())
            await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return tasks[0].result() if tasks[0].done() else []
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _hear(self) -> None:
        """Take down the clean ends among the news."""
        units, self._news = self._news, set()
        self._has_news.clear()
        for unit_name in units:
            with contextlib.suppress(HeroError):  # with the connection comes a look at all
                status = await self._processes.status(unit_name)
                if status.invocation_id and status.result == "success" and has_ended(status):
                    self._statuses.setdefault(status.invocation_id, status)
                    self._folder.note_end(unit_name, status.invocation_id, status.state_change_usec, _now())

    def _feed(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._folder.feed(entry, _now())

    # -- recording -------------------------------------------------------------------------------------------------

    async def _ask(self, run: Run) -> None:
        """Ask systemd, once, what it knows of a run that has ended, before it forgets."""
        if run.invocation_id in self._statuses:
            return
        self._statuses[run.invocation_id] = None
        with contextlib.suppress(HeroError):  # then there is what the journal says
            status = await self._processes.status(run.unit)
            if status.invocation_id == run.invocation_id:
                self._statuses[run.invocation_id] = status

    async def _record(self, runs: Iterable[Run]) -> None:
        records = [record for record in await together([self._record_of(run) for run in runs]) if record is not None]
        new = [record for record in records if self._store.get(record.invocation_id) is None]
        await self._store.add(records, position=self._folder.position)
        for record in new:
            self.counts[ExitKind(record.runner, record.reason, record.will_restart)] += 1
            extra = {"runner": record.runner, "invocation_id": record.invocation_id}
            logger.info("runner %s ended: %s", record.runner, record.explanation, extra=extra)
            self._on_exit(record)

    async def _record_of(self, run: Run) -> ExitRecord | None:
        if run.is_partial and (entries := await self._journal.entries_of(run.invocation_id)):
            run = fold(run, entries)
        if run.ended_usec is None:
            return None
        if status := self._statuses.pop(run.invocation_id, None):
            add_status(run, status)
        if known := self._store.get(run.invocation_id):
            remember(run, known)
        tail = known.log_tail if known else ()
        with contextlib.suppress(JournalUnavailable):  # a record without it is better than none
            tail = await self._journal.tail(run) or tail
        cause = self._store.expected(run.invocation_id)
        return record_of(run, self._namespace, cause=cause, log_tail=tail)


def _sort_in(runs: Iterable[Run], ended: dict[str, deque[Run]]) -> None:
    for run in runs:
        of_unit = ended.setdefault(run.unit, deque(maxlen=MAX_PER_RUNNER))
        if not of_unit or of_unit[-1].invocation_id != run.invocation_id:
            of_unit.append(run)


def _now() -> float:
    return asyncio.get_running_loop().time()
