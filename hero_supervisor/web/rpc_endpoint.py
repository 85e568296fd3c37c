"""JSON-RPC by POST. It speaks ASGI itself: objects for request and response would cost more than the call."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from starlette.responses import PlainTextResponse

from hero_supervisor.errors import WrongSecret

from .peers import peer_in
from .refusal import refusal

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from hero_supervisor.rpc import Access, Caller, Dispatcher

#: Largest request body. A payload of 1 MiB may take six times as much when JSON escapes every character.
MAX_BODY_BYTES: Final = 8 * 1024 * 1024

_TYPES: Final = (b"application/json", b"application/json-rpc")
_JSON_HEADER: Final = (b"content-type", b"application/json")


class RpcEndpoint:
    """Answers what is sent by POST."""

    def __init__(self, dispatcher: Dispatcher, access: Access) -> None:
        """Args: what answers the calls, and tells who callers are."""
        self._dispatcher = dispatcher
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = dict(scope["headers"])
        # Asking for JSON makes a browser ask us first, so a foreign web page cannot send us calls.
        if not _is_json(headers.get(b"content-type", b"")):
            unread = PlainTextResponse("cannot read this content type: send application/json\n", status_code=415)
            await unread(scope, receive, send)
            return
        try:
            caller = caller_of(scope, self._access)
        except WrongSecret as exc:
            await refusal(exc)(scope, receive, send)
            return
        try:
            body = await _body_of(receive, headers.get(b"content-length", b""))
        except _TooLarge:
            text = f"cannot read more than {MAX_BODY_BYTES} bytes\n"
            await PlainTextResponse(text, status_code=413, headers={"Connection": "close"})(scope, receive, send)
            return
        if body is None:
            return
        answer = await self._dispatcher.answer(body, caller=caller)
        status, content = (204, []) if answer is None else (200, [_JSON_HEADER, _length(answer)])
        await send({"type": "http.response.start", "status": status, "headers": content})
        await send({"type": "http.response.body", "body": answer or b""})


class _TooLarge(Exception):
    pass


async def _body_of(receive: Receive, announced: bytes) -> bytes | None:
    """Return the body of a request that announces so many bytes; ``None`` when the caller has gone."""
    announced_bytes = int(announced) if announced.isdigit() else 0
    parts: list[bytes] = []
    size, has_more = 0, True
    while has_more:
        if max(size, announced_bytes) > MAX_BODY_BYTES:
            raise _TooLarge
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        has_more = message.get("more_body", False)
    return b"".join(parts)


def _length(content: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(content)


@lru_cache(maxsize=64)
def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() in _TYPES


def caller_of(scope: Scope, access: Access) -> Caller:
    """Tell who makes a request; raises like ``Access.caller``."""
    header = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    return access.caller(peer_in(scope), _bearer(header))


def _bearer(header: bytes | None) -> str | None:
    """Return the secret in an ``Authorization`` header, if that has one."""
    if header is None:
        return None
    scheme, _, token = header.decode(errors="replace").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
