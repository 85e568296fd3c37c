"""A client for asyncio that knows no types: plain data in and out. It needs the standard library only.

Connections are kept and repeated calls are made as in ``blocking``. A call that is cancelled, or that runs out of time,
closes its connection, so that its answer never meets another call.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, cast

from . import envelope
from .address import DEFAULT_URL
from .connecting import DEFAULT_TIMEOUT_S, MAX_IDLE, Target, is_quiet
from .failures import BadAnswer, ConnectionClosed, RpcError
from .repeating import is_repeatable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .http1 import Response

    _Read = Callable[[Response], Any]

#: Calls that are made at a time; further ones wait.
DEFAULT_MAX_CONNECTIONS: Final = 32


class AsyncRawClient:
    """Calls methods of one service by name. It belongs to the event loop that it is first used in.

    Args:
        url: ``http://host[:port][/path]``, the same with ``https``, or ``unix:/path`` of a socket.
        token: Sent as ``Authorization: Bearer``; nothing is sent when it is empty.
        timeout_s: Longest time for a call, in seconds, the wait for a connection included; more than 0.
        ca_file: Certificates to trust with ``https``, in a PEM file; those of the machine when not given.
        max_answer_bytes: Longest answer that is read; 64 MiB when not given.
        max_connections: Calls that are made at a time, from 1 up; further ones wait.

    Raises:
        InvalidInput: The URL, the token or the file cannot be used.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        ca_file: str | None = None,
        max_answer_bytes: int | None = None,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
    ) -> None:
        self._target = Target.of(url, token, ca_file=ca_file, max_answer_bytes=max_answer_bytes)
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: list[_Connection] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that are kept. The client can still be used, and opens new ones."""
        while self._idle:
            await self._idle.pop().aclose()

    def within(self, timeout_s: float) -> Self:
        """Return this client with another longest time for a call. It has the same connections."""
        other = copy.copy(self)
        other._timeout_s = timeout_s  # noqa: SLF001  # it is one of us
        return other

    async def call(self, method: str, params: object = None, *, timeout_s: float | None = None) -> Any:
        """Call a method and return its result.

        Args:
            method: Name of the method.
            params: A mapping (by name) or a list (by position), ready to be encoded as JSON; none are sent for None.
            timeout_s: In place of the client's, for a method that takes long.

        Returns:
            The decoded result.

        Raises:
            RpcError: The service answered with an error, of the class that its kind names.
            ServiceUnreachable: It did not answer, not in time, or not in JSON-RPC.
        """
        call = envelope.Call(next(self._ids), method, params)
        timeout_s = timeout_s or self._timeout_s
        with self._target.explained(timeout_s):
            read = partial(envelope.outcome_in, call=call)
            outcome = await self._post(envelope.encoded(call), read, timeout_s, may_repeat=is_repeatable(call))
        if isinstance(outcome, RpcError):
            raise outcome
        return outcome

    async def call_many(self, calls: Iterable[tuple[str, object]], *, timeout_s: float | None = None) -> list[Any]:
        """Call several methods with one request for each hundred of them; the service makes some of them at a time.

        Args:
            calls: Method and params of each, as for ``call``.
            timeout_s: Longest time for a hundred of them, in place of the client's.

        Returns:
            For each its result, or the ``RpcError`` that it was answered with, in order.

        Raises:
            RpcError: The service refused a request as a whole.
            ServiceUnreachable: It did not answer, not in time, or not in JSON-RPC.
        """
        numbered = [envelope.Call(next(self._ids), method, params) for method, params in calls]
        parts = [numbered[at : at + envelope.MAX_BATCH] for at in range(0, len(numbered), envelope.MAX_BATCH)]
        return [outcome for part in parts for outcome in await self._outcomes(part, timeout_s or self._timeout_s)]

    async def _outcomes(self, calls: Sequence[envelope.Call], timeout_s: float) -> list[Any]:
        with self._target.explained(timeout_s):
            may_repeat = all(map(is_repeatable, calls))
            read = partial(envelope.outcomes_in, calls=calls)
            outcomes: list[Any] = await self._post(envelope.encoded_many(calls), read, timeout_s, may_repeat=may_repeat)
            return outcomes

    async def _post(self, body: bytes, read: _Read, timeout_s: float, *, may_repeat: bool) -> Any:
        request = self._target.request(body)
        async with asyncio.timeout(timeout_s), self._slots:
            if kept := self._take_idle():
                try:
                    return await self._exchange(kept, request, read)
                except ConnectionError:
                    if not may_repeat:
                        raise
            return await self._exchange(await _connect(self._target), request, read)

    async def _exchange(self, connection: _Connection, request: bytes, read: _Read) -> Any:
        response = self._target.response()
        try:
            await connection.exchange(request, response)
            outcome = read(response)
        except BaseException:
            connection.abort()
            raise
        if response.is_reusable and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.abort()
        return outcome

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.abort()
        return None


class _Connection(asyncio.Protocol):
    """A connection, over which one request at a time is sent, and answered."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._response: Response | None = None
        self._answered: asyncio.Future[None] | None = None

    async def exchange(self, request: bytes, response: Response) -> None:
        """Send a request and read the answer to it.

        Raises:
            BadAnswer: What came is no HTTP.
            ConnectionError: The connection ended before the answer did.
        """
        self._response, self._answered = response, self._loop.create_future()
        try:
            if self._transport is None or self._lost.done():
                raise ConnectionClosed("it closed the connection without an answer")
            self._transport.write(request)
            await self._answered
        finally:
            self._response = self._answered = None

    def is_usable(self) -> bool:
        """Whether it is open, in this event loop, and nothing has come over it that nobody asked for."""
        if self._transport is None or self._transport.is_closing() or self._loop is not asyncio.get_running_loop():
            return False
        return is_quiet(self._transport.get_extra_info("socket").fileno())

    def abort(self) -> None:
        """Close it at once, whatever is under way."""
        if self._transport is not None and not self._loop.is_closed():
            self._transport.abort()

    async def aclose(self) -> None:
        """Close it and wait until it is closed."""
        self.abort()
        if self._loop is asyncio.get_running_loop():
            await asyncio.wait([self._lost])

    # -- called by the event loop --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read a part of the answer; what nobody asked for makes the connection unusable."""
        if self._response is None or self._answered is None:
            self.abort()
            return
        try:
            self._response.feed(data)
        except BadAnswer as exc:
            self._settle(exc)
        if self._response.is_complete:
            self._settle(None)

    def eof_received(self) -> None:
        """Take that no more comes; the transport closes itself."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take that it is gone."""
        if isinstance(exc, ConnectionError):
            self._settle(exc)
        self._end()
        self._lost.set_result(None)

    def _end(self) -> None:
        if self._response is None:
            return
        try:
            self._response.end()
        except ConnectionClosed as exc:
            self._settle(exc)
        else:
            self._settle(None)

    def _settle(self, error: Exception | None) -> None:
        if self._answered is None or self._answered.done():
            return
        if error is None:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(error)


async def _connect(target: Target) -> _Connection:
    loop, address = asyncio.get_running_loop(), target.address
    if address.socket:
        _, connection = await loop.create_unix_connection(_Connection, address.socket)
    else:
        _, connection = await loop.create_connection(_Connection, address.host, address.port, ssl=target.tls)
    return connection
