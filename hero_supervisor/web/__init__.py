"""What is served over HTTP: JSON-RPC, its description, events, and words for whoever watches over the service."""

from .application import MAX_BODY_BYTES, http_app
from .socket_endpoint import PING_S, PONG_S

__all__ = ["MAX_BODY_BYTES", "PING_S", "PONG_S", "http_app"]
