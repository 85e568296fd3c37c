"""What is served over HTTP: JSON-RPC, its description, and words for whoever watches over the service."""

from .application import MAX_BODY_BYTES, http_app
from .tls import TlsFiles

__all__ = ["MAX_BODY_BYTES", "TlsFiles", "http_app"]
