"""A probe as data: how to find out whether a runner is well, how often, and what makes it valid.

Exactly one field says what is tried; the others say when. In TOML::

    probe = {http = {port = 8080, path = "/health"}, interval_s = 10}
    probe = {tcp = {port = 5432}}
    probe = {command = ["/usr/bin/pg_isready", "-q"], timeout_s = 5}
    probe = {heartbeat = "app:alive"}

Rejected: a ``kind`` with the fields of all kinds side by side. It needs as many rules as there are kinds to say which
fields go together, and each of them would be a fault with a path that is not the one to correct.

**Only loopback.** ``tcp`` and ``http`` are tried from within the supervisor, which may reach networks that its clients
may not. So they go to this machine, by an address or by the name ``localhost``, which is not looked up.

Carrying out probes is the business of ``probing.py``.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, Self

import msgspec
from msgspec import Meta

from hero_supervisor import schema
from hero_supervisor.errors import Fault, InvalidProbe

from .command import command_faults

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What ``localhost`` stands for, in the order in which they are tried.
LOCALHOST: Final = ("127.0.0.1", "::1")
#: Most bytes of a URL, of a path with its query, and of a Redis key.
MAX_TEXT_BYTES: Final = 1024

MAX_PORT: Final = 65_535

#: What can stand in the first line of a request as it is.
_PATH: Final = r"/[!-\"$-~]*"
_URL: Final = re.compile(
    rf"http://(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<host>[a-z0-9.-]+))(?::(?P<port>[0-9]{{1,5}}))?(?P<path>{_PATH})?"
)
_ONLY_LOOPBACK: Final = "must be a loopback address or 'localhost': probes do not leave this machine"

Port = Annotated[int, Meta(ge=1, le=MAX_PORT, description="TCP port, from 1 to 65535.")]
HttpStatus = Annotated[int, Meta(ge=100, le=599, description="HTTP status, from 100 to 599.")]
Count = Annotated[int, Meta(ge=1, le=100, description="A number, from 1 to 100.")]
Interval = Annotated[float, Meta(ge=0.1, le=3600, description="Seconds, from 0.1 to 3600.")]
Timeout = Annotated[float, Meta(ge=0.1, le=60, description="Seconds, from 0.1 to 60.")]
Delay = Annotated[float, Meta(ge=0, le=3600, description="Seconds, from 0 to 3600.")]


class Target(NamedTuple):
    """Where a connection goes: addresses to try in turn, and a port."""

    addresses: tuple[str, ...]
    port: int


class TcpProbe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Well when a connection is accepted."""

    port: Port
    #: A loopback address, or ``localhost``.
    host: str = "127.0.0.1"

    @property
    def target(self) -> Target:
        """Where to connect to."""
        return Target(_addresses(self.host), self.port)


class HttpProbe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Well when GET is answered with one of the expected statuses. Redirects are not followed.

    Either ``url``, or ``port`` with the others, says what to get.
    """

    #: ``http://HOST:PORT/PATH``; the host is a loopback address or ``localhost``.
    url: str | None = None
    #: Or these instead.
    port: Port | None = None
    host: str = "127.0.0.1"
    #: What to ask for; it may have a query.
    path: str = "/"
    #: The expected statuses: from this one to that one.
    min_status: HttpStatus = 200
    max_status: HttpStatus = 399

    @property
    def target(self) -> Target:
        """Where to connect to."""
        url = _URL.fullmatch(self.url or "")
        if url is None:
            return Target(_addresses(self.host), self.port or 0)
        return Target(_addresses(url["v6"] or url["host"]), int(url["port"] or 80))

    @property
    def request_path(self) -> str:
        """What to ask for."""
        url = _URL.fullmatch(self.url or "")
        return self.path if url is None else url["path"] or "/"


class Probe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to find out whether something is well. Exactly one of the first four fields is given."""

    #: Connect to a port.
    tcp: TcpProbe | None = None
    #: Send an HTTP request.
    http: HttpProbe | None = None
    #: Run a program; well when its exit status is 0. It runs as the runner does: same user, same sandbox.
    command: tuple[str, ...] = ()
    #: Look for a Redis key that the runner sets again and again, with an expiry; well while it exists.
    heartbeat: Annotated[str, Meta(min_length=1)] | None = None
    #: From the begin of one try to the begin of the next; one that takes longer is followed by the next at once.
    interval_s: Interval = 5.0
    #: Longest time for one try.
    timeout_s: Timeout = 2.0
    #: How many good tries in a row make it healthy, and how many bad ones unhealthy.
    success_threshold: Count = 1
    failure_threshold: Count = 3
    #: Pause before the first try.
    initial_delay_s: Delay = 0.0

    @classmethod
    def from_data(cls, data: object) -> Self:
        """Build a probe from decoded JSON or TOML.

        Raises:
            InvalidProbe: With the path of every fault.
        """
        return schema.convert(data, cls, error=InvalidProbe, rules=faults_in)

    def checked(self) -> Self:
        """Return this probe, built in code, if it is valid.

        Raises:
            InvalidProbe: With the path of every fault.
        """
        return self.from_data(msgspec.to_builtins(self))


def faults_in(probe: Probe) -> Iterable[Fault]:
    """Yield what is wrong with a probe whose types are right."""
    if sum(map(bool, (probe.tcp, probe.http, probe.command, probe.heartbeat))) != 1:
        yield Fault("tcp", "exactly one of tcp, http, command and heartbeat is needed")
    if probe.tcp and not _is_loopback(probe.tcp.host):
        yield Fault("tcp.host", _ONLY_LOOPBACK)
    if probe.http:
        yield from _http_faults(probe.http)
    if probe.command:
        yield from command_faults("command", probe.command)
    if probe.heartbeat:
        yield from _key_faults(probe.heartbeat)


def _http_faults(http: HttpProbe) -> Iterable[Fault]:
    if (http.url is None) == (http.port is None):
        yield Fault("http.port", "exactly one of port and url is needed")
    if http.url is not None:
        yield from _url_faults(http.url)
        if (http.host, http.path) != ("127.0.0.1", "/"):
            yield Fault("http.url", "already says the host and the path")
    if not _is_loopback(http.host):
        yield Fault("http.host", _ONLY_LOOPBACK)
    yield from _path_faults(http.path)
    if http.min_status > http.max_status:
        yield Fault("http.min_status", "must not be more than max_status")


def _url_faults(text: str) -> Iterable[Fault]:
    url = _URL.fullmatch(text)
    if url is None:
        hint = "; TLS is not supported" if text.startswith("https:") else ""
        yield Fault("http.url", f"must be http://HOST:PORT/PATH in printable ASCII, without user and fragment{hint}")
        return
    if not _is_loopback(url["v6"] or url["host"]):
        yield Fault("http.url", f"its host {_ONLY_LOOPBACK}")
    if not 1 <= int(url["port"] or 80) <= MAX_PORT:
        yield Fault("http.url", f"its port must be from 1 to {MAX_PORT}")
    if len(text) > MAX_TEXT_BYTES:
        yield Fault("http.url", f"must be at most {MAX_TEXT_BYTES} bytes")


def _path_faults(path: str) -> Iterable[Fault]:
    if not re.fullmatch(_PATH, path):
        yield Fault("http.path", "must begin with '/' and be printable ASCII, without '#'; others are written as %XX")
    if len(path) > MAX_TEXT_BYTES:
        yield Fault("http.path", f"must be at most {MAX_TEXT_BYTES} bytes")


def _key_faults(key: str) -> Iterable[Fault]:
    yield from schema.text_faults("heartbeat", key)
    if len(key.encode(errors="replace")) > MAX_TEXT_BYTES:
        yield Fault("heartbeat", f"must be at most {MAX_TEXT_BYTES} bytes")


def _addresses(host: str) -> tuple[str, ...]:
    return LOCALHOST if host == "localhost" else (host,)


def _is_loopback(host: str) -> bool:
    try:
        # A zone (::1%lo) says nothing here, and could not stand in a request.
        return host == "localhost" or ("%" not in host and ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False
