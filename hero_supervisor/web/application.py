"""The ASGI application: which path is what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from hero_supervisor.rpc import Dispatcher, discovery

from .events_endpoint import EventsEndpoint
from .hosts import LocalHostsOnly
from .rpc_endpoint import RpcEndpoint
from .socket_endpoint import SocketEndpoint

if TYPE_CHECKING:
    from starlette.requests import Request

    from hero_supervisor.supervisor import Supervisor

#: Largest request body. A payload of 1 MiB may take six times as much when JSON escapes every character.
MAX_BODY_BYTES: Final = 8 * 1024 * 1024


def http_app(supervisor: Supervisor, *, is_loopback: bool) -> Starlette:
    """Return the ASGI application: JSON-RPC by POST at ``/`` and ``/rpc``, its description at ``/openrpc.json``.

    Events are at ``/events``, and with JSON-RPC over WebSocket at ``/ws``.
    ``/healthz`` answers as long as the service does; ``/readyz`` says whether systemd and Redis do, by 200 or 503.

    Args:
        supervisor: Answers the calls.
        is_loopback: Whether only this machine can connect. Then only its own names are accepted in ``Host``.
    """

    async def ready(_: Request) -> Response:
        health = await supervisor.get_health()
        status = 200 if health.is_ready else 503
        return Response(msgspec.json.encode(health), status_code=status, media_type="application/json")

    dispatcher = Dispatcher(supervisor)
    rpc = RpcEndpoint(dispatcher)
    posts = [Route(path, rpc, methods=["POST"]) for path in ("/", "/rpc")]
    looks = {"/openrpc.json": _describe, "/healthz": _live, "/readyz": ready}
    gets = [Route(path, endpoint, methods=["GET"]) for path, endpoint in looks.items()]
    follows = [
        Route("/events", EventsEndpoint(supervisor)),
        WebSocketRoute("/ws", SocketEndpoint(supervisor, dispatcher, is_loopback=is_loopback)),
    ]
    guards = [Middleware(LocalHostsOnly)] if is_loopback else []
    return Starlette(routes=[*posts, *gets, *follows], middleware=guards, max_body_size=MAX_BODY_BYTES)


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
