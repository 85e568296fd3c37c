"""How what is no JSON-RPC is refused: an HTTP status, and the error as JSON-RPC would tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response

from hero_supervisor import errors
from hero_supervisor.rpc.codes import INVALID_PARAMS, code_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATUSES: Final = (
    (errors.InvalidInput, 400),
    (errors.PermissionDenied, 403),
    (errors.NotFound, 404),
    (errors.Unavailable, 503),
)


def refusal(error: errors.HeroError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that tells an error: ``{"error": {"code": …, "message": …, "data": {"kind": …}}}``."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    code = INVALID_PARAMS if isinstance(error, errors.InvalidInput) else code_of(error)
    told = {"error": {"code": code, "message": error.message, "data": error.data()}}
    retry = {"Retry-After": "5"} if status == 503 else {}
    body = msgspec.json.encode(told) + b"\n"
    return Response(body, status_code=status, media_type="application/json", headers={**retry, **(headers or {})})
