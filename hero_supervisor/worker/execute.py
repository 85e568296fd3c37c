"""One payload as a process group of its own.

The order of events: the script is written to a file (a payload may be larger than an argument can be, and tracebacks
show its lines), the process starts in a new session, its output is read until it ends, runs out of time, or the
runner has to stop. Then **the whole group is killed, in every case**: a job ends as a whole, and what it left in the
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
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from hero_supervisor.job import MAX_RESULT_BYTES

from .outcome import Ending, How
from .output import Head, Lines, Tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping

#: Seconds between SIGTERM and SIGKILL for a job whose time is up.
KILL_GRACE_S: Final = 2.0
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
    timeout_s: float


class LineSink(Protocol):
    """Takes each line of a script's output."""

    async def __call__(self, line: bytes, /, *, stream: str) -> None:
        """Take one line of ``stdout`` or ``stderr``."""


class StopRequest:
    """Whether the runner is to take more jobs, whether it is to stop, and how long it may still work then."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._requested = asyncio.Event()
        self._last = asyncio.Event()

    @property
    def is_made(self) -> bool:
        """Whether the runner is to stop."""
        return self._requested.is_set()

    @property
    def takes_no_more(self) -> bool:
        """Whether the runner is to take no more jobs: it stops or drains."""
        return self._last.is_set()

    def make(self) -> None:
        """Ask the runner to stop."""
        self._requested.set()
        self._last.set()

    def drain(self) -> None:
        """Ask the runner to stop when it has finished what it has, however long that takes."""
        self._last.set()

    async def takes_no_more_within(self, seconds: float) -> bool:
        """Wait until no more jobs are to be taken, at most so long, and return whether that is so."""
        await _within(seconds, self._last.wait())
        return self.takes_no_more

    async def comes_within(self, seconds: float) -> bool:
        """Wait for the request, at most so long, and return whether it has been made."""
        await _within(seconds, self._requested.wait())
        return self.is_made

    async def lets_end(self, event: asyncio.Event) -> bool:
        """Wait for the event, from the request on only for the grace; return whether it has happened."""
        happened = asyncio.ensure_future(event.wait())
        requested = asyncio.ensure_future(self._requested.wait())
        try:
            await asyncio.wait({happened, requested}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({happened}, timeout=self._grace_s)
        finally:
            happened.cancel()
            requested.cancel()
        return event.is_set()


async def execute(script: Script, stop: StopRequest, on_line: LineSink) -> Ending:
    """Execute a script and return how it ended; nothing of its process group is left.

    Args:
        script: The script.
        stop: Ends the script when the runner stops and the grace has passed.
        on_line: Called with each line of its output, and ``stdout`` or ``stderr``.

    Raises:
        OSError: It cannot be written or started.
    """
    with _file_of(script) as path, _process_of(script, path) as process:
        output, error_tail = Head(MAX_RESULT_BYTES), Tail(ERROR_TAIL_BYTES)
        async with (
            _reading(process.stdout, output, partial(on_line, stream="stdout")),
            _reading(process.stderr, error_tail, partial(on_line, stream="stderr")),
        ):
            how = await _end_of(process.pid, script.timeout_s, stop)
        return_code = process.poll()
    # Not even SIGKILL ends a process that the kernel is stuck with.
    return Ending(how, -signal.SIGKILL if return_code is None else return_code, output.text(), error_tail.text())


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


async def _end_of(pid: int, timeout_s: float, stop: StopRequest) -> How:
    """Return how the process ended, when its whole group has been killed."""
    with _exit_of(pid) as exited:
        how = await _first_end(exited, timeout_s, stop)
        if how is How.TIMED_OUT:
            _signal_group(pid, signal.SIGTERM)
            await _within(KILL_GRACE_S, exited.wait())
        _signal_group(pid, signal.SIGKILL)
        await _within(REAP_S, exited.wait())
    return how


async def _first_end(exited: asyncio.Event, timeout_s: float, stop: StopRequest) -> How:
    try:
        async with asyncio.timeout(timeout_s):
            return How.EXITED if await stop.lets_end(exited) else How.STOPPED
    except TimeoutError:
        return How.TIMED_OUT


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


async def _within(seconds: float, event: Coroutine[Any, Any, object]) -> None:
    """Wait for the event, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event
