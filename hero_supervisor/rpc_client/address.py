"""Where a service is: a URL, taken apart and checked."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from hero_supervisor.errors import Fault, InvalidInput

DEFAULT_URL: Final = "http://127.0.0.1:3030"

_PORTS: Final = {"http": 80, "https": 443}


class Address(NamedTuple):
    """Where a service listens: on a host and port, or on a Unix socket."""

    #: '' for a Unix socket.
    host: str
    port: int
    #: What of the URL is sent in the request.
    path: str
    is_tls: bool = False
    #: Path of the Unix socket.
    socket: str = ""

    @property
    def authority(self) -> str:
        """What stands in the ``Host`` header."""
        if self.socket:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        if self.socket:
            return f"unix:{self.socket}"
        return f"http{'s' if self.is_tls else ''}://{self.authority}{self.path}"


def address_in(url: str) -> Address:
    """Read ``http://HOST[:PORT][/PATH]``, the same with ``https``, or ``unix:/PATH``.

    Raises:
        InvalidInput: It is none of these.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _invalid("must be printable ASCII without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise _invalid(str(exc)) from exc
    # A password would be shown in every message that names the URL; a query has no meaning here.
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise _invalid("must have neither user, query nor fragment")
    if parts.scheme == "unix":
        return _socket_in(parts)
    if parts.scheme not in _PORTS or not host:
        raise _invalid("must begin with http:// or https:// and a host, or be unix: and a path")
    usual = _PORTS[parts.scheme]
    return Address(host, usual if port is None else port, parts.path or "/", parts.scheme == "https")


def _socket_in(parts: SplitResult) -> Address:
    if parts.netloc or not parts.path.startswith("/"):
        raise _invalid("must have the absolute path of a socket after unix:")
    return Address("", 0, "/", socket=unquote(parts.path))


def _invalid(message: str) -> InvalidInput:
    return InvalidInput([Fault("url", message)], hint=f"like {DEFAULT_URL}")
