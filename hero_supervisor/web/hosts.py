"""Which names a service answers to, and whose pages may open a WebSocket.

It answers to these names: where only this machine can connect, its own, and those of the settings.

A web page may have a name of its own that it lets resolve to 127.0.0.1 (DNS rebinding): then a browser lets it read our
answers, for to the browser we are that page's own server. The ``Host`` header has the name. Where other machines can
connect, all names are good unless the settings have some; an address is always good, for it cannot be made to mislead.
No browser connects to a unix socket.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse

from .peers import peer_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send


class KnownHostsOnly:
    """Refuses requests that name another host than this one."""

    def __init__(self, app: ASGIApp, names: Iterable[str] = (), *, is_loopback: bool = True) -> None:
        """Prepare.

        Args:
            app: Answers the others.
            names: Names of this service, besides ``localhost``.
            is_loopback: Whether of addresses only those of this machine are good.
        """
        self._app = app
        self._names = frozenset(name.lower() for name in names)
        self._is_loopback = is_loopback
        self._is_known = lru_cache(maxsize=16)(self._looks_known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        host = next((value for name, value in scope.get("headers", ()) if name == b"host"), b"localhost")
        if self._is_known(host) or scope["type"] == "lifespan" or peer_in(scope).is_local:
            await self._app(scope, receive, send)
            return
        known = ", ".join(["localhost", *sorted(self._names)])
        text = f"cannot serve host {host[:80].decode(errors='replace')!r}: served are {known}; see allowed_hosts\n"
        await PlainTextResponse(text, status_code=403)(scope, receive, send)

    def _looks_known(self, host: bytes) -> bool:
        name = _name_in(host)
        return name == "localhost" or name in self._names or _is_address(name, is_loopback=self._is_loopback)


class KnownOrigins:
    """Where pages may be from that open a WebSocket: from us, from the settings, or from this machine."""

    def __init__(self, origins: Iterable[str] = (), *, is_loopback: bool = True) -> None:
        """Args: the origins in the settings; and whether only this machine can connect."""
        self._origins = frozenset(origins)
        self._is_loopback = is_loopback

    def has(self, origin: bytes | None, host: bytes | None) -> bool:
        """Whether an ``Origin`` header names one of them; who sends none is no page. Compares it with ``Host``."""
        if origin is None or origin.decode(errors="replace") in self._origins:
            return True
        address = origin.partition(b"://")[2]
        name = _name_in(address)
        is_local = self._is_loopback and (name == "localhost" or _is_address(name, is_loopback=True))
        return bool(address) and (address == host or is_local)


def _name_in(host: bytes) -> str:
    """Return the name or address in a ``Host`` header, in lower case; '' when it has none."""
    try:
        return (urlsplit(b"//" + host).hostname or b"").decode()
    except ValueError:
        return ""


def _is_address(name: str, *, is_loopback: bool) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not is_loopback
