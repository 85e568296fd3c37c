"""The envelope of JSON-RPC 2.0: bytes into requests, and what is wrong with those that are none.

Nearly all requests are right, so they are decoded straight into their type. Only one that is not is decoded once more,
to say what is wrong with it and to keep its id.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

Id = str | int | float | None


class Envelope(msgspec.Struct):
    """A request; a notification when it has no id."""

    jsonrpc: Literal["2.0"]
    method: str
    params: dict[str, Any] | list[Any] | None = None
    id: Id | UnsetType = UNSET


class Malformed(msgspec.Struct):
    """What is no request, with the id that it has nevertheless."""

    fault: str
    id: Id = None


class Unparsable(Exception):
    """The body is not JSON."""


_DECODER: Final = msgspec.json.Decoder(Envelope | list[Any])


def requests_in(body: bytes) -> Envelope | Malformed | list[Envelope | Malformed]:
    """Decode a request or a batch of them.

    Raises:
        Unparsable: It is not JSON in UTF-8, or nested too deeply.
    """
    try:
        try:
            found = _DECODER.decode(body)
        except msgspec.ValidationError:
            return _malformed(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Unparsable(str(exc)) from exc
    return [_read(element) for element in found] if isinstance(found, list) else found


def _read(element: object) -> Envelope | Malformed:
    try:
        return msgspec.convert(element, Envelope)
    except msgspec.ValidationError:
        return _malformed(element)


def _malformed(request: object) -> Malformed:
    id = request.get("id") if isinstance(request, dict) else None
    return Malformed(_fault_in(request), id if _is_id(id) else None)


def _fault_in(request: object) -> str:
    if not isinstance(request, dict):
        return "it is not an object"
    if request.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"'
    if not isinstance(request.get("method"), str):
        return "method must be a string"
    if not isinstance(request.get("params"), dict | list | None):
        return "params must be an object or an array"
    return "id must be a string, a number or null"


def _is_id(id: object) -> bool:
    return id is None or (isinstance(id, str | int | float) and not isinstance(id, bool))
