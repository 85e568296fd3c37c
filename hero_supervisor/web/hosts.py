"""Whom a service answers that only this machine can reach: those who call it by a name of this machine.

A web page may have a name of its own that it lets resolve to 127.0.0.1 (DNS rebinding): then a browser lets it read our
answers, for to the browser we are that page's own server. The ``Host`` header has the name.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class LocalHostsOnly:
    """Refuses requests that name another host than this machine."""

    def __init__(self, app: ASGIApp) -> None:
        """Args: what answers the others."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        host = next((value for name, value in scope.get("headers", ()) if name == b"host"), b"localhost")
        if is_local(host):
            await self._app(scope, receive, send)
        else:
            text = f"cannot serve host {host[:80].decode(errors='replace')!r}: only localhost is served\n"
            await PlainTextResponse(text, status_code=403)(scope, receive, send)


@lru_cache(maxsize=16)
def is_local(host: bytes) -> bool:
    """Whether a ``Host`` header names this machine, by ``localhost`` or an address."""
    try:
        name = urlsplit(b"//" + host).hostname
        return name == b"localhost" or ipaddress.ip_address((name or b"").decode()).is_loopback
    except ValueError:
        return False
