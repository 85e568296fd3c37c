"""Untrusted data into our types, with every fault reported by its path.

msgspec stops at the first fault; a person who wrote a definition wants all of them at once. So each field is
converted on its own, and the checks that types cannot say (``rules``) run on what converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from .errors import Fault, InvalidInput

StructT = TypeVar("StructT", bound=msgspec.Struct)
Rule = Callable[[Any], Iterable[Fault]]


def convert(data: object, struct: type[StructT], *, error: type[InvalidInput], rules: Rule | None = None) -> StructT:
    """Build a ``struct`` from decoded JSON or TOML.

    Args:
        data: What arrived; an object with the struct's fields.
        struct: The type to build. Unknown fields are faults.
        error: The error that lists the faults.
        rules: Checks that types cannot express; called only when every type is right.

    Raises:
        InvalidInput: ``data`` has faults; raised as ``error``, with one entry per fault.
    """
    if not isinstance(data, Mapping):
        raise error([Fault("$", f"must be an object, not {_kind_of(data)}")])
    faults = [*_unknown_fields(data, struct), *_field_faults(data, struct)]
    if faults:
        raise error(faults)
    value = msgspec.convert(data, struct)
    return check(value, rules, error=error) if rules else value


def check(value: StructT, rules: Rule, *, error: type[InvalidInput]) -> StructT:
    """Return ``value`` if no rule finds a fault in it, raise ``error`` with all faults otherwise."""
    faults = list(rules(value))
    if faults:
        raise error(faults)
    return value


def text_faults(path: str, text: str) -> Iterable[Fault]:
    """Yield a fault if ``text`` cannot be given to a process: it has a NUL or a lone surrogate."""
    if "\0" in text:
        yield Fault(path, "must not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        yield Fault(path, "must be valid Unicode text")


def _unknown_fields(data: Mapping[Any, Any], struct: type[msgspec.Struct]) -> Iterable[Fault]:
    known = {field.encode_name for field in msgspec.structs.fields(struct)}
    for name in data:
        if name not in known:
            yield Fault(str(name)[:80], f"is not a field; known fields: {', '.join(sorted(known))}")


def _field_faults(data: Mapping[Any, Any], struct: type[msgspec.Struct]) -> Iterable[Fault]:
    for field in msgspec.structs.fields(struct):
        if field.encode_name in data:
            yield from _value_faults(field.encode_name, data[field.encode_name], field.type)
        elif field.required:
            yield Fault(field.encode_name, "is required")


def _value_faults(path: str, value: object, wanted: Any) -> Iterable[Fault]:
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as exc:
        text, _, inner = str(exc).partition(" - at `$")
        if inner.startswith("[...]") and isinstance(value, Mapping) and len(value) > 1:
            # msgspec does not say which entry of a mapping is wrong, so each is looked at alone.
            for name, entry in value.items():
                yield from _value_faults(path, {name: entry}, wanted)
            return
        if isinstance(value, Mapping):
            inner = inner.replace("[...]", f".{next(iter(value), '')!s:.80}")
        yield Fault(path + inner.rstrip("`"), text[:1].lower() + text[1:])


def _kind_of(data: object) -> str:
    names = {type(None): "null", list: "an array", str: "a string", bool: "a boolean"}
    return names.get(type(data), "a number")
