"""What can go wrong with a call: the service answers with an error, not usably, or not at all.

The service's errors are of the library's classes, too: ``except RunnerNotFound`` does with a client what it does with
a ``Supervisor``, and ``except RpcError`` catches whatever the service answered.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from hero_supervisor import errors
from hero_supervisor.errors import Fault, HeroError, InvalidInput

#: Kinds of the errors that JSON-RPC itself defines, for answers without ``data``. Source: JSON-RPC 2.0, section 5.1.
_STANDARD_KINDS: Final = {
    -32700: "invalid-json",
    -32600: "invalid-request",
    -32601: "method-not-found",
    -32602: "invalid-params",
    -32603: "internal-error",
}


class RpcError(HeroError):
    """The service answered a call with an error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        facts = data if isinstance(data, dict) else {}
        hint = facts.get("hint")
        # Not super(): beside this class there may be one of the library's, which takes other arguments.
        HeroError.__init__(self, message, hint=hint if isinstance(hint, str) else None)
        # Not passed as keyword arguments: the names in it are the service's choice.
        self.facts = {name: value for name, value in facts.items() if name not in {"hint", "kind"}}
        self.code = code
        self.kind = _kind_of(code, facts)  # type: ignore[misc]  # the service names the condition, not this class

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: most of the classes are made at run time."""
        return error_from, (self.code, self.message, self.data())


class ServiceUnreachable(HeroError):
    """No usable answer came from the service's address."""

    kind = "service-unreachable"


class UnexpectedAnswer(HeroError):
    """The service's result does not have the form its method promises."""

    kind = "unexpected-answer"


class BadAnswer(Exception):
    """What came is no HTTP, or no JSON-RPC; in a few words that go on after "cannot reach the supervisor: "."""


class ConnectionClosed(ConnectionResetError):
    """The connection ended before the answer did."""


def error_from(code: int, message: str, data: object = None) -> RpcError:
    """Return what the service answered, as an error of the class that its kind names."""
    kind = _kind_of(code, data if isinstance(data, dict) else {})
    # Kinds of nobody make no classes: whoever listens on the address could make them up without end.
    error = _classes().get(kind, RpcError)(code, message, data)
    if isinstance(error, InvalidInput):
        error.faults = _faults_in(error.facts.get("faults"))
    return error


def _kind_of(code: int, facts: dict[str, Any]) -> str:
    kind = facts.get("kind")
    return kind if isinstance(kind, str) else _STANDARD_KINDS.get(code, HeroError.kind)


@cache
def _classes() -> dict[str, type[RpcError]]:
    """Return the library's classes, each with what an answer of the service has beside, by kind."""
    named = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, HeroError)]
    return {each.kind: _with_code(each) for each in named if each is not HeroError}


def _with_code(ours: type[HeroError]) -> type[RpcError]:
    return type(ours.__name__, (RpcError, ours), {"__doc__": ours.__doc__, "__module__": __name__})


def _faults_in(faults: object) -> tuple[Fault, ...]:
    listed = faults if isinstance(faults, list) else []
    return tuple(Fault(str(each.get("path")), str(each.get("message"))) for each in listed if isinstance(each, dict))
