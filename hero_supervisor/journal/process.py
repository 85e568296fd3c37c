"""Running ``journalctl``: read in small chunks, always ended, its complaints kept.

The process is killed as soon as we have what we want, or are cancelled; if we are killed it sees its output close.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from hero_supervisor.errors import JournalUnavailable

from .entry import FIELDS
from .export import ExportParser

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Callable, Mapping

#: Bytes that are read from ``journalctl`` at once.
CHUNK_BYTES: Final = 64 * 1024
#: Bytes of an error message that are kept.
MAX_ERROR_BYTES: Final = 4 * 1024

#: Options of every call. ``--all``: fields that are long or no text come whole.
OPTIONS: Final = ("--output=export", "--all", "--quiet", f"--output-fields={','.join(FIELDS)}")


class Running(NamedTuple):
    """A ``journalctl`` that runs."""

    process: Process
    output: asyncio.StreamReader
    errors: asyncio.Task[bytes]

    async def check_exit(self) -> None:
        """Wait for its end, which its output must have reached.

        Raises:
            JournalUnavailable: It failed.
        """
        if code := await self.process.wait():
            text = (await self.errors).decode(errors="replace").strip() or f"exit status {code}"
            hint = "only root and members of the group systemd-journal (or adm) may read the system journal"
            raise JournalUnavailable(f"cannot read the journal: {text}", hint=hint)


async def scan(command: list[str], take: Callable[[Mapping[str, bytes]], bool]) -> None:
    """Run ``journalctl`` and give each entry to ``take``, until that returns true or there are no more.

    Raises:
        JournalUnavailable: ``journalctl`` is missing or fails.
    """
    parser = ExportParser()
    async with running(command) as journalctl:
        while chunk := await journalctl.output.read(CHUNK_BYTES):
            if any(map(take, parser.feed(chunk))):
                return
            # What is there already is read without a pause; others want to run, too.
            await asyncio.sleep(0)
        await journalctl.check_exit()


@asynccontextmanager
async def running(command: list[str]) -> AsyncIterator[Running]:
    """Run ``journalctl``; it has ended when this is left.

    Raises:
        JournalUnavailable: It cannot be run.
    """
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
    journalctl = Running(process, output, asyncio.create_task(_first_bytes(error_output), name="journalctl-errors"))
    try:
        yield journalctl
    finally:
        await _end(journalctl)


async def _first_bytes(stream: asyncio.StreamReader) -> bytes:
    """Read all of the error output, so that it cannot fill its pipe, and return its beginning."""
    kept = b""
    while chunk := await stream.read(CHUNK_BYTES):
        kept = (kept + chunk)[:MAX_ERROR_BYTES]
    return kept


async def _end(journalctl: Running) -> None:
    """Kill and reap ``journalctl``, whatever state it is in."""
    process, output, errors = journalctl
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    # asyncio does not report the exit before the pipes are read to their ends.
    while await output.read(CHUNK_BYTES):
        pass
    await asyncio.wait([errors])
    await process.wait()
