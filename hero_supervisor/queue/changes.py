"""Following which keys change, whoever changes them (CLIENT TRACKING in broadcast mode)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import HeroError

from .connection import INVALIDATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .connection import RedisServer

    #: Is told names of changed keys; ``None``: any may have changed.
    OnChange = Callable[[list[bytes] | None], None]

#: Pauses between two attempts to subscribe, in seconds: the first, and the longest.
FIRST_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 2.0


async def follow_changes(
    server: RedisServer,
    prefixes: Iterable[str],
    on_change: OnChange,
    *,
    channel: str | None = None,
    on_word: Callable[[bytes], None] = lambda _: None,
) -> None:
    """Tell of keys that change, and of what is said on a channel, until cancelled.

    News is lost while the connection is down, and a connection may be dead without anybody noticing: who follows also
    has to look by himself from time to time. Trouble is not reported, for he meets it then.

    Args:
        server: The server.
        prefixes: What the names of the keys begin with.
        on_change: Is told. It must not raise, and returns at once; neither does ``on_word``.
        channel: A channel to listen to as well.
        on_word: Is told what is said there.
    """
    client = server.tracking(*without_overlaps(prefixes))
    pause_s = FIRST_PAUSE_S
    async with aclosing(client):
        while True:
            with suppress(HeroError), server.errors():
                async with client.pubsub() as subscription:
                    async with server.call():
                        await subscription.subscribe(INVALIDATIONS, *([channel] if channel else []))
                    async for message in subscription.listen():
                        pause_s = FIRST_PAUSE_S
                        data = message["data"]
                        if isinstance(data, bytes):
                            on_word(data)
                            continue
                        # No list: a confirmed subscription, which may have come after a change; or FLUSHALL.
                        on_change(data if isinstance(data, list) else None)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)


def without_overlaps(prefixes: Iterable[str]) -> list[str]:
    """Return the prefixes without those that begin with another one: Redis refuses them."""
    shortest: list[str] = []
    for prefix in sorted(prefixes):
        if not shortest or not prefix.startswith(shortest[-1]):
            shortest.append(prefix)
    return shortest
