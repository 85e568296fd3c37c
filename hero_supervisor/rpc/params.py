"""What a client sends as ``params`` into the typed arguments of a method.

Clients of the original, and generators of clients, send the same call in several shapes; all are accepted::

    absent or []                       no arguments
    {"runner": "a", "lines": 5}        by name, in snake_case or camelCase
    ["a", 5]                           by position
    [{"runner": "a", "lines": 5}]      one positional object that holds the named arguments
    {"params": {...}}                  the same under the name "params"
    {"id": "a", "command": [...]}      a method's object argument may be spread: what names no argument is its content

A runner's id is also accepted as ``id``, ``runner_id``, ``runner_name``, ``actor_id`` and ``name``.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_type_hints

import msgspec

from hero_supervisor import schema
from hero_supervisor.errors import Fault, InvalidInput
from hero_supervisor.job import Job, JobId
from hero_supervisor.operations.access import KeyRef
from hero_supervisor.operations.declared import Definitions
from hero_supervisor.operations.fleet import OperationId
from hero_supervisor.operations.jobs import Jobs, jobs_from
from hero_supervisor.records import QueueLimits
from hero_supervisor.runner import Runner, RunnerId, runners_from
from hero_supervisor.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: Further names of an argument, by its type.
_ALIASES: Final[tuple[tuple[object, tuple[str, ...]], ...]] = (
    (RunnerId, ("id", "runner_id", "runner_name", "actor_id", "name")),
    (JobId, ("id", "job")),
    (OperationId, ("id", "operation")),
    (Runner, ("config", "definition")),
    (KeyRef, ("id", "name", "key_id")),
)
#: Types whose values are read by code of their own, which reports every fault.
_READERS: Final[dict[object, Callable[[object], object]]] = {
    Runner: Runner.from_data,
    Job: Job.from_data,
    Schedule: Schedule.from_data,
    Jobs: jobs_from,
    QueueLimits: lambda data: schema.convert(data, QueueLimits, error=InvalidInput),
    Definitions: lambda data: tuple(runners_from(data)),
}
#: Where a caller may put its secret; never an argument.
_SECRET_NAMES: Final = ("secret", "admin_key")
#: What tells a call that is made again from another one: ``repeats.py``.
IDEMPOTENCY_KEY: Final = "idempotency_key"
MAX_KEY_LENGTH: Final = 256


class Parameter(NamedTuple):
    """One argument of a method."""

    name: str
    type: Any
    is_required: bool
    aliases: tuple[str, ...]
    #: Its name and aliases, in snake_case and camelCase.
    spellings: tuple[str, ...]
    #: ``None`` also when it is required.
    default: object = None


class Call(NamedTuple):
    """What a client asks for: named arguments, not yet converted, the secret it showed, and its key for this call."""

    arguments: dict[str, Any]
    secret: str | None
    idempotency_key: str | None = None


def parameters_of(method: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Read a method's parameters from its signature."""
    hints = get_type_hints(method, include_extras=True)
    return tuple(
        _parameter(name, hints[name], default=parameter.default)
        for name, parameter in inspect.signature(method).parameters.items()
        if name in hints  # all but self
    )


def _parameter(name: str, type_: Any, *, default: object) -> Parameter:
    is_required = default is inspect.Parameter.empty
    aliases = _aliases_of(type_)
    spellings = tuple(dict.fromkeys(spelling for each in (name, *aliases) for spelling in (each, _camel(each))))
    return Parameter(name, type_, is_required, aliases, spellings, None if is_required else default)


def read(params: object, parameters: tuple[Parameter, ...], *, takes_key: bool = False) -> Call:
    """Bring what a client sent into named arguments.

    Args:
        params: What it sent.
        parameters: Those of the method.
        takes_key: Whether the method can be called with an ``idempotency_key``.

    Raises:
        InvalidInput: It has more positional arguments than the method, or arguments the method does not have.
    """
    members = _members(params, parameters)
    secrets = [value for name in _SECRET_NAMES if isinstance(value := members.pop(name, None), str)]
    key = _key(members.pop(IDEMPOTENCY_KEY, None)) if takes_key else None
    return Call(_assign(members, parameters), secrets[0] if secrets else None, key)


#: What a client asks for that sends no params.
NOTHING: Final = Call({}, None)


def has_runners(parameters: Iterable[Parameter]) -> bool:
    """Whether a definition of a runner is among the arguments of a method; it may need more scope than the method."""
    return any(parameter.type is Runner for parameter in parameters)


def has_jobs(parameters: Iterable[Parameter]) -> bool:
    """Whether jobs are among the arguments of a method, which have keys of their own."""
    return any(parameter.type in {Job, Jobs} for parameter in parameters)


def _key(value: object) -> str | None:
    if value is None or (isinstance(value, str) and 0 < len(value) <= MAX_KEY_LENGTH):
        return value
    raise InvalidInput([Fault(IDEMPOTENCY_KEY, f"must be a text of 1 to {MAX_KEY_LENGTH} characters")])


def bind(arguments: Mapping[str, Any], parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Convert named arguments to their types.

    Raises:
        InvalidInput: With every fault; ``InvalidRunner`` or ``InvalidJob`` when a definition is at fault.
    """
    faults: list[Fault] = []
    bound: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.name not in arguments:
            faults += [Fault(parameter.name, "is required")] if parameter.is_required else []
        elif parameter.type in _READERS:
            bound[parameter.name] = _READERS[parameter.type](arguments[parameter.name])
        else:
            try:
                bound[parameter.name] = msgspec.convert(arguments[parameter.name], parameter.type)
            except msgspec.ValidationError as exc:
                faults.append(Fault(parameter.name, str(exc)[:1].lower() + str(exc)[1:]))
    if faults:
        raise InvalidInput(faults)
    return bound


def _aliases_of(type_: object) -> tuple[str, ...]:
    return next((names for known, names in _ALIASES if known == type_), ())


def _members(params: object, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    if isinstance(params, list) and len(params) == 1 and isinstance(params[0], dict):
        params = params[0]
    if isinstance(params, list):
        if len(params) > len(parameters):
            raise InvalidInput([Fault("params", f"has {len(params)} arguments; the method takes {len(parameters)}")])
        return {parameter.name: value for parameter, value in zip(parameters, params, strict=False)}
    if isinstance(params, dict) and params.keys() == {"params"}:
        return _members(params["params"], parameters)
    return dict(params) if isinstance(params, dict) else {}


def _assign(members: dict[str, Any], parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Give each member to the parameter it names; what is left is the content of a spread object argument."""
    arguments: dict[str, Any] = {}
    spread = next(
        (parameter for parameter in parameters if parameter.type in {Runner, Job, Schedule, QueueLimits}), None
    )
    for parameter in parameters:
        for name in parameter.spellings:
            if name in members and (parameter is not spread or isinstance(members[name], dict)):
                arguments[parameter.name] = members.pop(name)
                break
    if members and spread is not None and spread.name not in arguments:
        arguments[spread.name] = members
    elif members:
        known = ", ".join(parameter.name for parameter in parameters) or "none"
        raise InvalidInput([Fault(str(name)[:80], f"is not a parameter; parameters: {known}") for name in members])
    return arguments


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)
