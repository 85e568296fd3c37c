"""Clients of the service, for programs in Python: ``RpcClient`` blocks, ``AsyncRpcClient`` is for asyncio.

::

    from hero_supervisor import Job
    from hero_supervisor.errors import RunnerNotFound
    from hero_supervisor.rpc_client import RpcClient

    with RpcClient("http://127.0.0.1:3030") as service:
        result = service.queue_and_wait("py", Job(payload="print(6 * 7)"))

Every method of the service is a method of both, with the arguments, results and errors that it has in the library.
``blocking`` and ``nonblocking`` have clients without types: they send and return plain data, and need the standard
library only. ``herosup`` uses the former, for it is started for every word that it completes; therefore names are
loaded here when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .address import DEFAULT_URL
    from .blocking import RawClient
    from .client import AsyncRpcClient, RpcClient
    from .connecting import DEFAULT_TIMEOUT_S
    from .failures import RpcError, ServiceUnreachable, UnexpectedAnswer
    from .locating import default_url
    from .nonblocking import AsyncRawClient

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "DEFAULT_URL",
    "AsyncRawClient",
    "AsyncRpcClient",
    "RawClient",
    "RpcClient",
    "RpcError",
    "ServiceUnreachable",
    "UnexpectedAnswer",
    "default_url",
]

_HOMES = {
    "DEFAULT_TIMEOUT_S": "connecting",
    "DEFAULT_URL": "address",
    "AsyncRawClient": "nonblocking",
    "AsyncRpcClient": "client",
    "RawClient": "blocking",
    "RpcClient": "client",
    "RpcError": "failures",
    "ServiceUnreachable": "failures",
    "UnexpectedAnswer": "failures",
    "default_url": "locating",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
