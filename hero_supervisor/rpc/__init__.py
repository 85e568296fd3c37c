"""The supervisor's operations as JSON-RPC 2.0 methods: the table, parameters, access, dispatch, error codes."""

from .dispatch import Dispatcher

__all__ = ["Dispatcher"]
