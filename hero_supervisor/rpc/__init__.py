"""The operations as JSON-RPC 2.0 methods: table, parameters, access, dispatch, error codes, OpenRPC document."""

from .access import Access, authorise
from .caller import Caller, Peer
from .dispatch import Dispatcher
from .openrpc import discovery
from .tally import Tally

__all__ = ["Access", "Caller", "Dispatcher", "Peer", "Tally", "authorise", "discovery"]
