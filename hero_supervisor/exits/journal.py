"""The questions about ends of runs that are put to ``journalctl``, each a process of its own.

Only what the manager itself says counts: any program may write entries that look like the manager's, but it cannot
forge the fields that begin with ``_``. For the system manager that is ``_PID=1``, for a user's its ``init.scope``.

Positions are asked for with ``--cursor``, which begins *with* that entry: ``--after-cursor`` skips the first entry
after a position that has been vacuumed. Where a position is not known any more, the next entry in time comes.

``--follow`` waits for entries by MESSAGE_ID, not by unit: ``journalctl --follow --unit='glob*'`` ends with an error as
long as no such unit has logged anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from hero_supervisor.errors import JournalUnavailable
from hero_supervisor.journal import ExportParser

from .folder import MESSAGE_IDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from .folder import Run

    Entry = Mapping[str, bytes]

#: Lines of a run's log that are kept, and bytes of each, and of all.
TAIL_LINES: Final = 10
MAX_LINE_BYTES: Final = 1_000
MAX_TAIL_BYTES: Final = 4_000
#: Seconds around a run in which its lines are looked for: journald reads them and systemd's words in any order.
SLACK_S: Final = 1.0
#: Seconds by which a line that names no run may come before systemd's word that its run begins.
DISORDER_S: Final = 0.02
#: Entries that are read for a tail; the next run's may be among them.
_TAIL_ENTRIES: Final = 5 * TAIL_LINES

READ_TIMEOUT_S: Final = 30.0
#: Reads under way at once; each is a process.
MAX_READERS: Final = 4
_CHUNK_BYTES: Final = 64 * 1024
_MAX_ERROR_BYTES: Final = 4 * 1024

_MANAGER_FIELDS: Final = (
    *("MESSAGE_ID", "UNIT", "USER_UNIT", "INVOCATION_ID", "USER_INVOCATION_ID", "COMMAND", "JOB_TYPE"),
    *("EXIT_CODE", "EXIT_STATUS", "UNIT_RESULT", "CPU_USAGE_NSEC", "MEMORY_PEAK"),
)
#: What systemd writes in place of a program that it cannot execute. Source: sd-messages.h.
_SPAWN_FAILED: Final = "641257651c1b4ec9a8624d7a40a9e1e7"
_TAIL_FIELDS: Final = ("MESSAGE", "_SYSTEMD_INVOCATION_ID")


class ExitJournal:
    """Asks the journal about runs of units of the system manager, or of this user's manager."""

    def __init__(self, *, user: bool = False, program: str = "journalctl") -> None:
        """Args: whose units; and the program to run, found on PATH."""
        self._program = program
        self._slots = asyncio.Semaphore(MAX_READERS)
        own = (f"_UID={os.getuid()}",) if user else ()
        self._unit_field = "_SYSTEMD_USER_UNIT" if user else "_SYSTEMD_UNIT"
        self._from_unit = own
        self._before_program = (f"MESSAGE_ID={_SPAWN_FAILED}", *(own or ("_UID=0",)))
        self._from_manager = ("_SYSTEMD_USER_UNIT=init.scope", *own) if user else ("_PID=1",)
        self._invocation_field = "USER_INVOCATION_ID" if user else "INVOCATION_ID"

    @asynccontextmanager
    async def entries(self, position: str | None, *, follow: bool = False) -> AsyncIterator[Output]:
        """Run ``journalctl`` for what the manager says of all units, from a position or the last boot on.

        Args:
            position: Cursor of the first entry.
            follow: Go on with what is written later; else the output ends.
        """
        where = ["--boot"] if position is None else [f"--cursor={position}"]
        how = ["--follow", "--no-tail"] if follow else []
        matches = [f"MESSAGE_ID={message}" for message in MESSAGE_IDS]
        async with self._running([*where, *how, *self._from_manager, *matches], _MANAGER_FIELDS) as output:
            yield output

    async def entries_of(self, invocation_id: str) -> list[Entry]:
        """Return all that the manager says of a run.

        Raises:
            JournalUnavailable: The journal cannot be read.
        """
        return await self._read([*self._from_manager, f"{self._invocation_field}={invocation_id}"], _MANAGER_FIELDS)

    async def tail(self, run: Run) -> tuple[str, ...]:
        """Return the last lines that an ended run wrote, oldest first.

        They are found by unit and time: of a process that is gone already journald cannot tell the run any more.

        Raises:
            JournalUnavailable: The journal cannot be read.
        """
        if run.ended_usec is None or run.started_usec is None:
            where = [f"_SYSTEMD_INVOCATION_ID={run.invocation_id}"]
        else:
            begin_s, end_s = run.started_usec / 1e6 - SLACK_S, run.ended_usec / 1e6 + SLACK_S
            own_run = f"{self._invocation_field}={run.invocation_id}"
            matches = [*self._from_unit, f"{self._unit_field}={run.unit}", "+", own_run, *self._before_program]
            where = [f"--since=@{begin_s:.6f}", f"--until=@{end_s:.6f}", *matches]
        newest_first = await self._read(["--reverse", f"--lines={_TAIL_ENTRIES}", *where], _TAIL_FIELDS)
        return _lines_in([entry for entry in newest_first if _is_of(run, entry)])

    async def _read(self, arguments: Sequence[str], fields: Sequence[str]) -> list[Entry]:
        entries: list[Entry] = []
        try:
            async with self._slots, asyncio.timeout(READ_TIMEOUT_S), self._running(arguments, fields) as output:
                while (found := await output.read()) is not None:
                    entries += found
        except TimeoutError:
            text = f"cannot read the journal: no answer within {READ_TIMEOUT_S:g} s"
            raise JournalUnavailable(text) from None
        return entries

    @asynccontextmanager
    async def _running(self, arguments: Sequence[str], fields: Sequence[str]) -> AsyncIterator[Output]:
        """Run ``journalctl``; it has ended when this is left."""
        options = ["--output=export", "--all", "--quiet", f"--output-fields={','.join(fields)}"]
        # A file in memory, because a pipe would have to be read all the time, and there may be no place for files.
        with os.fdopen(os.memfd_create("journalctl-errors"), "w+b") as errors:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(self._program, *options, *arguments),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                    limit=_CHUNK_BYTES,
                )
            except OSError as exc:
                raise JournalUnavailable(f"cannot run {self._program}: {exc.strerror}") from exc
            output = Output(process, errors)
            try:
                yield output
            finally:
                await output.end()


class Output:
    """What a ``journalctl`` process writes, as entries."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Any) -> None:
        """Args: the process; and the file that it writes its errors to."""
        self._process = process
        self._errors = errors
        self._parser = ExportParser(MAX_LINE_BYTES)

    @property
    def pid(self) -> int:
        """Process id of ``journalctl``."""
        return self._process.pid

    async def read(self) -> list[Entry] | None:
        """Return the next entries, None at the end. Cancelling it loses nothing.

        Raises:
            JournalUnavailable: ``journalctl`` failed.
        """
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        chunk = await self._process.stdout.read(_CHUNK_BYTES)
        if chunk:
            return [dict(entry) for entry in self._parser.feed(chunk)]
        if status := await self._process.wait():
            self._errors.seek(0)
            text = self._errors.read(_MAX_ERROR_BYTES).decode(errors="replace").strip()
            raise JournalUnavailable(f"cannot read the journal: {text or f'journalctl ended with status {status}'}")
        return None

    async def end(self) -> None:
        """Kill and reap the process, whatever state it is in."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        assert self._process.stdout is not None  # noqa: S101
        # asyncio does not report the exit before the pipe is read to its end.
        while await self._process.stdout.read(_CHUNK_BYTES):
            pass
        await self._process.wait()


def _is_of(run: Run, entry: Entry) -> bool:
    invocation_id = entry.get("_SYSTEMD_INVOCATION_ID")
    if invocation_id is not None:
        return invocation_id.decode(errors="replace") == run.invocation_id
    # What names no run may also be the last word of the run before, or the first of the next.
    began_usec, ended_usec = run.started_usec or 0, run.ended_usec or 0
    last_usec = ended_usec + _usec(SLACK_S) if run.followed_usec is None else run.followed_usec - _usec(DISORDER_S)
    written_usec = int(entry.get("__REALTIME_TIMESTAMP", b"0"))
    return began_usec - _usec(DISORDER_S) <= written_usec <= max(ended_usec, last_usec)


def _usec(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _lines_in(newest_first: Sequence[Entry]) -> tuple[str, ...]:
    """Return the last lines of some entries, oldest first, as many as there is room for."""
    lines: list[str] = []
    size = 0
    for entry in newest_first:
        for line in reversed(entry.get("MESSAGE", b"").decode(errors="replace").split("\n")):
            size += len(line.encode()) + 1
            if len(lines) == TAIL_LINES or size > MAX_TAIL_BYTES:
                return tuple(reversed(lines))
            lines.append(line)
    return tuple(reversed(lines))
