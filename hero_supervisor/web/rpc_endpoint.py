"""JSON-RPC by POST. It speaks ASGI itself: objects for request and response would cost more than the call."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from hero_supervisor.rpc import Dispatcher

_TYPES: Final = (b"application/json", b"application/json-rpc")
_JSON_HEADER: Final = (b"content-type", b"application/json")


class RpcEndpoint:
    """Answers what is sent by POST."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        """Args: what answers the calls."""
        self._dispatcher = dispatcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = dict(scope["headers"])
        # Asking for JSON makes a browser ask us first, so a foreign web page cannot send us calls.
        if not _is_json(headers.get(b"content-type", b"")):
            refusal = PlainTextResponse("cannot read this content type: send application/json\n", status_code=415)
            await refusal(scope, receive, send)
            return
        body = await _body_of(receive)
        if body is None:
            return
        answer = await self._dispatcher.answer(body, secret=bearer(headers.get(b"authorization")))
        status, content = (204, []) if answer is None else (200, [_JSON_HEADER, _length(answer)])
        await send({"type": "http.response.start", "status": status, "headers": content})
        await send({"type": "http.response.body", "body": answer or b""})


async def _body_of(receive: Receive) -> bytes | None:
    """Return the body of a request; ``None`` when the caller has gone."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return bytes(message.get("body", b""))
    parts = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    return None


def _length(content: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(content)


@lru_cache(maxsize=64)
def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() in _TYPES


def bearer(header: bytes | None) -> str | None:
    """Return the secret in a header ``Authorization``; ``None`` when there is none."""
    if header is None:
        return None
    scheme, _, token = header.decode(errors="replace").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
