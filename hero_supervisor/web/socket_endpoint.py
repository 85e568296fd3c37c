"""JSON-RPC over WebSocket: every method, and subscriptions to events. Source: RFC 6455.

Calls are answered as they end, not in order: what belongs together is told by the id. So many of a connection are
executed at a time; the next message is read when one of them has ended. A call goes on when its caller is gone, as with
HTTP; subscriptions end.

uvicorn does the protocol: pings, the largest message, and the closing handshake, with code 1012 (service restart) when
the service stops.

**Origin.** Browsers let any page open a WebSocket to anywhere, without asking first, and tell where the page is from.
Only pages of ``hosts.KnownOrigins`` may have one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from starlette.responses import PlainTextResponse

from hero_supervisor.errors import TooManyStreams, WrongSecret
from hero_supervisor.rpc.subscriptions import ANSWERED, SUBSCRIBE, UNSUBSCRIBE, Subscriptions

from .refusal import refusal
from .rpc_endpoint import caller_of

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from hero_supervisor.rpc import Access, Caller, Dispatcher
    from hero_supervisor.supervisor import Supervisor

    from .hosts import KnownOrigins

#: Most connections, and most calls of one connection that are executed at a time.
MAX_CONNECTIONS: Final = 512
MAX_CALLS: Final = 16
#: Seconds between two pings to a client, and until it is given up when it does not answer one.
PING_S: Final = 20.0
PONG_S: Final = 20.0
#: Why a connection is closed whose caller may not have it any more. Source: RFC 6455, section 7.4.1.
POLICY_VIOLATION: Final = 1008


class SocketEndpoint:
    """Accepts WebSockets and answers what is sent through them."""

    def __init__(self, supervisor: Supervisor, access: Access, dispatcher: Dispatcher, origins: KnownOrigins) -> None:
        """Prepare.

        Args:
            supervisor: Whose events are told.
            access: Tells who callers are.
            dispatcher: What answers the calls.
            origins: Whose pages may connect.
        """
        self._supervisor = supervisor
        self._access = access
        self._dispatcher = dispatcher
        self._origins = origins
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a handshake, and what follows."""
        headers = dict(scope["headers"])
        await receive()  # websocket.connect
        if not self._origins.has(headers.get(b"origin"), headers.get(b"host")):
            text = f"cannot serve pages from {headers[b'origin'][:80].decode(errors='replace')!r}\n"
            await PlainTextResponse(text, status_code=403)(scope, receive, send)
        elif self._count >= MAX_CONNECTIONS:
            error = TooManyStreams(f"cannot accept another WebSocket: {self._count} are open", streams=self._count)
            await refusal(error)(scope, receive, send)
        else:
            self._count += 1
            try:
                caller = caller_of(scope, self._access)
                await send({"type": "websocket.accept"})
                connection = _Connection(self._supervisor, self._dispatcher, send, caller)
                with self._access.leases.of(caller, connection.end):
                    await connection.serve(receive)
            except WrongSecret as exc:
                await refusal(exc)(scope, receive, send)
            except OSError:
                pass  # the client is gone
            finally:
                self._count -= 1


class _Connection:
    """One WebSocket."""

    def __init__(self, supervisor: Supervisor, dispatcher: Dispatcher, send: Send, caller: Caller) -> None:
        self._dispatcher = dispatcher
        self._send = send
        self._caller = caller
        self._slots = asyncio.Semaphore(MAX_CALLS)
        self._ending: asyncio.Task[None] | None = None
        self._subscriptions = Subscriptions(supervisor, self._tell)
        self._own = {
            SUBSCRIBE.name: dispatcher.handler(SUBSCRIBE, self._subscriptions.events_subscribe),
            UNSUBSCRIBE.name: dispatcher.handler(UNSUBSCRIBE, self._subscriptions.events_unsubscribe),
        }

    def end(self) -> None:
        """Close the connection, and answer no further call: its key is good no more."""
        self._ending = asyncio.create_task(self._close(), name="close-websocket")

    async def _close(self) -> None:
        with suppress(OSError):  # the client is gone
            await self._send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "the key is good no more"})

    async def serve(self, receive: Receive) -> None:
        """Answer calls until the client is gone."""
        try:
            async with asyncio.TaskGroup() as calls:
                await self._slots.acquire()
                while (message := await receive())["type"] == "websocket.receive" and self._ending is None:
                    calls.create_task(self._answer(_body_of(message)))
                    await self._slots.acquire()
                await self._subscriptions.aclose()
        finally:
            await self._subscriptions.aclose()  # also of those that calls have made meanwhile

    async def _answer(self, body: bytes) -> None:
        answered = asyncio.Event()
        ANSWERED.set(answered)
        try:
            answer = await self._dispatcher.answer(body, caller=self._caller, own=self._own)
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
