"""Events by GET, as server-sent events. Source: the HTML standard, section "Server-sent events".

::

    retry: 2000
    id: 0f3a91bc-1207

    id: 0f3a91bc-1208
    event: runner
    data: {"topic":"runner","cursor":"0f3a91bc-1208",…}

    : ping
    id: 0f3a91bc-1213

The ids are cursors: a client that lost its connection sends the last one as ``Last-Event-ID``. There is one at the
beginning, and one with each ping, so that it has one before anything has happened, and a fresh one when nothing has.

It speaks ASGI itself: a stream is two tasks and no buffers, of which thousands may be open.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.responses import PlainTextResponse

from hero_supervisor.errors import Fault, HeroError, InvalidInput
from hero_supervisor.events import DEFAULT_TOPICS, EventQuery, Position
from hero_supervisor.rpc import authorise
from hero_supervisor.scope import Scope

from .refusal import refusal
from .rpc_endpoint import caller_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Send
    from starlette.types import Scope as Request

    from hero_supervisor.events import Delivery, Stream
    from hero_supervisor.rpc import Access
    from hero_supervisor.supervisor import Supervisor

logger = logging.getLogger(__name__)

#: Seconds between two signs of life while nothing happens, and until a client comes back that lost us.
PING_S: Final = 15.0
RETRY_S: Final = 2.0
#: Seconds that a client which reads nothing may keep a stream from ending.
PATIENCE_S: Final = 1.0

_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx passes on what comes as it comes
)
_PARAMETERS: Final = ("topics", "runner", "job", "since")


class EventsEndpoint:
    """Answers with events as they come."""

    def __init__(self, supervisor: Supervisor, access: Access) -> None:
        """Args: whose events, and who may follow them."""
        self._supervisor = supervisor
        self._access = access

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] != "GET":
            answer = PlainTextResponse("cannot follow events but by GET\n", status_code=405, headers={"Allow": "GET"})
            await answer(scope, receive, send)
            return
        async with AsyncExitStack() as stack:
            try:
                headers = dict(scope["headers"])
                caller = caller_of(scope, self._access)
                authorise(caller, Scope.READ, "events")
                query, since = asked(scope["query_string"], headers.get(b"last-event-id", b""))
                stream = await stack.enter_async_context(self._supervisor.open_events(query, since))
            except HeroError as exc:
                await refusal(exc)(scope, receive, send)
                return
            with self._access.leases.of(caller, stream.close):
                await _answer(stream, receive, send)


def asked(query_string: bytes, last_id: bytes) -> tuple[EventQuery, Position | None]:
    """Return what a request asks for, and where to go on.

    Args:
        query_string: The part of the URL behind the question mark.
        last_id: The header ``Last-Event-ID``; it wins over ``since``, which a client repeats when it comes back.

    Raises:
        InvalidInput: With every fault.
    """
    given: dict[str, list[str]] = {name: [] for name in _PARAMETERS}
    faults = []
    for name, value in parse_qsl(query_string.decode(errors="replace"), keep_blank_values=True):
        if name in given:
            given[name].append(value)
        else:
            faults.append(Fault(name[:80], f"is not a parameter; parameters: {', '.join(_PARAMETERS)}"))
    faults += [Fault(name, "must be given once") for name in ("job", "since") if len(given[name]) > 1]
    if faults:
        raise InvalidInput(faults)
    topics = [topic for value in given["topics"] for topic in value.split(",")] or DEFAULT_TOPICS
    query = EventQuery.of(topics, given["runner"], next(iter(given["job"]), None))
    since = last_id.decode(errors="replace") or "".join(given["since"])
    return query, Position.of(since) if since else None


async def _answer(stream: Stream, receive: Receive, send: Send) -> None:
    """Send what comes, until the client is gone or the stream ends."""
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
    leaving = asyncio.create_task(_until_gone(receive))
    leaving.add_done_callback(lambda _: stream.close())
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as patience:
            stream.on_close = lambda: patience.reschedule(loop.time() + PATIENCE_S)
            try:
                await _send_all(stream, send)
            finally:
                stream.on_close = None
    except TimeoutError:
        logger.debug("a client has not read its events, and is left")
    except HeroError as exc:
        logger.debug("a stream of events ends: %s", exc)
        await send({"type": "http.response.body", "body": b""})
    finally:
        leaving.cancel()
        await asyncio.wait([leaving])


async def _send_all(stream: Stream, send: Send) -> None:
    begin = b"retry: %d\nid: %b\n\n" % (1000 * RETRY_S, stream.cursor.encode())
    await send({"type": "http.response.body", "body": begin, "more_body": True})
    while (batch := await stream.take(timeout_s=PING_S)) is not None:
        await send({"type": "http.response.body", "body": _text(batch, stream.cursor), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _text(batch: Sequence[Delivery], cursor: str) -> bytes:
    if not batch:
        return b": ping\nid: %b\n\n" % cursor.encode()
    return b"".join(
        b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor.encode(), entry.name, entry.json_at(cursor))
        for entry, cursor in batch
    )


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
