"""Carries out probes: ``Checker`` makes single tries, ``Prober`` repeats one and tells of changes.

::

    checker = Checker(run_command=engine.run_as_runner, key_exists=jobs.key_exists)
    await wait_healthy(runner.readiness_probe, checker, timeout_s=30)       # before it is called started
    prober = Prober(runner.liveness_probe, checker, on_change=changes.put_nowait)
    group.create_task(prober.run(), name=f"probe {runner.id}")              # until it is cancelled

**Three verdicts.** A try that could not be made (Redis is away, systemd does not answer or refuses) says nothing about
the runner and counts neither way. Otherwise one outage of ours would get every runner restarted.

**What a peer can do to us**: nothing, for longer than the probe's timeout. Of an answer over HTTP only the first line
counts. The rest is read for a moment, and thrown away, because many servers log an error when they cannot write it.

**Who answers.** To connect to a free port of this machine may succeed: when the kernel happens to choose it for our own
end as well, TCP connects the socket to itself. That counts as refused.

Commands run as the runner does, in a unit of their own, which is the engine's business. It is handed in, as is the look
into Redis. No process is started here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from .errors import HeroError, OperationTimeout, UnitFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from .definition.probe import HttpProbe, Probe, Target

logger = logging.getLogger(__name__)

#: Commands under way at once.
MAX_COMMANDS: Final = 8
#: Seconds for the end of a command to be reported, beside its timeout.
COMMAND_MARGIN_S: Final = 10.0
#: Most bytes of the first line of an HTTP answer.
MAX_LINE_BYTES: Final = 4096
#: Most bytes of the rest that are read, and the longest time for it, in seconds.
MAX_REST_BYTES: Final = 64 * 1024
REST_TIMEOUT_S: Final = 0.5
#: Most characters of a reason that come from the runner.
MAX_REASON_LENGTH: Final = 200

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")


class Verdict(StrEnum):
    """What one try says."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    #: The try could not be made.
    UNKNOWN = "unknown"


class Outcome(NamedTuple):
    """What came of one try."""

    verdict: Verdict
    #: Why it is not healthy, for people; empty when it is.
    reason: str = ""


class Health(NamedTuple):
    """What the tries of a probe say together."""

    #: None until there were enough tries of one kind.
    healthy: bool | None = None
    #: Why it is not healthy, from the last bad try; empty otherwise.
    reason: str = ""


#: Runs a program with arguments for at most so many seconds, then kills all of it. Returns its exit status and the last
#: line that it wrote. Raises OperationTimeout when it had to be killed, UnitFailed when it cannot be executed, and any
#: other HeroError when it could not be tried. A cancelled call leaves nothing running.
RunCommand = Callable[[tuple[str, ...], float], Awaitable[tuple[int, str]]]
#: Tells whether a Redis key exists. Raises Unavailable or PermissionDenied when Redis does not say. See ``JobClient``.
KeyExists = Callable[[str], Awaitable[bool]]

_HEALTHY: Final = Outcome(Verdict.HEALTHY)


class Checker:
    """Makes single tries. One is shared by all probers, so it bounds the commands under way at once."""

    def __init__(self, *, run_command: RunCommand, key_exists: KeyExists, max_commands: int = MAX_COMMANDS) -> None:
        """Args: what runs commands, what looks into Redis, and how many commands may run at once."""
        self._run_command = run_command
        self._key_exists = key_exists
        self._slots = asyncio.Semaphore(max_commands)

    async def check(self, probe: Probe) -> Outcome:
        """Try once. It takes at most the probe's timeout; a command's begins when it gets its turn.

        Args:
            probe: A valid probe.
        """
        try:
            return await self._try(probe)
        except (TimeoutError, OperationTimeout):
            return _unhealthy(f"no answer within {probe.timeout_s:g} s")
        except OSError as exc:
            return _unhealthy(_reason_of(exc))
        except UnitFailed as exc:
            return _unhealthy(exc.message)
        except HeroError as exc:
            logger.debug("%s", exc)
            return Outcome(Verdict.UNKNOWN, exc.message)

    async def _try(self, probe: Probe) -> Outcome:
        if probe.command:
            return await self._try_command(probe.command, probe.timeout_s)
        if probe.heartbeat:
            return await self._try_heartbeat(probe.heartbeat, probe.timeout_s)
        async with asyncio.timeout(probe.timeout_s) as deadline:
            if probe.http:
                return await _try_http(probe.http, deadline)
            if probe.tcp:
                async with _connected(probe.tcp.target):
                    return _HEALTHY
        raise AssertionError("a valid probe says what to try")

    async def _try_command(self, command: tuple[str, ...], timeout_s: float) -> Outcome:
        async with self._slots:
            try:
                async with asyncio.timeout(timeout_s + COMMAND_MARGIN_S):
                    exit_status, last_line = await self._run_command(command, timeout_s)
            except TimeoutError:
                return Outcome(Verdict.UNKNOWN, "the end of the command was not reported")
        if exit_status == 0:
            return _HEALTHY
        said = f": {last_line[:MAX_REASON_LENGTH]}" if last_line else ""
        return _unhealthy(f"exit status {exit_status}{said}")

    async def _try_heartbeat(self, key: str, timeout_s: float) -> Outcome:
        try:
            async with asyncio.timeout(timeout_s):
                is_there = await self._key_exists(key)
        except TimeoutError:
            return Outcome(Verdict.UNKNOWN, f"no answer of Redis within {timeout_s:g} s")
        return _HEALTHY if is_there else _unhealthy("no heartbeat")


class Threshold:
    """Counts tries: enough good ones in a row make it healthy, enough bad ones unhealthy. Pure.

    A try that could not be made does not interrupt a row.
    """

    def __init__(self, *, success: int, failure: int) -> None:
        """Args: how many good tries in a row are needed, and how many bad ones."""
        #: None until there were enough of one kind.
        self.healthy: bool | None = None
        self._needed = {True: success, False: failure}
        self._last: bool | None = None
        self._in_a_row = 0

    @classmethod
    def of(cls, probe: Probe) -> Threshold:
        """Make one with the numbers that a probe has."""
        return cls(success=probe.success_threshold, failure=probe.failure_threshold)

    def feed(self, verdict: Verdict) -> bool:
        """Count a try and return whether ``healthy`` has changed."""
        if verdict is Verdict.UNKNOWN:
            return False
        is_good = verdict is Verdict.HEALTHY
        self._in_a_row = self._in_a_row + 1 if is_good is self._last else 1
        self._last = is_good
        if self._in_a_row < self._needed[is_good] or is_good is self.healthy:
            return False
        self.healthy = is_good
        return True


class Prober:
    """Carries out one probe again and again. For a new run of what it watches, make a new one."""

    def __init__(self, probe: Probe, checker: Checker, on_change: Callable[[Health], None]) -> None:
        """Prepare; nothing is tried before ``run``.

        Args:
            probe: A valid probe.
            checker: Makes the tries.
            on_change: Called with every change, the first verdict included. It must not raise, nor wait.
        """
        #: What is known so far.
        self.health = Health()
        #: What came of the last try; None before the first.
        self.last: Outcome | None = None
        self._probe = probe
        self._checker = checker
        self._on_change = on_change

    async def run(self) -> NoReturn:
        """Try until cancelled. Cancelling it also ends a try under way."""
        threshold = Threshold.of(self._probe)
        async with aclosing(_outcomes(self._probe, self._checker)) as outcomes:
            async for outcome in outcomes:
                self.last = outcome
                if threshold.feed(outcome.verdict):
                    self.health = Health(threshold.healthy, outcome.reason)
                    self._on_change(self.health)
        raise AssertionError("tries do not end by themselves")


async def wait_healthy(probe: Probe, checker: Checker, *, timeout_s: float) -> None:
    """Try until a probe is healthy. Bad tries, however many, do not end the wait.

    Args:
        probe: A valid probe.
        checker: Makes the tries.
        timeout_s: Longest wait, in seconds, the probe's initial delay included.

    Raises:
        OperationTimeout: It was not healthy in time; the message has the reason of the last try.
    """
    threshold = Threshold.of(probe)
    reason = "there was no time to try"
    try:
        async with asyncio.timeout(timeout_s), aclosing(_outcomes(probe, checker)) as outcomes:
            async for outcome in outcomes:
                reason = outcome.reason or "not often enough in a row"
                threshold.feed(outcome.verdict)
                if threshold.healthy:
                    return
    except TimeoutError:
        text = f"cannot wait longer for a healthy probe: {reason}, after {timeout_s:g} s"
        raise OperationTimeout(text, reason=reason) from None


async def _outcomes(probe: Probe, checker: Checker) -> AsyncGenerator[Outcome, None]:
    """Try for ever, at the probe's pace."""
    now = asyncio.get_running_loop().time
    await asyncio.sleep(probe.initial_delay_s)
    while True:
        due = now() + probe.interval_s
        yield await checker.check(probe)
        await asyncio.sleep(max(0.0, due - now()))


async def _try_http(http: HttpProbe, deadline: asyncio.Timeout) -> Outcome:
    async with _connected(http.target) as (reader, writer):
        writer.write(_request(http))
        outcome = _judge(http, await _first_line(reader))
        deadline.reschedule(None)  # the verdict is there
        await _read_rest(reader)
        return outcome


def _request(http: HttpProbe) -> bytes:
    address, port = http.target.addresses[0], http.target.port
    host = f"[{address}]" if ":" in address else address
    lines = (
        f"GET {http.request_path} HTTP/1.1",
        f"Host: {host}:{port}",
        "User-Agent: hero-supervisor",
        "Accept: */*",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


async def _first_line(reader: asyncio.StreamReader) -> bytes:
    """Return the first line, or what there is of it: the beginning if it is too long, less if the peer hangs up."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as exc:
        return exc.partial
    except asyncio.LimitOverrunError:
        return await reader.read(MAX_LINE_BYTES)


def _judge(http: HttpProbe, line: bytes) -> Outcome:
    found = _STATUS_LINE.fullmatch(line)
    if not line:
        return _unhealthy("connection closed without an answer")
    if found is None:
        return _unhealthy(f"no HTTP, but {line[:40].decode('latin-1')!a}")
    status = int(found[1])
    return _HEALTHY if http.min_status <= status <= http.max_status else _unhealthy(f"HTTP {status}")


async def _read_rest(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):  # a timeout is one as well
        async with asyncio.timeout(REST_TIMEOUT_S):
            left = MAX_REST_BYTES
            while left > 0 and (chunk := await reader.read(left)):
                left -= len(chunk)


@asynccontextmanager
async def _connected(target: Target) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to the first address that accepts; raises what the last one said."""
    reader, writer = await _connect(target)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # nothing that is still unsent matters


async def _connect(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    *others, last = target.addresses
    for address in others:
        with contextlib.suppress(OSError):
            return await _connect_to(address, target.port)
    return await _connect_to(last, target.port)


async def _connect_to(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(address, port, limit=MAX_LINE_BYTES)
    if _is_self_connected(writer):
        writer.transport.abort()
        raise ConnectionRefusedError("connection refused")
    return reader, writer


def _is_self_connected(writer: asyncio.StreamWriter) -> bool:
    return bool(writer.get_extra_info("sockname") == writer.get_extra_info("peername"))


def _unhealthy(reason: str) -> Outcome:
    return Outcome(Verdict.UNHEALTHY, reason)


def _reason_of(error: OSError) -> str:
    return (os.strerror(error.errno) if error.errno else str(error)).lower()
