"""Stand-ins for systemd and the journal, for tests of this package and of programs that use it."""

from __future__ import annotations

import asyncio
import fnmatch
import os
import time
import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from .access_records import AuditEntry, AuditNote, AuditQuery
from .errors import CommandNotExecutable, Fault, InvalidInput, UnitExists
from .unit import Capabilities, Property, TransientUnit, UnitEnd, UnitStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from .log_query import LogQuery
    from .ports import ExitKind, UnitWatcher
    from .records import ExitReason, ExitRecord, LogRecord


class InMemoryOneShots:
    """Keeps units that run once in memory, and runs nothing."""

    def __init__(self, watchers: Sequence[UnitWatcher] = ()) -> None:
        #: Every unit that was launched, in order.
        self.launched: list[TransientUnit] = []
        #: The signals that were sent: unit and number.
        self.signals: list[tuple[str, int]] = []
        #: How each loaded unit stands.
        self.units: dict[str, UnitEnd] = {}
        self._watchers = watchers

    def end_with(self, unit_name: str, end: UnitEnd) -> None:
        """Let a unit end."""
        self.units[unit_name] = end
        self._tell(unit_name)

    async def launch(self, unit: TransientUnit) -> None:
        """Call a unit running."""
        if unit.name in self.units:
            raise UnitExists(f"cannot start unit {unit.name}: it runs already", unit=unit.name)
        self.launched.append(unit)
        self.units[unit.name] = UnitEnd("running")

    async def sub_states(self, pattern: str) -> dict[str, str]:
        """Return the sub-states of the units whose names match a glob pattern."""
        return {name: end.sub_state for name, end in self.units.items() if fnmatch.fnmatchcase(name, pattern)}

    async def end(self, unit_name: str) -> UnitEnd:
        """Return how a unit stands."""
        return self.units.get(unit_name, UnitEnd("dead"))

    async def signal(self, unit_name: str, number: int) -> None:
        """Note the signal."""
        self.signals.append((unit_name, number))

    async def stop(self, unit_name: str, *, timeout_s: float) -> None:
        """Forget a unit."""
        _ = timeout_s
        if self.units.pop(unit_name, None) is not None:
            self._tell(unit_name)

    async def release(self, unit_name: str, *, has_failed: bool, timeout_s: float) -> None:
        """Forget a unit."""
        _ = has_failed
        await self.stop(unit_name, timeout_s=timeout_s)

    def _tell(self, unit_name: str) -> None:
        for watcher in self._watchers:
            watcher.on_ended(unit_name)


class InMemoryProcessManager:
    """Keeps units in memory and runs nothing. It knows only whether a command exists."""

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        #: Those of a user's manager when not given: it makes no users, so who runs the test does not matter.
        self.capabilities = capabilities or Capabilities(is_user=True)
        #: Every unit that was started, in order.
        self.started: list[TransientUnit] = []
        #: Every unit that was to be mended, in order.
        self.mended: list[TransientUnit] = []
        #: What else was done to units: a verb, the unit, and what goes with it.
        self.done: list[tuple[str, str, object]] = []
        self._units: dict[str, UnitStatus] = {}
        self._watchers: list[UnitWatcher] = []
        self._on_change: Callable[[str], None] = lambda _: None
        #: Units that run once.
        self.one_shots = InMemoryOneShots(self._watchers)
        self.reconnects = 0

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing; units run on."""

    def watch(self, watcher: UnitWatcher) -> None:
        """Tell ``watcher`` of the ends that ``end`` brings about."""
        self._watchers.append(watcher)

    def tell_changes_to(self, on_change: Callable[[str], None] | None) -> None:
        """Tell one listener of starts, stops and ends."""
        self._on_change = on_change or (lambda _: None)

    def end(self, unit_name: str, *, active_state: str = "failed", exit_status: int = 1) -> None:
        """Let the process of a unit end, for good as far as systemd is concerned."""
        ended = replace(
            self._units[unit_name],
            active_state=active_state,
            sub_state="dead" if active_state == "inactive" else active_state,
            main_pid=0,
            result="exit-code" if exit_status else "success",
            exec_main_code=1,
            exec_main_status=exit_status,
        )
        self._units[unit_name] = ended
        self.tell(unit_name)

    def next_run(self, unit_name: str) -> None:
        """Let the process of a unit have ended and another one run already; ``tell`` tells of that."""
        self._units[unit_name] = replace(self._units[unit_name], invocation_id=uuid.uuid4().hex)

    def tell(self, unit_name: str) -> None:
        """Say that the process of a unit has ended."""
        for watcher in self._watchers:
            watcher.on_ended(unit_name)
        self._on_change(unit_name)

    async def start(self, unit: TransientUnit) -> UnitStatus:
        """Call a unit running."""
        if unit.name in self._units and self._units[unit.name].is_running:
            raise UnitExists(f"cannot start unit {unit.name}: it runs already", unit=unit.name)
        program = _program_of(unit)
        if program.startswith("/") and not os.access(program, os.X_OK):
            raise CommandNotExecutable(f"cannot start unit {unit.name}: {program} does not exist", command=program)
        self.started.append(unit)
        self._units[unit.name] = UnitStatus(
            name=unit.name,
            active_state="active",
            sub_state="running",
            main_pid=100_000 + len(self.started),
            invocation_id=uuid.uuid4().hex,
            state_change_usec=time.time_ns() // 1000,
        )
        self._on_change(unit.name)
        return self._units[unit.name]

    async def stop(self, unit_name: str, *, timeout_s: float) -> UnitStatus:
        """Call a unit stopped."""
        _ = timeout_s
        status = self._units.pop(unit_name, UnitStatus(unit_name))
        self._on_change(unit_name)
        return replace(status, active_state="inactive", sub_state="dead", main_pid=0)

    async def reload(self, unit_name: str, *, timeout_s: float) -> None:
        """Note the call in ``done``."""
        _ = timeout_s
        self.done.append(("reload", unit_name, None))

    async def kill(self, unit_name: str, *, signal: int, main_only: bool = False) -> None:
        """Note the call in ``done``."""
        self.done.append(("signal" if main_only else "kill", unit_name, signal))

    async def freeze(self, unit_name: str, *, thaw: bool = False) -> None:
        """Note the call in ``done``."""
        self.done.append(("thaw" if thaw else "freeze", unit_name, None))

    async def set_properties(self, unit_name: str, properties: Sequence[Property]) -> None:
        """Note the call in ``done``."""
        self.done.append(("set", unit_name, {prop.name: prop.value for prop in properties}))

    async def status(self, unit_name: str) -> UnitStatus:
        """Return the status of a unit; an inactive one when it was not started."""
        return self._units.get(unit_name, UnitStatus(unit_name))

    async def statuses(self, unit_names: Sequence[str], *, pattern: str) -> list[UnitStatus]:
        """Return the status of each unit."""
        _ = pattern
        return [await self.status(name) for name in unit_names]

    async def states(self, pattern: str) -> dict[str, str]:
        """Return the active states of the units whose names match a glob pattern."""
        return {unit.name: unit.active_state for unit in await self.adopt(pattern)}

    async def is_shutting_down(self) -> bool:
        """Return ``False``."""
        return False

    async def adopt(self, pattern: str) -> list[UnitStatus]:
        """Return the units whose names match a glob pattern."""
        return [status for name, status in self._units.items() if fnmatch.fnmatchcase(name, pattern)]

    async def mend(self, unit: TransientUnit) -> None:
        """Note the unit in ``mended``."""
        self.mended.append(unit)


class InMemoryLogSource:
    """Returns the records that were put into ``records``, and those that are added while somebody follows."""

    def __init__(self) -> None:
        #: Records by unit name, oldest first.
        self.records: dict[str, list[LogRecord]] = {}
        self._followers: set[tuple[LogQuery, asyncio.Queue[LogRecord | None]]] = set()

    def add(self, unit_name: str, record: LogRecord) -> None:
        """Put a record at the end of a unit's log, and give it to those who follow."""
        self.records.setdefault(unit_name, []).append(record)
        for query, queue in self._followers:
            if _has_unit(query, unit_name) and query.wants(record):
                queue.put_nowait(record)

    async def read(self, query: LogQuery) -> list[LogRecord]:
        """Return records of units, oldest first; of a cursor that none has, what follows nothing."""
        logs = [log for name, log in self.records.items() if _has_unit(query, name)]
        found = [record for log in logs for record in log if query.wants(record)]
        found.sort(key=lambda record: record.timestamp)
        if query.after_cursor is None:
            return found[-query.lines :] if query.lines else []
        cursors = [record.cursor for record in found]
        known = query.after_cursor in cursors
        return found[cursors.index(query.after_cursor) + 1 :][: query.lines] if known else []

    async def follow(self, query: LogQuery) -> AsyncGenerator[LogRecord, None]:
        """Yield what ``read`` returns, and then what is added, until ``close``."""
        queue: asyncio.Queue[LogRecord | None] = asyncio.Queue()
        follower = (query, queue)
        self._followers.add(follower)
        try:
            for record in await self.read(query):
                yield record
            while (added := await queue.get()) is not None:
                yield added
        finally:
            self._followers.discard(follower)

    async def close(self) -> None:
        """End all that follow."""
        for _, queue in self._followers:
            queue.put_nowait(None)


def _has_unit(query: LogQuery, unit_name: str) -> bool:
    return any(fnmatch.fnmatchcase(unit_name, pattern) for pattern in query.units)


class InMemoryExitSource:
    """Returns the records that were put into ``records``."""

    def __init__(self) -> None:
        #: All records, oldest first.
        self.records: list[ExitRecord] = []
        #: Why runs were about to be stopped, by invocation id.
        self.expected: dict[str, ExitReason] = {}
        self.counts: Counter[ExitKind] = Counter()
        self._on_exit: Callable[[ExitRecord], None] = lambda _: None

    def watch(self, on_exit: Callable[[ExitRecord], None]) -> None:
        """Tell ``on_exit`` of what ``add`` is given."""
        self._on_exit = on_exit

    def add(self, record: ExitRecord) -> None:
        """Put a record into ``records`` and tell of it."""
        self.records.append(record)
        self._on_exit(record)

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def expect(self, unit_name: str, invocation_id: str, reason: ExitReason) -> None:
        """Put a reason into ``expected``."""
        _ = unit_name
        self.expected[invocation_id] = reason

    def cause(self, invocation_id: str) -> ExitReason | None:
        """Return what was put into ``expected``."""
        return self.expected.get(invocation_id)

    async def exits(self, runner: str, *, instance: int | None, limit: int) -> list[ExitRecord]:
        """Return records of a runner, newest first."""
        found = [each for each in self.records if each.runner == runner and instance in {None, each.instance}]
        return found[::-1][:limit]


class InMemoryAuditLog:
    """Keeps entries in ``entries``."""

    def __init__(self) -> None:
        #: All entries, oldest first.
        self.entries: list[AuditEntry] = []

    async def write(self, note: AuditNote) -> None:
        """Keep an entry; its cursor is its number."""
        now = datetime.now(UTC)
        self.entries.append(AuditEntry(**msgspec.structs.asdict(note), cursor=str(len(self.entries)), at=now))

    async def read(self, query: AuditQuery) -> list[AuditEntry]:
        """Return entries, oldest first."""
        cursors = [entry.cursor for entry in self.entries]
        if query.after_cursor is not None and query.after_cursor not in cursors:
            raise InvalidInput([Fault("after_cursor", "must be the cursor of an entry")])
        begin = 0 if query.after_cursor is None else cursors.index(query.after_cursor) + 1
        found = [entry for entry in self.entries[begin:] if _is_wanted(entry, query)]
        return found[-query.limit :] if query.after_cursor is None else found[: query.limit]

    async def close(self) -> None:
        """Do nothing."""


def _is_wanted(entry: AuditEntry, query: AuditQuery) -> bool:
    return (
        (query.since is None or entry.at >= query.since)
        and query.method in {None, entry.method}
        and query.who in {None, entry.who}
    )


def _program_of(unit: TransientUnit) -> str:
    commands: Any = next(found.value for found in unit.properties if found.name == "ExecStartEx")
    return str(commands[0][0])
