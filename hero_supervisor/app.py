"""The application around a supervisor: the HTTP server and the way from start to graceful end.

Sequence: open the listening socket (a taken port is known before anything starts), open the supervisor, serve, tell
systemd READY; on SIGTERM or SIGINT tell it STOPPING, let calls in flight end, close. Runners run on. On SIGHUP the
declared runners are read and applied again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import resource
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from .errors import AddressUnavailable, HeroError
from .notify import notify, watchdog_interval_s
from .web import MAX_BODY_BYTES, PING_S, PONG_S, http_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence

    from .runner import Runner
    from .supervisor import Supervisor

logger = logging.getLogger(__name__)

#: Seconds that calls in flight get to end when the service stops.
GRACE_S: Final = 2
#: Files that may be open: 4,096 streams of events, and plenty.
OPEN_FILES: Final = 16_384


class SupervisorApp:
    """Runs a supervisor as a service.

    ::

        app = SupervisorApp(supervisor)
        await app.start()
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        bind_address: str = "127.0.0.1",
        port: int = 3030,
        reload: Callable[[], Sequence[Runner]] | None = None,
    ) -> None:
        """Prepare; nothing is done before ``start``.

        Args:
            supervisor: What answers the calls; not opened yet.
            bind_address: IP address to listen on.
            port: TCP port to listen on.
            reload: Returns the runners that are declared now; called at SIGHUP. May raise ``InvalidInput``.
        """
        self._reload = reload
        self._supervisor = supervisor
        self._bind_address = bind_address
        self._port = port
        self._stopping = asyncio.Event()
        self._hangup = asyncio.Event()

    async def start(self) -> None:
        """Run until SIGTERM, SIGINT or ``stop``.

        Raises:
            AddressUnavailable: The address cannot be listened on.
            HeroError: What ``Supervisor.open`` raises.
        """
        allow_open_files()
        with contextlib.closing(listen(self._bind_address, self._port)) as sock, self._signals():
            notify("STATUS=connecting to systemd and Redis")
            async with (
                self._supervisor,
                self._serving(sock),
                # Without supervision the service is no use: it ends, and systemd starts it again.
                _beside(self._supervisor.supervise(), _feed_watchdog(), self._apply_at_hangup()),
            ):
                host, port = sock.getsockname()[:2]
                notify("READY=1", f"STATUS=listening on {host} port {port}")
                logger.info("listening on %s port %d", host, port)
                await self._stopping.wait()
                notify("STOPPING=1", "STATUS=stopping; runners run on")

    def stop(self) -> None:
        """Make ``start`` return."""
        self._stopping.set()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self._hangup.set}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    async def _apply_at_hangup(self) -> None:
        """Apply the declared runners again whenever SIGHUP comes. Faults in them are logged, and change nothing."""
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                operation = await self._supervisor.apply_runners(tuple(self._reload() if self._reload else ()))
                logger.info("configuration is read again; %d runners were changed", len(operation.outcomes))
            except HeroError as exc:
                logger.error("cannot apply the configuration, nothing is changed: %s", exc)  # noqa: TRY400  # foreseen
            notify("READY=1")

    @contextlib.asynccontextmanager
    async def _serving(self, sock: socket.socket) -> AsyncIterator[None]:
        config = uvicorn.Config(
            http_app(self._supervisor, is_loopback=ipaddress.ip_address(self._bind_address).is_loopback),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
            ws="websockets-sansio",
            ws_max_size=MAX_BODY_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PONG_S,
            ws_per_message_deflate=False,  # messages are small, and a compressor for each connection is not
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[sock]), name="http")
        # Should the server end by itself, the service ends: systemd starts it again.
        serving.add_done_callback(lambda _: self.stop())
        try:
            yield
        finally:
            self._supervisor.end_events()
            server.end()
            await serving


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, for the signals are ours, and quiet while nothing happens.

    It looks ten times a second whether it is to end, which is most of what an idle supervisor does: 0.15 % of a core.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Make ``serve`` return, at once."""
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # sets the time in the headers, which has seconds
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def allow_open_files() -> None:
    """Let this process open more files, as far as it may: a service gets 1,024, which are as many connections."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def listen(address: str, port: int) -> socket.socket:
    """Open a listening TCP socket.

    Raises:
        AddressUnavailable: The port is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
        sock.listen(2048)
    except OSError as exc:
        sock.close()
        raise AddressUnavailable(
            f"cannot listen on {address} port {port}: {exc.strerror}",
            hint=f"see who has it: ss -ltnp 'sport = :{port}'; or choose another with --port",
            port=port,
        ) from exc
    sock.setblocking(False)  # noqa: FBT003  # the standard library's signature
    return sock


@contextlib.asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do some work beside the block, at most until its end. When it fails, so does the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        yield
        for task in tasks:
            task.cancel()


async def _feed_watchdog() -> None:
    """Tell systemd that the event loop turns, as often as it asks."""
    interval_s = watchdog_interval_s()
    while interval_s is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)
