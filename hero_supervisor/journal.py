"""Reads the log of units from journald, through one short-lived ``journalctl`` process per read.

    journalctl --output=export --unit=NAME [HERO_JOB_ID=ID] → bytes in small chunks → ExportParser → LogRecord

**Export format**, not JSON: its fields carry their length, so a field of any size can be skipped without being held in
memory, bytes that are no UTF-8 come as they are, and the cursor stands first. As JSON such a field is a number per
byte, or null, and a line has to be complete before anything in it can be used. It is also cheaper to write and read.
Source: https://systemd.io/JOURNAL_EXPORT_FORMATS.

**Bounds.** The newest entries are read backwards, entries after a cursor forwards, and in both directions reading
ends when there are enough lines or enough bytes: what is cut off is what the caller can ask for next. A message
keeps its first 64 KiB and says so. ``journalctl`` is killed as soon as we have what we want, or are cancelled.

**Which entries**: those that ``journalctl -u`` shows, so also what systemd and the kernel's OOM killer say of the unit.
Units need not be loaded any more. For the user manager ``--user-unit`` is used without ``--user``: it looks into every
journal file that we may read, and not only into that of this user, which does not exist while the journal is volatile.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, cast

from .errors import Fault, InvalidInput, JournalUnavailable
from .records import LogRecord

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator, Mapping

#: Bytes of a message that are kept, and of all messages of one answer.
MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_TOTAL_BYTES: Final = 4 * 1024 * 1024
#: Bytes that are read from ``journalctl`` at once.
CHUNK_BYTES: Final = 64 * 1024
#: Bytes of an error message that are kept.
MAX_ERROR_BYTES: Final = 4 * 1024
#: Reads under way at once; each is a process.
MAX_READERS: Final = 8
#: Longest time for one read, in seconds. Reading slows down with the number and size of journal files.
READ_TIMEOUT_S: Final = 30.0

#: Field by which a worker tags the lines of a job.
JOB_FIELD: Final = "HERO_JOB_ID"
#: What the journal calls a position: fields of hexadecimal digits.
CURSOR_PATTERN: Final = r"[a-z]=[0-9a-f]{1,32}(;[a-z]=[0-9a-f]{1,32}){0,15}"

_PRIORITIES: Final = frozenset(b"%d" % number for number in range(8))
_DEFAULT_PRIORITY: Final = 6
_FIELDS: Final = (
    "MESSAGE",
    "PRIORITY",
    "_PID",
    "_SYSTEMD_UNIT",
    "_SYSTEMD_USER_UNIT",
    "_SYSTEMD_INVOCATION_ID",
    "INVOCATION_ID",
    "USER_INVOCATION_ID",
    JOB_FIELD,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class JournalReader:
    """Reads the log of units of the system manager, or of this user's manager."""

    def __init__(self, *, user: bool = False, program: str = "journalctl") -> None:
        """Args: whose units; and the program to run, found on PATH."""
        self._user = user
        self._program = program
        self._slots = asyncio.Semaphore(MAX_READERS)

    async def read(
        self,
        unit_name: str,
        *,
        lines: int,
        after_cursor: str | None = None,
        job_id: str | None = None,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> list[LogRecord]:
        """Return log records of a unit, oldest first: the newest ones, or the ones after a cursor.

        Args:
            unit_name: Name of the unit; it need not be loaded. Glob characters match several units.
            lines: Most records to return, from 1 up; fewer when they have more than 4 MiB of text in all.
            after_cursor: Return the records that follow this position, as a record's ``cursor`` names it.
            job_id: Only records that the worker tagged with this job.
            timeout_s: Longest time to wait, in seconds.

        Raises:
            InvalidInput: ``after_cursor`` is not a cursor of a journal.
            JournalUnavailable: ``journalctl`` is missing, fails, takes too long, or may not read the journal.

        Source: journalctl(1).
        """
        if after_cursor is not None and not re.fullmatch(CURSOR_PATTERN, after_cursor):
            raise InvalidInput([Fault("after_cursor", "must be a cursor as log records have it")])
        command = self._command(unit_name, lines=lines, after_cursor=after_cursor, job_id=job_id)
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                records = await _read(command, lines=lines)
        except TimeoutError:
            text = f"cannot read the log of unit '{unit_name}': no answer within {timeout_s:g} s"
            raise JournalUnavailable(text, unit=unit_name) from None
        return records if after_cursor is not None else records[::-1]

    def _command(self, unit_name: str, *, lines: int, after_cursor: str | None, job_id: str | None) -> list[str]:
        unit = "--user-unit" if self._user else "--unit"
        # With a cursor journalctl versions differ in what --lines counts from, so we count ourselves.
        order = ["--reverse", f"--lines={lines}"] if after_cursor is None else [f"--after-cursor={after_cursor}"]
        job = [] if job_id is None else [f"{JOB_FIELD}={job_id}"]
        fields = f"--output-fields={','.join(_FIELDS)}"
        return [self._program, "--output=export", "--all", "--quiet", fields, f"{unit}={unit_name}", *order, *job]


class ExportParser:
    """Turns journal export format, fed in chunks of any size, into entries, holding only what is kept of a field.

    An entry is a mapping from field names to values; of a field that occurs more than once the first value counts.
    A value longer than the limit is cut, with a marker at its end.
    """

    def __init__(self, max_value_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_value_bytes = max_value_bytes
        self._buffer = bytearray()
        self._entry: dict[str, bytes] = {}
        # The field whose value is being read, how much of it was cut off, and for one with a length what is left.
        self._name = ""
        self._value = bytearray()
        self._cut = 0
        self._left: int | None = None

    def feed(self, chunk: bytes) -> Iterator[Mapping[str, bytes]]:
        """Take the next bytes and yield the entries that are now complete."""
        self._buffer += chunk
        while True:
            entry = self._entry
            if not self._step():
                return
            if entry and entry is not self._entry:
                yield entry

    def _step(self) -> bool:
        """Use up some of the buffer; return whether there may be more to do."""
        if self._left is not None:
            return self._take_sized()
        if self._name:
            return self._take_line()
        return self._start_field()

    def _start_field(self) -> bool:
        """Read a name: with ``=`` the value follows up to the line's end, else its length and then the value."""
        end = self._buffer.find(b"\n")
        equals = self._buffer.find(b"=", 0, None if end < 0 else end)
        if equals > 0:
            self._name = self._pop(equals, skip=1).decode(errors="replace")
            return True
        if end == 0:
            del self._buffer[:1]
            return self._end_entry()
        if end < 0 or len(self._buffer) < end + 9:
            return False
        self._name = self._pop(end, skip=1).decode(errors="replace")
        self._left = int.from_bytes(self._pop(8), "little")
        return True

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\n")
        if end < 0:
            self._keep(self._pop(len(self._buffer)))
            return False
        self._keep(self._pop(end, skip=1))
        return self._end_field()

    def _take_sized(self) -> bool:
        taken = self._pop(min(self._left or 0, len(self._buffer)))
        self._left = (self._left or 0) - len(taken)
        self._keep(taken)
        if self._left or not self._buffer:
            return False
        del self._buffer[:1]  # the newline after the value
        self._left = None
        return self._end_field()

    def _keep(self, data: bytes) -> None:
        room = self._max_value_bytes - len(self._value)
        self._value += data[:room]
        self._cut += max(0, len(data) - room)

    def _end_field(self) -> bool:
        marker = f" […, {self._cut} more bytes]".encode() if self._cut else b""
        self._entry.setdefault(self._name, bytes(self._value) + marker)
        self._name, self._cut = "", 0
        self._value.clear()
        return True

    def _end_entry(self) -> bool:
        self._entry = {}
        return True

    def _pop(self, size: int, *, skip: int = 0) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[: size + skip]
        return data


def record_of(entry: Mapping[str, bytes]) -> LogRecord:
    """Return the log record for a journal entry.

    Raises:
        JournalUnavailable: It has no cursor or no time, so it is not from a journal.
    """
    try:
        cursor = entry["__CURSOR"].decode()
        timestamp = _EPOCH + timedelta(microseconds=int(entry["__REALTIME_TIMESTAMP"]))
    except (KeyError, ValueError, OverflowError) as exc:
        raise JournalUnavailable("cannot read the journal: journalctl wrote an entry without cursor or time") from exc
    return LogRecord(
        cursor=cursor,
        timestamp=timestamp,
        priority=int(priority) if (priority := entry.get("PRIORITY", b"")) in _PRIORITIES else _DEFAULT_PRIORITY,
        message=entry.get("MESSAGE", b"").decode(errors="replace"),
        pid=int(pid) if (pid := entry.get("_PID", b"")).isdigit() else None,
        invocation_id=_invocation_id(entry),
        job_id=_text(entry, JOB_FIELD),
    )


def _invocation_id(entry: Mapping[str, bytes]) -> str | None:
    """Return the run of the unit that an entry belongs to.

    The manager's messages about a unit name it in a field of their own, because ``_SYSTEMD_INVOCATION_ID`` is always
    that of the sender. PID 1 has none; a user manager has that of its own unit.
    """
    about = _text(entry, "INVOCATION_ID") or _text(entry, "USER_INVOCATION_ID")
    is_from_manager = entry.get("_PID") == b"1" or entry.get("_SYSTEMD_USER_UNIT") == b"init.scope"
    sender = _text(entry, "_SYSTEMD_INVOCATION_ID")
    return about or sender if is_from_manager else sender


def _text(entry: Mapping[str, bytes], field: str) -> str | None:
    value = entry.get(field)
    return None if value is None else value.decode(errors="replace")


async def _read(command: list[str], *, lines: int) -> list[LogRecord]:
    records: list[LogRecord] = []
    size = 0
    parser = ExportParser()
    async with _running(command) as (process, output, errors):
        while chunk := await output.read(CHUNK_BYTES):
            for entry in parser.feed(chunk):
                record = record_of(entry)
                size += len(record.message)
                if records and size > MAX_TOTAL_BYTES:
                    return records
                records.append(record)
                if len(records) >= lines:
                    return records
        await _check_exit(process, errors)
    return records


@asynccontextmanager
async def _running(command: list[str]) -> AsyncIterator[tuple[Process, asyncio.StreamReader, asyncio.Task[bytes]]]:
    """Run ``journalctl`` and hand out the process, its output and its error text; it has ended when this is left."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=CHUNK_BYTES,
        )
    except (OSError, ValueError) as exc:
        hint = f"install the package that has {command[0]}, usually systemd"
        raise JournalUnavailable(f"cannot run {command[0]}: {exc}", hint=hint) from exc
    output = cast("asyncio.StreamReader", process.stdout)
    error_output = cast("asyncio.StreamReader", process.stderr)
    errors = asyncio.create_task(_first_bytes(error_output), name="journalctl-errors")
    try:
        yield process, output, errors
    finally:
        await _end(process, output, errors)


async def _check_exit(process: Process, errors: asyncio.Task[bytes]) -> None:
    """Raise ``JournalUnavailable`` if ``journalctl`` failed."""
    if await process.wait():
        text = (await errors).decode(errors="replace").strip() or f"exit status {process.returncode}"
        hint = "only root and members of the group systemd-journal (or adm) may read the system journal"
        raise JournalUnavailable(f"cannot read the journal: {text}", hint=hint)


async def _first_bytes(stream: asyncio.StreamReader) -> bytes:
    """Read all of the error output, so that it cannot fill its pipe, and return its beginning."""
    kept = b""
    while chunk := await stream.read(CHUNK_BYTES):
        kept = (kept + chunk)[:MAX_ERROR_BYTES]
    return kept


async def _end(process: Process, output: asyncio.StreamReader, errors: asyncio.Task[bytes]) -> None:
    """Kill and reap ``journalctl``, whatever state it is in."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    # asyncio does not report the exit before the pipes are read to their ends.
    while await output.read(CHUNK_BYTES):
        pass
    await asyncio.wait([errors])
    await process.wait()
