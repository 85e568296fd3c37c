"""The OpenRPC document: what is callable, with what, and what comes back, for machines.

It is made from the table of methods, their signatures and docstrings, and the types of their values, so nothing in it
is said twice. Source: the OpenRPC specification 1.3.2; schemas are in the dialect of JSON Schema draft-07.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_type_hints

import msgspec
import msgspec.inspect

from hero_supervisor import errors
from hero_supervisor.events import AnyEvent
from hero_supervisor.supervisor import Supervisor

from .aliases import ALIASES
from .codes import CODES, INTERNAL_ERROR, described_as
from .docstring import Docstring, docstring_of, field_comments, flowing
from .methods import METHODS, Method
from .params import Parameter, has_jobs, parameters_of
from .subscriptions import NOTIFICATION, SUBSCRIBE, UNSUBSCRIBE, Subscriptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: The newest version that all current tools accept.
OPENRPC: Final = "1.3.2"
#: Not described as a method: of each name there, generators of clients make an identifier of their language.
DISCOVER: Final = "rpc.discover"
_SCHEMAS: Final = "#/components/schemas/{name}"
#: What any method may answer: its arguments are checked, and its caller may lack the scope.
_ALWAYS: Final = (errors.InvalidInput, errors.PermissionDenied, errors.WrongSecret, errors.TooManyTries)
_INTERNAL: Final = "InternalError"


class Discovery(NamedTuple):
    """The document as it is served."""

    body: bytes
    #: Changes with the content; for HTTP's ``ETag``.
    etag: str


@cache
def discovery() -> Discovery:
    """Return the document as JSON. It is the same as long as the program is."""
    body = msgspec.json.encode(document())
    return Discovery(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def document() -> dict[str, Any]:
    """Return the document as plain data."""
    calls = [_Call.of(method) for method in METHODS]
    subscribing = [_Call.of(method, Subscriptions) for method in (SUBSCRIBE, UNSUBSCRIBE)]
    types = [type_ for call in [*calls, *subscribing] for type_ in call.types] + [AnyEvent]
    schemas, components = msgspec.json.schema_components(types, ref_template=_SCHEMAS)
    remaining = iter(map(_tidied, schemas))
    return {
        "openrpc": OPENRPC,
        "info": {
            "title": "Hero Supervisor",
            "version": version("hero-supervisor"),
            "description": "Keeps runners alive as systemd units and never loses a job they were given.",
            "license": {"name": "Apache-2.0"},
        },
        "servers": [{"name": "local", "url": "http://127.0.0.1:3030/"}],
        "methods": [call.described([next(remaining) for _ in call.types]) for call in calls],
        "x-subscriptions": [_subscription(subscribing, remaining)],
        "components": {
            "schemas": _described_fields({name: _tidied(each) for name, each in sorted(components.items())}, types),
            "errors": _errors([*calls, *subscribing]),
        },
    }


class _Call(NamedTuple):
    """A method with all that is known of it."""

    method: Method
    parameters: tuple[Parameter, ...]
    result: Any
    docstring: Docstring
    tag: str

    @classmethod
    def of(cls, method: Method, owner: type = Supervisor) -> _Call:
        function = getattr(owner, method.name)
        result = get_type_hints(function, include_extras=True)["return"]
        tag = function.__module__.rpartition(".")[2]
        return cls(method, parameters_of(function), result, docstring_of(function), tag)

    @property
    def types(self) -> list[Any]:
        """The types of the parameters, then that of the result."""
        return [*(parameter.type for parameter in self.parameters), self.result]

    @property
    def takes_key(self) -> bool:
        """Whether it can be called with an ``idempotency_key``."""
        return self.method.changes_something and not has_jobs(self.parameters)

    @property
    def failures(self) -> list[type[errors.HeroError]]:
        """What it may answer, one error for each code."""
        raised = [getattr(errors, name) for name in self.docstring.raises]
        return list(dict.fromkeys(map(described_as, [*raised, *_ALWAYS])))

    def described(self, schemas: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the method object, given the schemas of ``types``."""
        aliases = [alias.name for alias in ALIASES if alias.method == self.method.name]
        described = {
            "name": self.method.name,
            "summary": self.docstring.summary,
            "description": self.docstring.description,
            "tags": [{"name": self.tag}],
            "paramStructure": "either",
            "params": [self._param(each, schema) for each, schema in zip(self.parameters, schemas[:-1], strict=True)],
            "result": {"name": "result", "description": self.docstring.returns, "schema": schemas[-1]},
            "errors": [
                {"$ref": f"#/components/errors/{name}"}
                for name in [*(each.__name__ for each in self.failures), _INTERNAL]
            ],
            "examples": [_pairing(self.method.name)] if self.method.name in examples() else [],
            "x-hero-scope": self.method.scope.name.lower(),
            "x-hero-idempotent": self.method.is_idempotent,
            "x-hero-idempotency-key": self.takes_key,
            "x-hero-aliases": aliases,
        }
        return _without_blanks(described) | {"params": described["params"]}

    def _param(self, parameter: Parameter, schema: dict[str, Any]) -> dict[str, Any]:
        if parameter.default not in (None, ()):
            schema = {**schema, "default": msgspec.to_builtins(parameter.default)}
        described = {
            "name": parameter.name,
            "description": self.docstring.arguments.get(parameter.name) or schema.get("description", ""),
            "required": parameter.is_required,
            "schema": schema,
            "x-hero-aliases": list(parameter.aliases),
        }
        return _without_blanks(described)


@cache
def examples() -> dict[str, Any]:
    """Return ``params`` and ``result`` of a call of each method, in an order in which all of them can be made."""
    content: dict[str, Any] = msgspec.json.decode((files(__package__) / "examples.json").read_bytes())
    return content


def _pairing(method: str) -> dict[str, Any]:
    example = examples()[method]
    return {
        "name": method,
        "params": [{"name": name, "value": value} for name, value in example["params"].items()],
        "result": {"name": "result", "value": example["result"]},
    }


def _subscription(calls: Iterable[_Call], schemas: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Return the description of the subscription to events, for which OpenRPC has no words.

    Args:
        calls: How it is begun and ended.
        schemas: Those of the calls' types, then that of an event.
    """
    subscribe, unsubscribe = (call.described([next(schemas) for _ in call.types]) for call in calls)
    id = {"name": "subscription", "description": "What `events_subscribe` returned.", "schema": {"type": "string"}}
    result = {"name": "result", "description": "The event.", "schema": next(schemas)}
    return {
        "name": "events",
        "summary": "What happens, as it happens; over WebSocket only",
        "subscribe": subscribe,
        "unsubscribe": unsubscribe,
        "notification": {"method": NOTIFICATION, "paramStructure": "by-name", "params": [id, result]},
    }


def _errors(calls: Iterable[_Call]) -> dict[str, Any]:
    raised = {error for call in calls for error in call.failures}
    internal = {"code": INTERNAL_ERROR, "message": "a fault of ours", "data": {"kind": "internal-error"}}
    return {_INTERNAL: internal} | {
        error.__name__: {"code": CODES[error], "message": docstring_of(error).summary, "data": {"kind": error.kind}}
        for error in sorted(raised, key=CODES.__getitem__)
    }


def _described_fields(components: dict[str, Any], types: Iterable[Any]) -> dict[str, Any]:
    """Say of each field what the comment in its class says."""
    for cls in _classes_in(msgspec.inspect.multi_type_info(types)):
        comments = field_comments(cls)
        for name, schema in components.get(cls.__name__, {}).get("properties", {}).items():
            said = (comments.get(name, ""), schema.get("description", ""))
            if text := " ".join(part for part in said if part):
                schema["description"] = text
    return components


def _classes_in(infos: Iterable[Any]) -> set[type]:
    """Return the classes with fields in types and in the types of their parts."""
    found: set[type] = set()
    left = list(infos)
    while left:
        info = left.pop()
        if isinstance(info, msgspec.inspect.Field):
            left.append(info.type)
        elif isinstance(info, msgspec.inspect.Type) and getattr(info, "cls", None) not in found:
            if isinstance(info, msgspec.inspect.StructType | msgspec.inspect.DataclassType):
                found.add(info.cls)
            left += [part for value in _parts(info) for part in (value if isinstance(value, tuple) else (value,))]
    return found


def _parts(info: msgspec.inspect.Type) -> Iterable[Any]:
    return (getattr(info, name) for name in info.__struct_fields__)


def _tidied(value: Any) -> Any:
    """Return a schema with descriptions as text, which are docstrings of classes."""
    if isinstance(value, dict):
        return {
            key: flowing(entry) if key == "description" and isinstance(entry, str) else _tidied(entry)
            for key, entry in value.items()
        }
    return [_tidied(entry) for entry in value] if isinstance(value, list) else value


def _without_blanks(described: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if value not in ("", [])}
