"""The file of exit records: ``exits.jsonl`` in the state directory, one JSON object a line, appended to.

::

    {"type": "exit", "exit": {…}}                          a record; a later one of the same run replaces it
    {"type": "expected", "invocation_id": …, "reason": …}  why the supervisor is about to stop a run
    {"type": "position", "cursor": …}                      up to where the journal has been read

What belongs together is written together and flushed to disk, the position last: after a crash either the position is
the old one, and the same records are made again, or all is there. What is torn at the end is cut off by the next open.

**Bounds.** So many records a runner, the newest ones, and so many bytes in all: when the latter do not suffice, every
runner keeps fewer, so that one that crashes all the time cannot push out the others. The file is rewritten when it
holds twice of what counts.

**It never keeps anybody from working.** A file that cannot be read is moved aside, its readable part is kept; what
cannot be written stays in memory and is written with the next thing that can be. Both are said once, in the log.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from hero_supervisor.durable import append_to_file, replace_file
from hero_supervisor.records import ExitReason, ExitRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

MAX_PER_RUNNER: Final = 100
MAX_BYTES: Final = 4 * 1024 * 1024
#: Causes that are kept. Each is needed only until its run's last word.
MAX_EXPECTED: Final = 1_000
#: Lines that the file may have in addition to twice of what counts.
_SPARE_LINES: Final = 100


class _Exit(msgspec.Struct, tag="exit", frozen=True):
    exit: ExitRecord


class _Expected(msgspec.Struct, tag="expected", frozen=True):
    invocation_id: str
    reason: ExitReason


class _Position(msgspec.Struct, tag="position", frozen=True):
    cursor: str


_Line = _Exit | _Expected | _Position
_DECODER: Final = msgspec.json.Decoder(_Line)


class ExitStore:
    """Keeps exit records, in memory and in a file. Use: ``open``, then the rest."""

    def __init__(self, path: Path, *, max_per_runner: int = MAX_PER_RUNNER, max_bytes: int = MAX_BYTES) -> None:
        """Prepare.

        Args:
            path: The file; its directory exists when this is opened.
            max_per_runner: Records that are kept of each runner.
            max_bytes: Most bytes that all records may take in the file.
        """
        self._path = path
        self._max_per_runner = max_per_runner
        self._max_bytes = max_bytes
        #: Cursor of the last journal entry that need not be read again; None when all has to be.
        self.position: str | None = None
        self._exits: dict[str, ExitRecord] = {}
        self._expected: dict[str, ExitReason] = {}
        self._lines = 0
        self._bytes = 0
        # Whether the file does not have what we have.
        self._is_behind = False
        self._writing = asyncio.Lock()

    def open(self) -> None:
        """Read the file. Whatever is wrong with it is repaired or put aside."""
        try:
            if self._path.stat().st_size > 8 * self._max_bytes:
                self._put_aside("it is far too long")
            else:
                self._load(self._path.read_bytes())
        except FileNotFoundError:
            return
        except OSError as exc:
            self._put_aside(exc.strerror or str(exc))

    def exits(self, runner: str, *, instance: int | None = None, limit: int = 20) -> list[ExitRecord]:
        """Return the records of a runner, or of one instance of it, newest first."""
        found = [each for each in self._exits.values() if each.runner == runner and instance in {None, each.instance}]
        return _newest_first(found)[: min(limit, self._max_per_runner)]

    def get(self, invocation_id: str) -> ExitRecord | None:
        """Return the record of a run; None when there is none."""
        return self._exits.get(invocation_id)

    def expected(self, invocation_id: str) -> ExitReason | None:
        """Return why the supervisor was about to stop a run; None when it was not."""
        return self._expected.get(invocation_id)

    async def add(self, records: Iterable[ExitRecord], *, position: str | None) -> None:
        """Store records, and up to where the journal has been read; return when they are on disk.

        One that is stored already in the same words is left out, one that says more takes its place.
        """
        new = [record for record in records if self._exits.get(record.invocation_id) != record]
        lines: list[_Line] = [_Exit(record) for record in new]
        if position is not None and position != self.position:
            lines.append(_Position(position))
        self._exits |= {record.invocation_id: record for record in new}
        self.position = position or self.position
        await self._write(lines)

    async def expect(self, invocation_id: str, reason: ExitReason) -> None:
        """Store why a run is about to be stopped; return when it is on disk."""
        self._expected.pop(invocation_id, None)
        self._expected[invocation_id] = reason
        if len(self._expected) > MAX_EXPECTED:
            del self._expected[next(iter(self._expected))]
        await self._write([_Expected(invocation_id, reason)])

    # -- the file --------------------------------------------------------------------------------------------------

    def _load(self, data: bytes) -> None:
        whole, _, torn = data.rpartition(b"\n")
        self._is_behind = bool(torn)
        damaged = 0
        for line in filter(None, whole.split(b"\n")):
            try:
                self._take(_DECODER.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                damaged += 1
        self._lines, self._bytes = whole.count(b"\n") + 1, len(data)
        if damaged:
            self._put_aside(f"{damaged} of its lines are not exit records of this version")

    def _take(self, line: _Line) -> None:
        match line:
            case _Exit(record):
                self._exits[record.invocation_id] = record
            case _Expected(invocation_id, reason):
                self._expected[invocation_id] = reason
            case _Position(cursor):
                self.position = cursor

    def _put_aside(self, reason: str) -> None:
        self._is_behind = True
        aside = self._path.with_suffix(".damaged")
        logger.warning("cannot read all of %s, moving it to %s: %s", self._path, aside.name, reason)
        try:
            self._path.replace(aside)
        except OSError as exc:
            logger.warning("cannot move %s away: %s", self._path, exc.strerror)

    async def _write(self, lines: Sequence[_Line]) -> None:
        async with self._writing:
            data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
            is_too_long = self._lines + len(lines) > 2 * self._count() + _SPARE_LINES
            is_too_big = self._bytes + len(data) > 2 * self._max_bytes
            try:
                if self._is_behind or is_too_long or is_too_big:
                    self._trim()
                    await asyncio.to_thread(self._replace, self._all_lines())
                elif data:
                    await asyncio.to_thread(self._append, data, len(lines))
            except OSError as exc:
                if not self._is_behind:
                    logger.warning("cannot write %s, keeping exits in memory: %s", self._path, exc.strerror)
                self._is_behind = True
            else:
                self._is_behind = False

    def _count(self) -> int:
        return min(len(self._exits), self._max_per_runner * len(self._by_runner())) + len(self._expected) + 1

    def _by_runner(self) -> dict[str, list[ExitRecord]]:
        runners: dict[str, list[ExitRecord]] = {}
        for record in self._exits.values():
            runners.setdefault(record.runner, []).append(record)
        return runners

    def _trim(self) -> None:
        """Drop what is more than the bounds allow."""
        runners = {runner: _newest_first(records) for runner, records in self._by_runner().items()}
        limit = self._max_per_runner
        sizes = {id: len(msgspec.json.encode(record)) for id, record in self._exits.items()}
        while True:
            kept = [record for records in runners.values() for record in records[:limit]]
            if limit <= 1 or sum(sizes[record.invocation_id] for record in kept) <= self._max_bytes:
                break
            limit //= 2
        self._exits = {record.invocation_id: record for record in reversed(_newest_first(kept))}

    def _all_lines(self) -> list[bytes]:
        lines = itertools.chain(
            map(_Exit, self._exits.values()),
            itertools.starmap(_Expected, self._expected.items()),
            [_Position(self.position)] if self.position else [],
        )
        return [msgspec.json.encode(line) + b"\n" for line in lines]

    def _append(self, data: bytes, lines: int) -> None:
        append_to_file(self._path, data)
        self._lines += lines
        self._bytes += len(data)

    def _replace(self, lines: Sequence[bytes]) -> None:
        replace_file(self._path, b"".join(lines))
        self._lines, self._bytes = len(lines), sum(map(len, lines))


def _newest_first(records: Iterable[ExitRecord]) -> list[ExitRecord]:
    return sorted(records, key=lambda record: record.ended_at, reverse=True)
