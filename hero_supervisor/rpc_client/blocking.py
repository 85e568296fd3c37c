"""A client that blocks, and knows no types: plain data in and out. It needs the standard library only.

Connections stay open for the next call. The service may close one at any time, so it is looked at before it is used
again; and if it breaks all the same, a call that may be repeated (``repeating``) is made once more over a new one. A
connection over which anything went wrong is closed.
"""

from __future__ import annotations

import copy
import itertools
import os
import socket
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from . import envelope
from .address import DEFAULT_URL
from .connecting import DEFAULT_TIMEOUT_S, MAX_IDLE, Target, is_quiet
from .failures import RpcError
from .repeating import is_repeatable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .http1 import Response

    _Read = Callable[[Response], Any]

_CHUNK_BYTES: Final = 64 * 1024


class RawClient:
    """Calls methods of one service by name. Threads may share it.

    Args:
        url: ``http://host[:port][/path]``, the same with ``https``, or ``unix:/path`` of a socket.
        token: Sent as ``Authorization: Bearer``; nothing is sent when it is empty.
        timeout_s: Longest time for a call, in seconds; more than 0.
        ca_file: Certificates to trust with ``https``, in a PEM file; those of the machine when not given.
        max_answer_bytes: Longest answer that is read; 64 MiB when not given.

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
    ) -> None:
        self._target = Target.of(url, token, ca_file=ca_file, max_answer_bytes=max_answer_bytes)
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._idle = _Idle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept. The client can still be used, and opens new ones."""
        self._idle.close()

    def within(self, timeout_s: float) -> Self:
        """Return this client with another longest time for a call. It has the same connections."""
        other = copy.copy(self)
        other._timeout_s = timeout_s  # noqa: SLF001  # it is one of us
        return other

    def call(self, method: str, params: object = None, *, timeout_s: float | None = None) -> Any:
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
            outcome = self._post(envelope.encoded(call), read, timeout_s, may_repeat=is_repeatable(call))
        if isinstance(outcome, RpcError):
            raise outcome
        return outcome

    def call_many(self, calls: Iterable[tuple[str, object]], *, timeout_s: float | None = None) -> list[Any]:
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
        return [outcome for part in parts for outcome in self._outcomes(part, timeout_s or self._timeout_s)]

    def _outcomes(self, calls: Sequence[envelope.Call], timeout_s: float) -> list[Any]:
        with self._target.explained(timeout_s):
            may_repeat = all(map(is_repeatable, calls))
            read = partial(envelope.outcomes_in, calls=calls)
            outcomes: list[Any] = self._post(envelope.encoded_many(calls), read, timeout_s, may_repeat=may_repeat)
            return outcomes

    def _post(self, body: bytes, read: _Read, timeout_s: float, *, may_repeat: bool) -> Any:
        request, deadline = self._target.request(body), time.monotonic() + timeout_s
        if kept := self._idle.take():
            try:
                return self._exchange(kept, request, read, deadline)
            except ConnectionError:
                if not may_repeat:
                    raise
        return self._exchange(connect(self._target, deadline), request, read, deadline)

    def _exchange(self, connection: socket.socket, request: bytes, read: _Read, deadline: float) -> Any:
        response = self._target.response()
        try:
            _send(connection, request, deadline)
            _receive(connection, response, deadline)
            outcome = read(response)
        except BaseException:
            connection.close()
            raise
        if response.is_reusable:
            self._idle.keep(connection)
        else:
            connection.close()
        return outcome


class _Idle:
    """Connections that wait for the next call."""

    def __init__(self) -> None:
        # Each end of a list is changed in one step, so threads need no lock.
        self._connections: list[tuple[int, socket.socket]] = []

    def take(self) -> socket.socket | None:
        """Return a connection that can be used; nobody else gets it."""
        while self._connections:
            process, connection = self._pop()
            # A fork has the same sockets as the process that it came from, which goes on with them.
            if connection is not None and process == os.getpid() and is_quiet(connection.fileno()):
                return connection
            if connection is not None:
                connection.close()
        return None

    def keep(self, connection: socket.socket) -> None:
        """Keep a connection over which nothing is due."""
        self._connections.append((os.getpid(), connection))
        if len(self._connections) > MAX_IDLE:
            self._close_one()

    def close(self) -> None:
        """Close all that are kept now."""
        while self._connections:
            self._close_one()

    def _pop(self) -> tuple[int, socket.socket | None]:
        try:
            return self._connections.pop()
        except IndexError:  # another thread was faster
            return 0, None

    def _close_one(self) -> None:
        _, connection = self._pop()
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        # Clients that nobody closed are fine: it is only that the service has their connections for a while.
        self.close()


def connect(target: Target, deadline: float) -> socket.socket:
    """Connect to a service.

    Args:
        target: Where it is.
        deadline: When that has to be done, on the clock of ``time.monotonic``.

    Raises:
        OSError: That did not succeed.
    """
    address, left_s = target.address, _left_s(deadline)
    if address.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(left_s)
        try:
            connection.connect(address.socket)
        except BaseException:
            connection.close()
            raise
        return connection
    connection = socket.create_connection((address.host, address.port), timeout=left_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.tls is None:
        return connection
    try:
        return target.tls.wrap_socket(connection, server_hostname=address.host)
    except BaseException:
        connection.close()
        raise


def _send(connection: socket.socket, request: bytes, deadline: float) -> None:
    connection.settimeout(_left_s(deadline))
    # A service that refuses the request by its size answers and closes before all of it is sent.
    with suppress(BrokenPipeError):
        connection.sendall(request)


def _receive(connection: socket.socket, response: Response, deadline: float) -> None:
    while not response.is_complete:
        connection.settimeout(_left_s(deadline))
        if data := connection.recv(_CHUNK_BYTES):
            response.feed(data)
        else:
            response.end()


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
