"""One payload as a process group of its own.

The order of events: the script is written to a file (a payload may be larger than an argument can be, and tracebacks
show its lines), the process starts in a new session, its output is read until it ends, or until it is to be broken
off. Then **the whole group is killed, in every case**: a job ends as a whole, and what it left in the
background would hold its pipes and pile up in the runner's unit. Who wants a daemon starts a unit.

The process is watched through a pidfd and reaped only after its group was killed: until then its id, which is the
group's id, cannot be anybody else's. asyncio's subprocesses reap at once, and on some versions wait for the pipes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol

from hero_supervisor.job import MAX_RESULT_BYTES

from .interruption import SoftTimeout
from .outcome import Ending
from .output import Head, Lines, Tail
from .stopping import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

#: Seconds that are allowed for the rest of the output when the group is dead. Only a process that left the group
#: can still hold the pipes then.
DRAIN_S: Final = 1.0
#: Seconds for a killed process to be gone; longer only when the kernel is stuck with it.
REAP_S: Final = 10.0
#: Bytes of stderr that are kept to tell what went wrong.
ERROR_TAIL_BYTES: Final = 8 * 1024
_CHUNK_BYTES: Final = 64 * 1024

#: How each executor is started, and how its file is named.
INTERPRETERS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "python": ((sys.executable,), "job.py"),
    "shell": (("/bin/sh",), "job.sh"),
}


@dataclass(frozen=True, slots=True)
class Script:
    """What is to be executed, and in which surroundings."""

    payload: str
    #: A key of ``INTERPRETERS``.
    executor: str
    environment: Mapping[str, str]


class LineSink(Protocol):
    """Takes each line of a script's output."""

    async def __call__(self, line: bytes, /, *, stream: str) -> None:
        """Take one line of ``stdout`` or ``stderr``."""


async def execute(script: Script, on_line: LineSink, patience_s: Callable[[], float]) -> Ending:
    """Execute a script and return how it ended; nothing of its process group is left.

    Where it waits for the end it may be cancelled, and may be sent ``SoftTimeout``, which the script gets as SIGTERM.

    Args:
        script: The script.
        on_line: Called with each line of its output, and ``stdout`` or ``stderr``.
        patience_s: Asked when it is cancelled how long, in seconds, the group has from SIGTERM to SIGKILL.

    Raises:
        OSError: It cannot be written or started.
    """
    with _file_of(script) as path, _process_of(script, path) as process:
        output, error_tail = Head(MAX_RESULT_BYTES), Tail(ERROR_TAIL_BYTES)
        async with (
            _reading(process.stdout, output, partial(on_line, stream="stdout")),
            _reading(process.stderr, error_tail, partial(on_line, stream="stderr")),
        ):
            await _end_of(process.pid, patience_s)
        return_code = process.poll()
    # Not even SIGKILL ends a process that the kernel is stuck with.
    return Ending(-signal.SIGKILL if return_code is None else return_code, output.text(), error_tail.text())


@contextmanager
def _file_of(script: Script) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hero-job-", ignore_cleanup_errors=True) as directory:
        path = Path(directory, INTERPRETERS[script.executor][1])
        path.write_text(script.payload, encoding="utf-8", newline="")
        yield path


@contextmanager
def _process_of(script: Script, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*INTERPRETERS[script.executor][0], str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(script.environment),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # The group may be signalled only while its first process is not reaped, see above.
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGKILL)
            process.poll()


async def _end_of(pid: int, patience_s: Callable[[], float]) -> None:
    """Return when the process has ended, and its whole group has been killed."""
    with _exit_of(pid) as exited:
        try:
            await _exit_after_soft_timeout(pid, exited)
        except asyncio.CancelledError:
            grace_s = patience_s()
            if grace_s:
                _signal_group(pid, signal.SIGTERM)
                await within(grace_s, exited.wait())
            raise
        finally:
            _signal_group(pid, signal.SIGKILL)
            await within(REAP_S, exited.wait())


async def _exit_after_soft_timeout(pid: int, exited: asyncio.Event) -> None:
    try:
        await exited.wait()
    except SoftTimeout:
        _signal_group(pid, signal.SIGTERM)
        await exited.wait()


@contextmanager
def _exit_of(pid: int) -> Iterator[asyncio.Event]:
    """Give an event that is set when the process has ended; it is not reaped by that."""
    loop = asyncio.get_running_loop()
    exited = asyncio.Event()
    fd = os.pidfd_open(pid)

    def on_exit() -> None:
        loop.remove_reader(fd)
        exited.set()

    loop.add_reader(fd, on_exit)
    try:
        yield exited
    finally:
        loop.remove_reader(fd)
        os.close(fd)


@asynccontextmanager
async def _reading(
    pipe: IO[bytes] | None, kept: Head | Tail, on_line: Callable[[bytes], Awaitable[None]]
) -> AsyncIterator[None]:
    """Read a pipe meanwhile, and afterwards to its end if that comes soon."""
    reader = asyncio.StreamReader(limit=_CHUNK_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    reading = asyncio.create_task(_read(reader, kept, on_line), name="job-output")
    try:
        yield
        await asyncio.wait([reading], timeout=DRAIN_S)
        transport.close()  # for the reader, this is the end
        await asyncio.wait([reading], timeout=DRAIN_S)
    finally:
        transport.close()
        reading.cancel()
        await asyncio.wait([reading])


async def _read(reader: asyncio.StreamReader, kept: Head | Tail, on_line: Callable[[bytes], Awaitable[None]]) -> None:
    lines = Lines()
    while data := await reader.read(_CHUNK_BYTES):
        kept.add(data)
        for line in lines.feed(data):
            await on_line(line)
    for line in lines.end():
        await on_line(line)


def _signal_group(pid: int, number: signal.Signals) -> None:
    # It has no process left, or only ones of another user that it changed to.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
