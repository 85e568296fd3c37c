"""What is served over HTTP: JSON-RPC, its description, events, and words for whoever watches over the service."""

from .application import http_app
from .rpc_endpoint import MAX_BODY_BYTES
from .socket_endpoint import PING_S, PONG_S
from .tls import TlsFiles

__all__ = ["MAX_BODY_BYTES", "PING_S", "PONG_S", "TlsFiles", "http_app"]
