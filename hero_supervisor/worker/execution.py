"""One job's process: started in a process group of its own, watched, and ended with all that it started.

The payload is a file, because an argument can have at most 128 KiB and standard input belongs to the script. The pipes
are ours and not asyncio's, which would not report the end of a process whose background child keeps a pipe open.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hero_supervisor.job import MAX_RESULT_BYTES, JobStatus
from hero_supervisor.runner import Executor

from .output import JournalLog, Stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hero_supervisor.job import Job

#: Seconds from SIGTERM to SIGKILL of a job's process group.
KILL_GRACE_S: Final = 1.0
#: Seconds for the outputs to end after their process has; a process that left the group may hold them open.
OUTPUT_GRACE_S: Final = 1.0
#: Bytes of the end of standard error that are kept for the job's error.
MAX_ERROR_BYTES: Final = 16 * 1024
#: Most bytes of a result; what a mark of missing bytes takes is left free, and bytes that are no text grow by three.
MAX_OUTPUT_BYTES: Final = MAX_RESULT_BYTES - 256

#: Variables of the runner that are not for its jobs.
_PRIVATE: Final = frozenset(
    {"HERO_REDIS_URL", "HERO_QUEUE", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"}
)


_PROGRAMS: Final[Mapping[Executor, tuple[str, ...]]] = {
    Executor.PYTHON: (sys.executable,),
    Executor.SHELL: ("/bin/sh",),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended, and its output or error."""

    status: JobStatus
    text: str


async def execute(
    job: Job, executor: Executor, log: JournalLog, fields: Mapping[str, str], stopping: asyncio.Event, *, grace_s: float
) -> Outcome | None:
    """Execute a job's payload.

    Args:
        job: The job.
        executor: What interprets the payload.
        log: Where the lines that it prints go.
        fields: Journal fields of these lines.
        stopping: Set when the runner is to stop.
        grace_s: Seconds that the job may go on after that.

    Returns:
        How it ended; ``None`` when it was cut short because the runner stops.
    """
    with tempfile.TemporaryDirectory(prefix="hero-job-") as directory:
        path = Path(directory, f"payload.{'py' if executor is Executor.PYTHON else 'sh'}")
        path.write_text(job.payload, encoding="utf-8")  # noqa: ASYNC240  # at most 1 MiB, and nothing else to do
        try:
            return await _run([*_PROGRAMS[executor], str(path)], job, log, fields, stopping, grace_s)
        except OSError as exc:
            return Outcome(JobStatus.ERROR, f"cannot execute the job: {exc}")


async def _run(
    command: list[str],
    job: Job,
    log: JournalLog,
    fields: Mapping[str, str],
    stopping: asyncio.Event,
    grace_s: float,
) -> Outcome | None:
    output = Stream(log, fields, keep=MAX_OUTPUT_BYTES)
    errors = Stream(log, fields, keep=MAX_ERROR_BYTES, keeps_end=True)
    (read_out, write_out), (read_err, write_err) = os.pipe(), os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_out,
            stderr=write_err,
            env=environment(job, fields),
            start_new_session=True,
        )
    except OSError:
        os.close(read_out)
        os.close(read_err)
        raise
    finally:
        os.close(write_out)
        os.close(write_err)
    reading = [asyncio.create_task(output.read(read_out)), asyncio.create_task(errors.read(read_err))]
    cause = await _await_end(process, job.timeout, stopping, grace_s)
    await _finish_reading(reading)
    if cause == "stopped" or (stopping.is_set() and process.returncode == -signal.SIGTERM):
        return None
    if cause == "overran":
        return Outcome(JobStatus.ERROR, _clip(f"timed out after {job.timeout} s; its processes were killed"))
    if process.returncode == 0:
        return Outcome(JobStatus.FINISHED, _clip(output.text()))
    return Outcome(JobStatus.ERROR, _clip(f"{_end_in_words(process.returncode or 0)}\n{errors.text()}".strip()))


async def _await_end(
    process: asyncio.subprocess.Process, timeout_s: float, stopping: asyncio.Event, grace_s: float
) -> str:
    """Wait for the end of a process, kill what is left of its group, and return why it ended."""
    waiting = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(_stop_and_grace(stopping, grace_s))
    try:
        await asyncio.wait({waiting, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return "ended"
        cause = "stopped" if stopped.done() else "overran"
        _signal_group(process.pid, signal.SIGTERM)
        await asyncio.wait({waiting}, timeout=KILL_GRACE_S)
        return cause
    finally:
        stopped.cancel()
        # While any process is in the group its number is not given out again.
        _signal_group(process.pid, signal.SIGKILL)
        await waiting


async def _stop_and_grace(stopping: asyncio.Event, grace_s: float) -> None:
    await stopping.wait()
    await asyncio.sleep(grace_s)


async def _finish_reading(reading: list[asyncio.Task[None]]) -> None:
    _, unfinished = await asyncio.wait(reading, timeout=OUTPUT_GRACE_S)
    for task in unfinished:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)


def environment(job: Job, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a job: the runner's, the job's own variables, and who the job is."""
    inherited = {name: value for name, value in os.environ.items() if name not in _PRIVATE}
    about = {"CALLER_ID": job.caller_id, "CONTEXT_ID": job.context_id}
    return {**inherited, **fields, **about, **job.env_vars}


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _end_in_words(returncode: int) -> str:
    if returncode > 0:
        return f"exit status {returncode}"
    return f"killed by signal {signal.Signals(-returncode).name}"


def _clip(text: str) -> str:
    """Keep a text within what a job's record may hold: replacing bytes that are no text has made it longer."""
    data = text.encode(errors="replace")
    return text if len(data) <= MAX_RESULT_BYTES else data[:MAX_RESULT_BYTES].decode(errors="ignore")
