"""JSON-RPC 2.0: calls into the body of a request, and out of the body of an answer what each call gave.

What arrives is not trusted: whoever listens on the address may send something else entirely.
Source: jsonrpc.org/specification.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from .failures import BadAnswer, RpcError, error_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .http1 import Response

#: Most calls that the service takes in one request.
MAX_BATCH: Final = 100

_STRANGE: Final = "its answer does not belong to the request"


class Call(NamedTuple):
    """A call of a method, ready to be sent."""

    id: int
    method: str
    #: A mapping (by name) or a list (by position), ready to be encoded as JSON; none are sent for None.
    params: object

    def plain(self) -> dict[str, object]:
        """Return the request object."""
        request = {"jsonrpc": "2.0", "id": self.id, "method": self.method}
        return request if self.params is None else {**request, "params": self.params}


def encoded(call: Call) -> bytes:
    """Return the body of a request for one call."""
    return json.dumps(call.plain()).encode()


def encoded_many(calls: Iterable[Call]) -> bytes:
    """Return the body of a request for several calls."""
    return json.dumps([call.plain() for call in calls]).encode()


def outcome_in(response: Response, call: Call) -> Any:
    """Return what a call gave: its result, or an ``RpcError``.

    Raises:
        BadAnswer: The answer is none to this call.
    """
    return _outcome_in(_checked(_decoded(response), response.status), call.id)


def outcomes_in(response: Response, calls: Sequence[Call]) -> list[Any]:
    """Return what each of several calls gave.

    Raises:
        RpcError: The request as a whole was refused.
        BadAnswer: The answer is none to these calls.
    """
    status, answers = response.status, _decoded(response)
    if not isinstance(answers, list):
        refusal = _outcome_in(_checked(answers, status), None)
        raise refusal if isinstance(refusal, RpcError) else BadAnswer(_STRANGE)
    by_id = {answer["id"]: answer for answer in answers if isinstance(answer, dict) and type(answer.get("id")) is int}
    if len(by_id) != len(answers) or by_id.keys() != {call.id for call in calls}:
        raise BadAnswer(_STRANGE)
    return [_outcome_in(_checked(by_id[call.id], status), call.id) for call in calls]


def _decoded(response: Response) -> Any:
    try:
        return json.loads(response.body, parse_constant=_refuse_constant)
    # RecursionError: brackets nested deeper than Python's stack.
    except (ValueError, RecursionError) as exc:
        raise BadAnswer(f"it answered HTTP {response.status} {_said_in(response)}") from exc


def _said_in(response: Response) -> str:
    """Return what an answer without JSON says: why the service did not read the request, if it is ours."""
    line = bytes(response.body[:200]).decode(errors="replace").partition("\n")[0]
    if line.startswith("cannot ") and line.isprintable():
        return f"({line})"
    return "(the request is too long)" if response.status == 413 else "without JSON"


def _checked(answer: object, status: int) -> dict[str, Any]:
    if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0":
        raise BadAnswer(f"it answered HTTP {status} without JSON-RPC 2.0")
    return answer


def _outcome_in(answer: dict[str, Any], call_id: int | None) -> Any:
    # Compared with its type: in Python, True equals 1.
    is_ours = (type(answer.get("id")), answer.get("id")) == (type(call_id), call_id)
    if answer.get("error") is not None:
        # An error that came up before the request was read has no id.
        if "result" in answer or not (is_ours or answer.get("id") is None):
            raise BadAnswer(_STRANGE)
        return _error_in(answer["error"])
    if not is_ours or "result" not in answer:
        raise BadAnswer(_STRANGE)
    return answer["result"]


def _error_in(error: object) -> RpcError:
    code, message = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, None)
    if not isinstance(error, dict) or not isinstance(code, int) or not isinstance(message, str):
        raise BadAnswer("its error is malformed")
    return error_from(code, message, error.get("data"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
