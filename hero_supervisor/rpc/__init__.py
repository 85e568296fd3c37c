"""The operations as JSON-RPC 2.0 methods: table, parameters, access, dispatch, error codes, OpenRPC document."""

from .access import Access, authorise
from .caller import Caller, Peer
from .dispatch import Dispatcher, refusal
from .openrpc import discovery

__all__ = ["Access", "Caller", "Dispatcher", "Peer", "authorise", "discovery", "refusal"]
