"""Redis with Sentinel: finding the server that is the primary now, again and again.

``redis+sentinel://[user:password@]host:port,host:port,…/SERVICE[/DATABASE]``, with ``rediss+sentinel`` for TLS to the
servers. The port is 26379 if not given. Credentials are the servers'; the sentinels are asked without any.

Each new connection asks the sentinels for the primary. A primary that became a replica refuses writes, which ends the
connection; one that is gone ends it anyway. So a failover costs the calls that were under way, and everybody repeats
those.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEMES: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_DEFAULT_PORT: Final = 26379
#: Seconds for a sentinel's answer; there are others to ask.
_SENTINEL_TIMEOUT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Where the sentinels of a service are."""

    hosts: tuple[tuple[str, int], ...]
    service: str

    @classmethod
    def split(cls, url: str) -> tuple[Self, str] | None:
        """Take a URL apart: the sentinels, and a URL with what else it says; ``None`` when it has no such scheme.

        Raises:
            ValueError: It has the scheme, and not the form.
        """
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            return None
        credentials, at, names = parts.netloc.rpartition("@")
        path = re.fullmatch("/([A-Za-z0-9._-]+)(/[0-9]+)?/?", parts.path)
        if path is None:
            raise ValueError("has no name of a service after the sentinels")
        hosts = tuple(_host(name) for name in names.split(","))
        plain = f"{_SCHEMES[parts.scheme]}://{credentials}{at}{hosts[0][0]}{path[2] or ''}"
        return cls(hosts, path[1]), f"{plain}?{parts.query}" if parts.query else plain

    def __str__(self) -> str:
        return f"service '{self.service}' of the sentinels {', '.join(f'{host}:{port}' for host, port in self.hosts)}"

    def pool(self, options: Mapping[str, Any]) -> BlockingConnectionPool:
        """Return a pool of connections to the primary."""
        never = Retry(NoBackoff(), 0)
        asked = {"socket_timeout": _SENTINEL_TIMEOUT_S, "socket_connect_timeout": _SENTINEL_TIMEOUT_S, "retry": never}
        sentinels = Sentinel(self.hosts, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]  # it has no types
        return _PrimaryPool(self.service, sentinels, **options)  # type: ignore[no-untyped-call]


class _PrimaryPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary; who wants one more than there may be waits for one."""

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002  # the library's own
        """Close all connections, those to the sentinels too; or only those that nobody uses, for a new primary."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()


def _host(name: str) -> tuple[str, int]:
    host, _, port = name.partition(":")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", host) or not re.fullmatch("[0-9]{0,5}", port):
        raise ValueError("has a sentinel that is not like host:port")
    return host, int(port or _DEFAULT_PORT)
