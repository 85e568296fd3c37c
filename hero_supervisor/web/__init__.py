"""What is served over HTTP: JSON-RPC, its description, and words for whoever watches over the service."""

from .application import http_app
from .rpc_endpoint import MAX_BODY_BYTES
from .tls import TlsFiles

__all__ = ["MAX_BODY_BYTES", "TlsFiles", "http_app"]
