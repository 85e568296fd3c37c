"""The ASGI application: which path is what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from hero_supervisor.rpc import Access, Dispatcher, discovery

from .events_endpoint import EventsEndpoint
from .hosts import KnownHostsOnly, KnownOrigins
from .metrics_endpoint import MetricsEndpoint
from .rpc_endpoint import RpcEndpoint
from .socket_endpoint import SocketEndpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from hero_supervisor.supervisor import Supervisor

_RPC_PATHS: Final = ("/", "/rpc")


def http_app(
    supervisor: Supervisor,
    *,
    is_loopback: bool,
    access: Access | None = None,
    allowed_hosts: Sequence[str] = (),
    cors_origins: Sequence[str] = (),
) -> ASGIApp:
    """Return the ASGI application: JSON-RPC by POST at ``/`` and ``/rpc``, its description at ``/openrpc.json``.

    Events are at ``/events``, and with JSON-RPC over WebSocket at ``/ws``. ``/metrics`` has numbers for Prometheus.
    ``/healthz`` answers as long as the service does; ``/readyz`` says whether systemd and Redis do, by 200 or 503.

    Args:
        supervisor: Answers the calls.
        is_loopback: Whether only this machine can connect. Then only its own names are accepted in ``Host``.
        access: Who may call; as the supervisor is set up when not given.
        allowed_hosts: Further names that are accepted in ``Host``.
        cors_origins: Origins whose pages may call.
    """

    async def ready(_: Request) -> Response:
        health = await supervisor.get_health()
        status = 200 if health.is_ready else 503
        return Response(msgspec.json.encode(health), status_code=status, media_type="application/json")

    access = access or Access.to(supervisor)
    origins = KnownOrigins(cors_origins, is_loopback=is_loopback)
    dispatcher = Dispatcher(supervisor, access)
    rpc = RpcEndpoint(dispatcher, access)
    metrics = MetricsEndpoint(supervisor, access, dispatcher.tally).answer
    posts = [Route(path, rpc, methods=["POST"]) for path in _RPC_PATHS]
    looks = {"/openrpc.json": _describe, "/healthz": _live, "/readyz": ready, "/metrics": metrics}
    gets = [Route(path, endpoint, methods=["GET"]) for path, endpoint in looks.items()]
    follows = [
        Route("/events", EventsEndpoint(supervisor, access)),
        WebSocketRoute("/ws", SocketEndpoint(supervisor, access, dispatcher, origins)),
    ]
    application = _calls_first(rpc, Starlette(routes=[*posts, *gets, *follows]))
    if cors_origins:
        # Credentials are keys in a header that a page sets itself: no cookies.
        headers = ["Authorization", "Content-Type"]
        application = CORSMiddleware(application, cors_origins, allow_methods=["GET", "POST"], allow_headers=headers)
    if not is_loopback and not allowed_hosts:
        return application
    return KnownHostsOnly(application, allowed_hosts, is_loopback=is_loopback)


def _calls_first(rpc: ASGIApp, others: ASGIApp) -> ASGIApp:
    """Answer calls before routes are looked at and middleware is entered, which takes as long as a small call."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        is_call = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in _RPC_PATHS
        await (rpc if is_call else others)(scope, receive, send)

    return application


async def _live(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _describe(request: Request) -> Response:
    """Return the OpenRPC document, or that it has not changed since the caller got it."""
    body, etag = await asyncio.to_thread(discovery)  # the first time it takes a while
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    known = request.headers.get("if-none-match", "")
    if etag in known or known.strip() == "*":
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
