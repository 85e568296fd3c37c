"""JSON-RPC over WebSocket: every method, and subscriptions to events. Source: RFC 6455.

Calls are answered as they end, not in order: what belongs together is told by the id. So many of a connection are
executed at a time; the next message is read when one of them has ended. A call goes on when its caller is gone, as with
HTTP; subscriptions end.

uvicorn does the protocol: pings, the largest message, and the closing handshake, with code 1012 (service restart) when
the service stops.

**Origin.** Browsers let any page open a WebSocket to anywhere, without asking first, and tell where the page is from.
Only pages from our own address, or from this machine when only this machine can reach us, may have one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse

from hero_supervisor.errors import TooManyStreams
from hero_supervisor.rpc.subscriptions import ANSWERED, SUBSCRIBE, UNSUBSCRIBE, Subscriptions

from .hosts import is_local
from .refusal import refusal
from .rpc_endpoint import bearer

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from hero_supervisor.rpc import Dispatcher
    from hero_supervisor.supervisor import Supervisor

#: Most connections, and most calls of one connection that are executed at a time.
MAX_CONNECTIONS: Final = 512
MAX_CALLS: Final = 16
#: Seconds between two pings to a client, and until it is given up when it does not answer one.
PING_S: Final = 20.0
PONG_S: Final = 20.0


class SocketEndpoint:
    """Accepts WebSockets and answers what is sent through them."""

    def __init__(self, supervisor: Supervisor, dispatcher: Dispatcher, *, is_loopback: bool) -> None:
        """Prepare.

        Args:
            supervisor: Whose events are told.
            dispatcher: What answers the calls.
            is_loopback: Whether only this machine can connect.
        """
        self._supervisor = supervisor
        self._dispatcher = dispatcher
        self._is_loopback = is_loopback
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a handshake, and what follows."""
        headers = dict(scope["headers"])
        await receive()  # websocket.connect
        if not _is_own(headers, is_loopback=self._is_loopback):
            text = f"cannot serve pages from {headers[b'origin'][:80].decode(errors='replace')!r}\n"
            await PlainTextResponse(text, status_code=403)(scope, receive, send)
        elif self._count >= MAX_CONNECTIONS:
            error = TooManyStreams(f"cannot accept another WebSocket: {self._count} are open", streams=self._count)
            await refusal(error)(scope, receive, send)
        else:
            self._count += 1
            try:
                await send({"type": "websocket.accept"})
                secret = bearer(headers.get(b"authorization"))
                await _Connection(self._supervisor, self._dispatcher, send, secret).serve(receive)
            except OSError:
                pass  # the client is gone
            finally:
                self._count -= 1


class _Connection:
    """One WebSocket."""

    def __init__(self, supervisor: Supervisor, dispatcher: Dispatcher, send: Send, secret: str | None) -> None:
        self._dispatcher = dispatcher
        self._send = send
        self._secret = secret
        self._slots = asyncio.Semaphore(MAX_CALLS)
        self._subscriptions = Subscriptions(supervisor, self._tell)
        self._own = {
            SUBSCRIBE.name: dispatcher.handler(SUBSCRIBE, self._subscriptions.events_subscribe),
            UNSUBSCRIBE.name: dispatcher.handler(UNSUBSCRIBE, self._subscriptions.events_unsubscribe),
        }

    async def serve(self, receive: Receive) -> None:
        """Answer calls until the client is gone."""
        try:
            async with asyncio.TaskGroup() as calls:
                await self._slots.acquire()
                while (message := await receive())["type"] == "websocket.receive":
                    calls.create_task(self._answer(_body_of(message)))
                    await self._slots.acquire()
                await self._subscriptions.aclose()
        finally:
            await self._subscriptions.aclose()  # also of those that calls have made meanwhile

    async def _answer(self, body: bytes) -> None:
        answered = asyncio.Event()
        ANSWERED.set(answered)
        try:
            answer = await self._dispatcher.answer(body, secret=self._secret, own=self._own)
            if answer is not None:
                with suppress(OSError):  # the client is gone
                    await self._tell(answer)
        finally:
            answered.set()
            self._slots.release()

    async def _tell(self, text: bytes) -> None:
        await self._send({"type": "websocket.send", "text": text.decode()})


def _body_of(message: Message) -> bytes:
    text = message.get("text")
    return bytes(message["bytes"]) if text is None else str(text).encode()


def _is_own(headers: dict[bytes, bytes], *, is_loopback: bool) -> bool:
    """Whether a handshake comes from no page, or from one of ours."""
    origin = headers.get(b"origin")
    if origin is None:
        return True
    try:
        address = urlsplit(origin.decode(errors="replace")).netloc.encode()
    except ValueError:
        return False
    return bool(address) and (address == headers.get(b"host") or (is_loopback and is_local(address)))
