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
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from .errors import AddressUnavailable, HeroError
from .notify import notify, watchdog_interval_s
from .rpc import Dispatcher, discovery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence

    from starlette.requests import Request

    from .records import Health
    from .runner import Runner
    from .supervisor import Supervisor

logger = logging.getLogger(__name__)

#: Largest request body. A payload of 1 MiB may take six times as much when JSON escapes every character.
MAX_BODY_BYTES: Final = 8 * 1024 * 1024
#: Seconds that calls in flight get to end when the service stops.
GRACE_S: Final = 2
_JSON: Final = ("application/json", "application/json-rpc")


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
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[sock]), name="http")
        # Should the server end by itself, the service ends: systemd starts it again.
        serving.add_done_callback(lambda _: self.stop())
        try:
            yield
        finally:
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


def http_app(supervisor: Supervisor, *, is_loopback: bool) -> Starlette:
    """Return the ASGI application: JSON-RPC by POST at ``/`` and ``/rpc``, its description at ``/openrpc.json``.

    ``/healthz`` answers as long as the service does; ``/readyz`` says whether systemd and Redis do, by 200 or 503.

    Args:
        supervisor: Answers the calls.
        is_loopback: Whether only this machine can connect. Then only its own names are accepted in ``Host``, so
            that a web page cannot reach us by a name of its own that it lets resolve to 127.0.0.1.
    """
    dispatcher = Dispatcher(supervisor)

    def refusal(request: Request) -> Response | None:
        if is_loopback and not _is_local_name(request.url.hostname):
            return _plain(403, f"cannot serve host {request.url.hostname!r}: only localhost is served")
        return None

    async def describe(request: Request) -> Response:
        return refusal(request) or _description(request.headers.get("if-none-match", ""))

    async def live(request: Request) -> Response:
        return refusal(request) or _plain(200, "ok")

    async def ready(request: Request) -> Response:
        return refusal(request) or _readiness(await supervisor.get_health())

    async def rpc(request: Request) -> Response:
        if refused := refusal(request):
            return refused
        # Asking for JSON makes a browser ask us first, so a foreign web page cannot send us calls.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _JSON:
            return _plain(415, "cannot read this content type: send application/json")
        answer = await dispatcher.answer(await request.body(), secret=_bearer(request))
        return Response(status_code=204) if answer is None else Response(answer, media_type="application/json")

    routes = [Route(path, rpc, methods=["POST"]) for path in ("/", "/rpc")]
    looks = {"/openrpc.json": describe, "/healthz": live, "/readyz": ready}
    routes += [Route(path, endpoint, methods=["GET"]) for path, endpoint in looks.items()]
    return Starlette(routes=routes, max_body_size=MAX_BODY_BYTES)


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


def _is_local_name(host: str | None) -> bool:
    if host is None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _description(known: str) -> Response:
    """Return the OpenRPC document, or that it has not changed since the caller got one of these tags."""
    body, etag = discovery()
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in known or known.strip() == "*":
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _readiness(health: Health) -> Response:
    body = msgspec.json.encode(health)
    return Response(body, status_code=200 if health.is_ready else 503, media_type="application/json")


def _plain(status: int, text: str) -> Response:
    return Response(f"{text}\n", status_code=status, media_type="text/plain")
