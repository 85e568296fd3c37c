"""The two clients with a typed method for each method of the service."""

from __future__ import annotations

from .async_methods import AsyncMethods
from .methods import Methods


class RpcClient(Methods):
    """A client that blocks. Its methods are those of the service, with the library's types and errors.

    Connections are kept for further calls; ``with`` or ``close`` gives them up. Threads may share a client.

    A call may take ``timeout_s``, and longer when it asks the service to wait, by ``timeout`` or for a job.
    ``client.within(600).drain_runner("a")`` gives one call more time.

    Args:
        url: ``http://host[:port][/path]``, the same with ``https``, or ``unix:/path`` of a socket.
        token: Sent as ``Authorization: Bearer``; nothing is sent when it is empty.
        timeout_s: Longest time for a call, in seconds; more than 0.
        ca_file: Certificates to trust with ``https``, in a PEM file; those of the machine when not given.
        max_answer_bytes: Longest answer that is read; 64 MiB when not given.

    Raises:
        InvalidInput: The URL, the token or the file cannot be used.
    """


class AsyncRpcClient(AsyncMethods):
    """A client for asyncio. Its methods are those of the service, with the library's types and errors.

    Use it as ``async with``, or call ``aclose``: connections are kept for further calls. It belongs to one event loop.

    A call may take ``timeout_s``, and longer when it asks the service to wait, by ``timeout`` or for a job.
    ``client.within(600).drain_runner("a")`` gives one call more time. Calls that are cancelled leave nothing behind,
    but the service may have made them.

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
