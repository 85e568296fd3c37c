"""Calls that carry an ``idempotency_key``: each is carried out once, however often it comes.

A client that got no answer makes the call again, with the same key. If the first is still under way, the second waits
for it, and has the same outcome; if it has succeeded, the second gets its result. One that failed is carried out again.

Results are remembered for an hour and by this process: a call that a restart of the service broke off may be made
again, and what it had done is not known here. Jobs have keys of their own, in Redis (``Job.idempotency_key``).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from copy import copy
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from hero_supervisor.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Seconds that a result is remembered, and most of them; beyond, the oldest are forgotten.
KEPT_S: Final = 3600.0
MAX_KEPT: Final = 1_000


class _Call(NamedTuple):
    """A call with a key: what was asked, when, and what came of it."""

    content: bytes
    at_s: float
    outcome: asyncio.Future[Any]


class Repeats:
    """Remembers calls by caller and key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: what tells the time, in seconds."""
        self._clock = clock
        self._calls: OrderedDict[tuple[str, str], _Call] = OrderedDict()

    async def once(self, who: str, key: str, asked: tuple[str, object], work: Callable[[], Awaitable[Any]]) -> Any:
        """Carry out a call, or return what came of it when it was made before.

        Args:
            who: The caller; keys of others are others.
            key: The key.
            asked: Method and arguments, as they came.
            work: Carries it out.

        Raises:
            Conflict: The key was used for another call.
            HeroError: What ``work`` raises.
        """
        content = hashlib.sha256(msgspec.json.encode(asked)).digest()
        while (known := self._known(who, key)) is not None:
            if known.content != content:
                hint = "make a new key for each call, and send it again only with the same call"
                raise Conflict(f"cannot call {asked[0]}: this idempotency_key was used for another call", hint=hint)
            done, _ = await asyncio.wait([known.outcome])
            if not done.pop().cancelled():
                return _own(known.outcome)
            # Whoever carried it out was broken off.
        return await self._carry_out((who, key), content, work)

    async def _carry_out(self, id: tuple[str, str], content: bytes, work: Callable[[], Awaitable[Any]]) -> Any:
        call = self._calls[id] = _Call(content, self._clock(), asyncio.get_running_loop().create_future())
        try:
            result = await work()
        except Exception as exc:
            del self._calls[id]
            call.outcome.set_exception(exc)
            call.outcome.exception()  # nobody else may have waited for it
            raise
        except BaseException:
            del self._calls[id]
            call.outcome.cancel()
            raise
        call.outcome.set_result(result)
        return result

    def _known(self, who: str, key: str) -> _Call | None:
        oldest_s = self._clock() - KEPT_S
        for id, call in list(self._calls.items()):
            if len(self._calls) <= MAX_KEPT and call.at_s > oldest_s:
                break
            if call.outcome.done():
                del self._calls[id]
        return self._calls.get((who, key))


def _own(outcome: asyncio.Future[Any]) -> Any:
    # Each raises its own: a shared one would collect the traceback of every caller.
    if (fault := outcome.exception()) is not None:
        raise copy(fault)
    return outcome.result()
