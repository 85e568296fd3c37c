"""One Redis server: its address, how we connect to it, and what its failures mean.

Three kinds of connection, because each breaks the others if they share (measured with redis-py 8.1):

- *commands*: a bounded pool. Retries are off: the library repeats a command after a timeout, and a repeated push is
  a job that runs twice. Our scripts may be repeated, and it is their caller who decides that.
- *blocking*: its own single connection, whose read timeout is longer than the block. In a shared pool a few blocked
  runners starve everybody else.
- *tracking*: a connection that Redis tells of every change to the keys of a prefix (CLIENT TRACKING).

Deadlines are ours, one for the whole of a call (``RedisServer.call``). The library's read timeout goes through
``asyncio.wait_for``, which before Python 3.12 swallows a cancellation that comes as the sending ends: a cancelled
task would go on for ever. It also bounds each step, so that a call may take four times as long as it says.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hero_supervisor.errors import CorruptRecord, Fault, HeroError, InvalidSettings, PermissionDenied, RedisUnavailable

from .sentinel import SentinelAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

#: Default of ``RedisServer.timeout_s``.
TIMEOUT_S: Final = 5.0
#: Connections for commands. Redis does one thing at a time, so more would only queue there.
MAX_CONNECTIONS: Final = 16
#: The channel on which Redis announces changed keys. Source: redis.io, "Client-side caching", RESP2 mode.
INVALIDATIONS: Final = "__redis__:invalidate"

#: Options that a URL may carry; others of the library would undo what this file decides.
_URL_OPTIONS: Final = frozenset({
    *("db", "username", "password", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"),
    *("ssl_cert_reqs", "ssl_check_hostname"),
})  # fmt: skip
_FORM: Final = (
    "must look like redis://[user:password@]host[:port][/db], rediss://…, unix:///path/of/socket[?db=n] "
    "or redis+sentinel://host[:port],host[:port]/service[/db]"
)
_DENIED: Final = re.compile("NOAUTH|WRONGPASS|NOPERM")


@dataclass(frozen=True, slots=True)
class RedisServer:
    """One Redis server, not connected to."""

    #: Host and port, or the path of the socket: what messages call it. Never has the password.
    address: str
    _options: Mapping[str, Any] = field(repr=False)
    _sentinels: SentinelAddress | None = None
    #: Longest time of a call, from waiting for a free connection to its answer, in seconds.
    timeout_s: float = TIMEOUT_S
    #: How many calls failed, by the kind of the error.
    failures: Counter[str] = field(default_factory=Counter, repr=False, compare=False)

    @classmethod
    def at(cls, url: str) -> Self:
        """Return the server of a URL.

        Args:
            url: ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://`` (``sentinel.py``); what is special
                in a URL is percent-encoded.

        Raises:
            InvalidSettings: This is no such URL. The message repeats nothing of it: it may have a password.
        """
        try:
            sentinels, plain = SentinelAddress.split(url) or (None, url)
        except ValueError as exc:
            raise InvalidSettings([Fault("redis_url", str(exc))]) from None
        if fault := _url_fault(plain):
            raise InvalidSettings([Fault("redis_url", fault)])
        options = dict(parse_url(plain))
        address = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        return cls(str(sentinels or address), options, sentinels)

    def commands(self) -> Redis:
        """Return a client for commands that answer at once; close it with ``aclose``."""
        return self._client(max_connections=MAX_CONNECTIONS)

    def blocking(self) -> Redis:
        """Return a client for one blocking command at a time."""
        return self._client(max_connections=1)

    def tracking(self, *prefixes: str) -> Redis:
        """Return a client that a subscription to ``INVALIDATIONS`` tells of changed keys.

        Args:
            prefixes: What the names of the keys begin with; none of them begins with another one.
        """
        words = [word for prefix in prefixes for word in ("PREFIX", prefix)]

        async def track(connection: Connection) -> None:
            # Redis may redirect a connection's invalidations to itself. So what is tracked and who is told live
            # and die together; with two connections, losing one would leave the other silently deaf.
            await connection.on_connect()
            await connection.send_command("CLIENT", "ID")
            own_id = await connection.read_response()
            await connection.send_command("CLIENT", "TRACKING", "ON", "REDIRECT", own_id, "BCAST", *words)
            await connection.read_response()

        return self._client(max_connections=1, redis_connect_func=track)

    @asynccontextmanager
    async def call(self, *, block_s: float = 0.0) -> AsyncIterator[None]:
        """Bound a call and translate its errors.

        When its time has passed, the connection is dropped; the server may have done what it was asked.

        Args:
            block_s: Seconds that the server itself may wait before it answers, in addition to ``timeout_s``.

        Raises:
            RedisUnavailable, PermissionDenied, CorruptRecord: See ``errors``.
        """
        with self.errors():
            try:
                async with asyncio.timeout(self.timeout_s + block_s):
                    yield
            except TimeoutError as exc:
                text = f"cannot use Redis at {self.address}: no answer in {self.timeout_s + block_s:g} s"
                raise self._counted(RedisUnavailable(text, address=self.address)) from exc

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate the library's errors into ours.

        Raises:
            RedisUnavailable: It cannot be reached, does not answer in time, or refuses for the time being.
            PermissionDenied: The credentials are missing, wrong, or not sufficient.
            CorruptRecord: A key has another type than it should.
        """
        try:
            yield
        except redis_errors.DataError:
            raise  # our own fault: we sent what Redis has no form for
        except (redis_errors.RedisError, ConnectionError) as exc:
            raise self._counted(self._translate(exc)) from exc

    def _counted(self, error: HeroError) -> HeroError:
        self.failures[error.kind] += 1
        return error

    def _translate(self, exc: BaseException) -> HeroError:
        while isinstance(exc.__cause__, redis_errors.RedisError):
            exc = exc.__cause__  # over a unix socket, a refused password comes wrapped as a lost connection
        text = f"cannot use Redis at {self.address}: {exc or type(exc).__name__}"
        denied = (redis_errors.AuthenticationError, redis_errors.AuthorizationError, redis_errors.NoPermissionError)
        if isinstance(exc, denied) or _DENIED.search(str(exc)):
            return PermissionDenied(text, address=self.address)
        if "WRONGTYPE" in str(exc):
            return CorruptRecord(text, address=self.address)
        # LOADING, READONLY, OOM, MISCONF, BUSY, too many clients: it may do later what it refuses now.
        return RedisUnavailable(text, address=self.address)

    def _client(self, **options: Any) -> Redis:
        defaults: dict[str, Any] = {
            "timeout": self.timeout_s,
            "socket_timeout": None,
            "socket_connect_timeout": self.timeout_s,
            "retry": Retry(NoBackoff(), 0),
            # RESP3 would cost a greeting and change replies; nothing here needs it.
            "protocol": 2,
        }
        together = {**self._options, **defaults, **options}
        if self._sentinels is None:
            return Redis.from_pool(BlockingConnectionPool(**together))
        return Redis.from_pool(self._sentinels.pool(together))


async def close(*clients: Redis) -> None:
    """Close clients, to the end also when it is cancelled meanwhile: else their connections would stay open."""
    closing = asyncio.gather(*(client.aclose() for client in clients))
    try:
        await asyncio.shield(closing)
    finally:
        await closing


def _url_fault(url: str) -> str | None:
    """Say what is wrong with a URL, without quoting it; the library guesses where it should refuse."""
    try:
        parts, options = urlsplit(url), parse_url(url)
    except ValueError:
        return _FORM
    rest = f"{parts.path}?{parts.query}#{parts.fragment}"
    if parts.scheme != "unix" and "@" in rest:
        return "has a user or password with one of / ? # in it, which must be percent-encoded"
    if parts.scheme == "unix" and (parts.hostname or parts.path in {"", "/"}):
        return "must have an absolute path: unix:///path/of/socket"
    if parts.scheme != "unix" and not re.fullmatch("/?|/[0-9]+", parts.path):
        return "must have the number of a database, or nothing, as its path"
    unknown = options.keys() - _URL_OPTIONS - {"path", "host", "port", "connection_class"}
    if parts.scheme != "rediss":
        unknown |= {name for name in options if name.startswith("ssl_")}
    if parts.fragment or unknown:
        return f"may have these options and no others: {', '.join(sorted(_URL_OPTIONS))}; ssl_… with rediss:// only"
    return None
