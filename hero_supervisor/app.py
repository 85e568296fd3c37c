"""The application around a supervisor: the HTTP server and the way from start to graceful end.

Sequence: open the listening sockets (a taken port is known before anything starts), open the supervisor, serve, tell
systemd READY; on SIGTERM or SIGINT tell it STOPPING, let calls in flight end, close. Runners run on. On SIGHUP the
declared runners are read and applied again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import resource
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from .errors import AddressUnavailable, Fault, HeroError, InvalidSettings
from .notify import notify, watchdog_interval_s
from .rpc import Access
from .web import MAX_BODY_BYTES, PING_S, PONG_S, TlsFiles, http_app
from .web.local_socket import group_id, local_socket
from .web.peers import PeerProtocol
from .web.tls import tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
    from pathlib import Path

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
        socket_path: Path | None = None,
        tls: TlsFiles | None = None,
        allowed_hosts: Sequence[str] = (),
        cors_origins: Sequence[str] = (),
        reload: Callable[[], Sequence[Runner]] | None = None,
    ) -> None:
        """Prepare; nothing is done before ``start``.

        Args:
            supervisor: What answers the calls; not opened yet.
            bind_address: IP address to listen on.
            port: TCP port to listen on.
            socket_path: Unix socket to listen on as well.
            tls: Certificate and key for TLS over TCP.
            allowed_hosts: Further names that are accepted in ``Host``.
            cors_origins: Origins whose pages may call.
            reload: Returns the runners that are declared now; called at SIGHUP. May raise ``InvalidInput``.
        """
        self._reload = reload
        self._supervisor = supervisor
        self._bind_address = bind_address
        self._port = port
        self._socket_path = socket_path
        self._tls = tls
        self._allowed_hosts = allowed_hosts
        self._cors_origins = cors_origins
        self._stopping = asyncio.Event()
        self._hangup = asyncio.Event()

    async def start(self) -> None:
        """Run until SIGTERM, SIGINT or ``stop``.

        Raises:
            AddressUnavailable: The address or the socket cannot be listened on.
            InvalidSettings: Other machines could connect, and there is no secret; or files for TLS are no good.
            HeroError: What ``Supervisor.open`` raises.
        """
        allow_open_files()
        self._check_reach()
        tls = tls_context(self._tls) if self._tls else None
        with self._sockets() as (sock, local), self._signals():
            notify("STATUS=connecting to systemd and Redis")
            async with (
                self._supervisor,
                self._serving(sock, local, tls),
                # Without supervision the service is no use: it ends, and systemd starts it again.
                _beside(self._supervisor.supervise(), _feed_watchdog(), self._apply_at_hangup()),
            ):
                host, port = sock.getsockname()[:2]
                notify("READY=1", f"STATUS=listening on {host} port {port}")
                logger.info("listening on %s port %d", host, port)
                await self._stopping.wait()
                notify("STOPPING=1", "STATUS=stopping; runners run on")

    @property
    def _is_loopback(self) -> bool:
        return ipaddress.ip_address(self._bind_address).is_loopback

    def _check_reach(self) -> None:
        """Raise ``InvalidSettings`` when other machines can connect, and nobody could show a secret to do anything."""
        self._supervisor.keys.load()
        if self._is_loopback or self._supervisor.secrets.admin or self._supervisor.keys.listed():
            return
        text = "is reachable from other machines, which needs admin_secrets, or a key"
        hint = "make a key while it listens on 127.0.0.1 only: herosup key create NAME --scope admin"
        raise InvalidSettings([Fault("bind_address", text)], hint=hint)

    @contextlib.contextmanager
    def _sockets(self) -> Iterator[tuple[socket.socket, socket.socket | None]]:
        """Open the socket for TCP, and the unix socket if there is to be one."""
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(contextlib.closing(listen(self._bind_address, self._port)))
            local = None
            if self._socket_path is not None:
                local = stack.enter_context(local_socket(self._socket_path, gid=self._admin_gid))
                logger.info("listening on %s", self._socket_path)
            yield sock, local

    @property
    def _admin_gid(self) -> int | None:
        # In a user's manager everything is that user's.
        return group_id() if os.geteuid() == 0 else None

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
    async def _serving(
        self, sock: socket.socket, local: socket.socket | None, tls: ssl.SSLContext | None
    ) -> AsyncIterator[None]:
        app = http_app(
            self._supervisor,
            is_loopback=self._is_loopback,
            access=Access.to(self._supervisor, admin_gid=self._admin_gid),
            allowed_hosts=self._allowed_hosts,
            cors_origins=self._cors_origins,
        )
        config = uvicorn.Config(
            app,
            http=PeerProtocol,
            # What a caller says in X-Forwarded-For is no reason to count its failures against another.
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
            ws=_web_socket,  # type: ignore[arg-type]  # it is called only
            ws_max_size=MAX_BODY_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PONG_S,
            ws_per_message_deflate=False,  # messages are small, and a compressor for each connection is not
        )
        config.load()
        config.ssl = tls  # made already, so that faults in its files are told of before anything starts
        server = _Server(config, local)
        serving = asyncio.create_task(server.serve(sockets=[sock]), name="http")
        # Should the server end by itself, the service ends: systemd starts it again.
        serving.add_done_callback(lambda _: self.stop())
        try:
            yield
        finally:
            self._supervisor.end_events()
            server.end()
            await serving


def _web_socket(**options: Any) -> asyncio.Protocol:
    """Return uvicorn's protocol for one WebSocket. Where nobody opens one, the library need not take its memory."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    return WebSocketsSansIOProtocol(**options)


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, for the signals are ours, and quiet while nothing happens.

    It looks ten times a second whether it is to end, which is most of what an idle supervisor does: 0.15 % of a core.
    """

    def __init__(self, config: uvicorn.Config, local: socket.socket | None = None) -> None:
        """Args: the configuration; and a unix socket, which is listening."""
        super().__init__(config)
        self._local = local
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Make ``serve`` return, at once."""
        self.should_exit = True
        self._ended.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve; on the unix socket without TLS, which uvicorn has for all of its sockets or none."""
        await super().startup(sockets=sockets)
        if self._local is not None:
            loop = asyncio.get_running_loop()
            self.servers.append(await loop.create_unix_server(self._protocol, sock=self._local))

    def _protocol(self) -> asyncio.Protocol:
        protocol = self.config.http_protocol_class
        state = self.lifespan.state
        return protocol(config=self.config, server_state=self.server_state, app_state=state)  # type: ignore[call-arg]

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
