"""Subscriptions to events, for transports that can send by themselves.

As in Ethereum's JSON-RPC: ``events_subscribe`` returns an id; what comes is sent as notifications that have it, until
``events_unsubscribe``::

    → {"jsonrpc": "2.0", "id": 1, "method": "events_subscribe", "params": {"topics": ["runner"], "runner": "a"}}
    ← {"jsonrpc": "2.0", "id": 1, "result": "9f2c61d07ab34e85"}
    ← {"jsonrpc": "2.0", "method": "events_subscription", "params": {"subscription": "9f2c61d07ab34e85", "result": {…}}}
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from msgspec import Meta

from hero_supervisor.errors import HeroError, TooManyStreams
from hero_supervisor.events import DEFAULT_TOPICS, EventQuery, Position, Topic
from hero_supervisor.job import JobId  # noqa: TC001  # annotations are read at run time
from hero_supervisor.runner import RunnerId

from .access import Scope
from .methods import Method

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hero_supervisor.events import Stream
    from hero_supervisor.supervisor import Supervisor

    #: Sends a message to the subscriber. It may raise ``OSError`` when that is gone.
    Send = Callable[[bytes], Awaitable[None]]

logger = logging.getLogger(__name__)

SUBSCRIBE: Final = Method("events_subscribe", Scope.READ, is_idempotent=False)
UNSUBSCRIBE: Final = Method("events_unsubscribe", Scope.READ)
NOTIFICATION: Final = "events_subscription"
#: Most subscriptions of one subscriber.
MAX_SUBSCRIPTIONS: Final = 16

#: Is set when the call that is being executed has been answered: what is sent for a subscription follows its id.
ANSWERED: ContextVar[asyncio.Event] = ContextVar("answered")

Topics = Annotated[tuple[Topic, ...], Meta(min_length=1, max_length=16, description="What is to be told.")]
#: The one id is no ``RunnerId``: msgspec 0.22 crashes over a text with a pattern that is in a union with an array.
Runners = Annotated[str, Meta(max_length=63)] | Annotated[tuple[RunnerId, ...], Meta(max_length=1000)]
Since = Annotated[str, Meta(max_length=300, description="The ``cursor`` of an event.")]
SubscriptionId = Annotated[str, Meta(max_length=64, description="What ``events_subscribe`` returned.")]


class _Subscription(NamedTuple):
    """What sends events, and what was opened for that."""

    sending: asyncio.Task[None]
    opened: AsyncExitStack


class Subscriptions:
    """The subscriptions of one subscriber."""

    def __init__(self, supervisor: Supervisor, send: Send) -> None:
        """Args: whose events; and how to send a message to the subscriber."""
        self._supervisor = supervisor
        self._send = send
        self._open: dict[str, _Subscription] = {}
        #: Those that are being opened included.
        self._count = 0

    async def events_subscribe(
        self,
        topics: Topics = DEFAULT_TOPICS,
        runner: Runners = (),
        job: JobId | None = None,
        since: Since | None = None,
    ) -> str:
        """Have events sent as notifications, each with the id of this subscription.

        Args:
            topics: What is to be told: ``runner``, ``exit``, ``job``, ``operation``, ``log``.
            runner: Only events of this runner, or of these. With ``log`` it, or ``job``, is required.
            job: Only events of this job.
            since: ``cursor`` of the event to go on after: everything since comes first, as far as it is remembered.

        Returns:
            The id of the subscription.

        Raises:
            RunnerNotFound: There is no such runner whose log could be followed.
            JobNotFound: There is no such job whose log could be followed.
            TooManyStreams: The subscriber has 16 subscriptions, or as many streams as may be are open in all.
            JournalUnavailable: The journal cannot be read.
            RedisUnavailable: Redis does not answer.
        """
        query = EventQuery.of(topics, [runner] if isinstance(runner, str) else runner, job)
        position = None if since is None else Position.of(since)
        if self._count >= MAX_SUBSCRIPTIONS:
            text = f"cannot subscribe once more: this connection has {MAX_SUBSCRIPTIONS} subscriptions"
            raise TooManyStreams(text, hint="end one with events_unsubscribe", streams=MAX_SUBSCRIPTIONS)
        self._count += 1
        async with AsyncExitStack() as stack:
            stack.callback(self._end_one)
            stream = await stack.enter_async_context(self._supervisor.open_events(query, position))
            return self._begin(stream, stack.pop_all(), ANSWERED.get())

    async def events_unsubscribe(self, subscription: SubscriptionId) -> bool:
        """End a subscription.

        Args:
            subscription: Its id.

        Returns:
            Whether there was one.
        """
        if subscription not in self._open:
            return False
        await self._end(subscription)
        return True

    async def aclose(self) -> None:
        """End all subscriptions."""
        await asyncio.gather(*map(self._end, tuple(self._open)))

    # -- inside --------------------------------------------------------------------------------------------------

    def _end_one(self) -> None:
        self._count -= 1

    def _begin(self, stream: Stream, opened: AsyncExitStack, answered: asyncio.Event) -> str:
        """Begin to send what comes through a stream, and return the id for that."""
        id = secrets.token_hex(8)
        sending = asyncio.create_task(self._send_all(id, stream, answered), name=f"subscription-{id}")
        self._open[id] = _Subscription(sending, opened)
        return id

    async def _end(self, id: str) -> None:
        sending, opened = self._open.pop(id)
        sending.cancel()
        await asyncio.wait([sending])
        await opened.aclose()

    async def _send_all(self, id: str, stream: Stream, answered: asyncio.Event) -> None:
        head = b'{"jsonrpc":"2.0","method":"%b","params":{"subscription":"%b","result":' % (
            NOTIFICATION.encode(),
            id.encode(),
        )
        try:
            await answered.wait()
            while (batch := await stream.take()) is not None:
                for entry, cursor in batch:
                    await self._send(head + entry.json_at(cursor) + b"}}")
        except OSError:
            pass  # the subscriber is gone
        except HeroError as exc:
            logger.debug("subscription %s ends: %s", id, exc)
