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
from typing import TYPE_CHECKING, Annotated, Final

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


class Subscriptions:
    """The subscriptions of one subscriber."""

    def __init__(self, supervisor: Supervisor, send: Send) -> None:
        """Args: whose events; and how to send a message to the subscriber."""
        self._supervisor = supervisor
        self._send = send
        self._tasks: dict[str, asyncio.Task[None]] = {}

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
        if len(self._tasks) >= MAX_SUBSCRIPTIONS:
            text = f"cannot subscribe once more: this connection has {MAX_SUBSCRIPTIONS} subscriptions"
            raise TooManyStreams(text, hint="end one with events_unsubscribe", streams=MAX_SUBSCRIPTIONS)
        id = secrets.token_hex(8)
        answered = ANSWERED.get()
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks[id] = asyncio.create_task(
            self._follow(id, query, position, opened, answered), name=f"subscription-{id}"
        )
        self._tasks[id].add_done_callback(lambda _: self._tasks.pop(id, None))
        await opened
        return id

    async def events_unsubscribe(self, subscription: SubscriptionId) -> bool:
        """End a subscription.

        Args:
            subscription: Its id.

        Returns:
            Whether there was one.
        """
        task = self._tasks.get(subscription)
        if task is None:
            return False
        task.cancel()
        await asyncio.wait([task])
        return True

    async def aclose(self) -> None:
        """End all subscriptions."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- inside --------------------------------------------------------------------------------------------------

    async def _follow(
        self,
        id: str,
        query: EventQuery,
        since: Position | None,
        opened: asyncio.Future[None],
        answered: asyncio.Event,
    ) -> None:
        async with AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(self._supervisor.open_events(query, since))
            except Exception as exc:  # whoever subscribes gets it
                if not opened.done():
                    opened.set_exception(exc)
                return
            if not opened.done():
                opened.set_result(None)
            await self._send_all(id, stream, answered)

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
