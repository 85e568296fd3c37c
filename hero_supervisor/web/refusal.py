"""How what does not come to a method is refused: an HTTP status, and the error as JSON-RPC tells it."""

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
    (errors.TooManyTries, 429),
    (errors.WrongSecret, 401),
    (errors.PermissionDenied, 403),
    (errors.NotFound, 404),
    (errors.Unavailable, 503),
)


def refusal(error: errors.HeroError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that tells an error: ``{…, "error": {"code": …, "message": …, "data": {"kind": …}}}``."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    code = INVALID_PARAMS if isinstance(error, errors.InvalidInput) else code_of(error)
    told = {"code": code, "message": error.message, "data": error.data()}
    body = msgspec.json.encode({"jsonrpc": "2.0", "error": told, "id": None}) + b"\n"
    headers = {**_usual_headers(status, error), **(headers or {})}
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _usual_headers(status: int, error: errors.HeroError) -> dict[str, str]:
    match status:
        case 401:
            return {"WWW-Authenticate": "Bearer"}
        case 429 | 503:
            return {"Retry-After": str(error.facts.get("retry_after_s", 5))}
        case _:
            return {}
