"""The audit log: entries of the journal with fields ``HERO_AUDIT…``, written by the service, and read by it again.

They go to journald itself, not by way of standard error, so they have their fields whatever the level of the service's
own log. Where there is no journald they become lines of that log.

Any program may write entries with such fields. So of those only entries count that come from the service's own unit and
user: fields that begin with ``_`` are journald's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from hero_supervisor.access_records import AuditEntry, joined
from hero_supervisor.errors import Fault, InvalidInput, JournalUnavailable
from hero_supervisor.journald import JournalSocket, encode
from hero_supervisor.log_query import CURSOR_PATTERN

from . import process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hero_supervisor.access_records import AuditNote, AuditQuery

logger = logging.getLogger(__name__)

#: Seconds for writing an entry while journald is behind, and for reading some.
WRITE_TIMEOUT_S: Final = 2.0
READ_TIMEOUT_S: Final = 30.0

_NAMESPACE: Final = "HERO_AUDIT"
_WHO: Final = "HERO_AUDIT_WHO"
_PEER: Final = "HERO_AUDIT_PEER"
_METHOD: Final = "HERO_AUDIT_METHOD"
_OBJECTS: Final = "HERO_AUDIT_OBJECTS"
_RESULT: Final = "HERO_AUDIT_RESULT"
_DURATION: Final = "HERO_AUDIT_DURATION_USEC"
_CALLS: Final = "HERO_AUDIT_CALLS"
_FIELDS: Final = (_WHO, _PEER, _METHOD, _OBJECTS, _RESULT, _DURATION, _CALLS)
#: syslog's "notice": normal, but significant.
_PRIORITY: Final = "5"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNIT: Final = re.compile(r"/([^/]+\.(?:service|scope))(?=/|$)")


class AuditJournal:
    """Writes and reads the audit log of the service of one namespace."""

    def __init__(
        self, *, namespace: str, user: bool = False, socket: JournalSocket | None = None, program: str = "journalctl"
    ) -> None:
        """Prepare.

        Args:
            namespace: The service's.
            user: Whether it runs in a user's manager.
            socket: The way to journald.
            program: Reads the journal, found on PATH.
        """
        self._namespace = namespace
        self._waiting: list[tuple[AuditNote, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._socket = socket or JournalSocket()
        self._command = [program, "--output=export", "--all", "--quiet", f"--output-fields={','.join(_FIELDS)}"]
        unit = own_unit(Path("/proc/self/cgroup").read_text(errors="replace"))
        self._origin = [f"_UID={os.geteuid()}", f"{_NAMESPACE}={namespace}"]
        if unit:
            self._origin.append(f"{'_SYSTEMD_USER_UNIT' if user else '_SYSTEMD_UNIT'}={unit}")

    async def write(self, note: AuditNote) -> None:
        """Write an entry, and return when journald has it. It never fails: what was done is done.

        journald takes some thousand entries per second, and a program may queue more jobs than that. So those that wait
        for it are put together: one entry for calls of the same method by the same caller with the same result.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((note, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_waiting(), name="audit-log")
        await written

    async def _write_waiting(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            alike: dict[tuple[str, ...], list[AuditNote]] = {}
            for note, _ in waiting:
                alike.setdefault((note.who, note.peer, note.method, note.result), []).append(note)
            for notes in alike.values():
                await self._write_one(together(notes))
            for _, written in waiting:
                if not written.done():  # else its caller was broken off
                    written.set_result(None)

    async def _write_one(self, note: AuditNote) -> None:
        record = encode(
            {
                "MESSAGE": _text_of(note),
                "PRIORITY": _PRIORITY,
                "SYSLOG_IDENTIFIER": "hero-supervisor",
                _NAMESPACE: self._namespace,
                _WHO: note.who,
                _PEER: note.peer,
                _METHOD: note.method,
                _OBJECTS: msgspec.json.encode(note.objects),
                _RESULT: note.result,
                _DURATION: str(round(note.duration_s * 1_000_000)),
                _CALLS: str(note.calls),
            }
        )
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                is_written = await self._socket.send_soon(record)
        except TimeoutError:
            is_written = False
        if not is_written:
            logger.error("%s (it is not in the audit log: journald does not take it)", _text_of(note))

    async def read(self, query: AuditQuery) -> list[AuditEntry]:
        """Return entries, oldest first.

        Raises:
            InvalidInput: The cursor is not one.
            JournalUnavailable: The journal cannot be read.
        """
        if query.after_cursor is not None and not re.fullmatch(CURSOR_PATTERN, query.after_cursor):
            raise InvalidInput([Fault("after_cursor", "must be a cursor as entries of the audit log have it")])
        found: list[AuditEntry] = []

        def take(fields: Mapping[str, bytes]) -> bool:
            entry = entry_of(fields)
            is_wanted = entry is not None and entry.cursor != query.after_cursor
            if entry is not None and is_wanted and (query.since is None or entry.at >= query.since):
                found.append(entry)
            return len(found) >= query.limit

        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                await process.scan([*self._command, *_terms(query), *self._origin], take)
        except TimeoutError:
            text = f"cannot read the audit log: no answer within {READ_TIMEOUT_S:g} s"
            raise JournalUnavailable(text) from None
        return found if query.after_cursor is not None else found[::-1]

    async def close(self) -> None:
        """Close the way to journald, when all is written."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self._socket.close()


def _terms(query: AuditQuery) -> list[str]:
    # With a cursor from its entry on: --after-cursor skips the first entry also when that one is gone.
    newest = ["--reverse", f"--lines={query.limit}"]
    terms = newest if query.after_cursor is None else [f"--cursor={query.after_cursor}"]
    if query.since is not None and query.after_cursor is None:
        since_epoch = max(query.since - _EPOCH, timedelta())
        terms.append(f"--since=@{since_epoch // timedelta(seconds=1)}.{since_epoch.microseconds:06}")
    matches = ((_METHOD, query.method), (_WHO, query.who))
    return [*terms, *(f"{field}={value}" for field, value in matches if value is not None)]


def entry_of(fields: Mapping[str, bytes]) -> AuditEntry | None:
    """Return the entry that fields of the journal are; ``None`` when they are not one of ours."""
    try:
        return AuditEntry(
            cursor=fields["__CURSOR"].decode(),
            at=_EPOCH + timedelta(microseconds=int(fields["__REALTIME_TIMESTAMP"])),
            who=fields[_WHO].decode(),
            peer=fields[_PEER].decode(),
            method=fields[_METHOD].decode(),
            objects=msgspec.json.decode(fields[_OBJECTS], type=dict[str, str]),
            result=fields[_RESULT].decode(),
            duration_s=int(fields[_DURATION]) / 1_000_000,
            calls=int(fields.get(_CALLS, b"1")),
        )
    except (KeyError, ValueError, OverflowError, msgspec.DecodeError):
        return None


def own_unit(cgroups: str) -> str:
    """Return the unit of a process, given its ``/proc/PID/cgroup``; '' when it is in none.

    The innermost one: that of a user's manager is within the system's.
    """
    paths = [line.split(":", 2)[2] for line in cgroups.splitlines() if line.startswith(("0::", "1:name=systemd:"))]
    found = [unit for path in paths for unit in _UNIT.findall(path)]
    return found[-1] if found else ""


def together(notes: Sequence[AuditNote]) -> AuditNote:
    """Return one note for several of the same caller, method and result."""
    first, *others = notes
    if not others:
        return first
    kinds = dict.fromkeys(kind for note in notes for kind in note.objects)
    objects = {kind: _ids_of(kind, notes) for kind in kinds}
    return replace(first, objects=objects, duration_s=max(note.duration_s for note in notes), calls=len(notes))


def _ids_of(kind: str, notes: Sequence[AuditNote]) -> str:
    return joined(id for note in notes for id in note.objects.get(kind, "").split(", ") if id)


def _text_of(note: AuditNote) -> str:
    objects = ", ".join(f"{kind} {id}" for kind, id in note.objects.items())
    on = f" on {objects}" if objects else ""
    times = f" {note.calls} times" if note.calls > 1 else ""
    return f"audit: {note.who} from {note.peer} called {note.method}{times}{on}: {note.result}"
