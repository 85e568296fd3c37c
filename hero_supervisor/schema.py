"""Untrusted data into our types, with every fault reported by its path.

msgspec stops at the first fault, and does not say which entry of a mapping is wrong; a person who wrote a definition
wants all faults at once. So fields and entries are looked at one by one, in structs within structs too, and the
checks that types cannot say (``rules``) run on what converted.

A field may be written as a text that stands for another value (``512M``): its type then carries a reader,
``Meta(extra={READ: parse_size})``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

import msgspec

from .errors import Fault, InvalidInput

StructT = TypeVar("StructT", bound=msgspec.Struct)
Rule = Callable[[Any], Iterable[Fault]]

#: A time with its time zone: RFC 3339 as JSON.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
#: Key of a type's ``Meta(extra=…)``: a function from text to the wanted value. It raises ``ValueError`` with a fault.
READ: Final = "read"


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
    faults: list[Fault] = []
    plain = _read_struct("", data, struct, faults)
    if faults:
        raise error(faults)
    value = msgspec.convert(plain, struct)
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


def unit_text_faults(path: str, text: str) -> Iterable[Fault]:
    """Yield a fault if ``text`` cannot be part of a unit: also the 66 noncharacters of Unicode are invalid to systemd.

    Source: unichar_is_valid() in systemd's src/basic/utf8.c.
    """
    if any(0xFDD0 <= ord(char) <= 0xFDEF or ord(char) & 0xFFFE == 0xFFFE for char in text):
        yield Fault(path, "must not contain Unicode noncharacters, such as U+FFFE, which systemd refuses")
    yield from text_faults(path, text)


def line_faults(path: str, text: str) -> Iterable[Fault]:
    """Yield a fault if ``text`` cannot be given to systemd as one line."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        yield Fault(path, "must not contain control characters")
    yield from unit_text_faults(path, text)


def path_faults(path: str, text: str) -> Iterable[Fault]:
    """Yield a fault if ``text`` is not the absolute path of a file or directory, in one line."""
    if not text.startswith("/"):
        yield Fault(path, "must be an absolute path")
    yield from line_faults(path, text)


@cache
def _fields_of(struct: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def _read_struct(
    prefix: str, data: Mapping[Any, Any], struct: type[msgspec.Struct], faults: list[Fault]
) -> dict[str, object]:
    """Return the fields of a struct with texts read, and add what is wrong with them to ``faults``."""
    fields = _fields_of(struct)
    known = ", ".join(sorted(fields))
    unknown = [name for name in data if name not in fields]
    faults += [Fault(f"{prefix}{name!s:.80}", f"is not a field; known fields: {known}") for name in unknown]
    read: dict[str, object] = {}
    for name, field in fields.items():
        if name in data:
            read[name] = _read(prefix + name, data[name], field.type, faults)
        elif field.required:
            faults.append(Fault(prefix + name, "is required"))
    return read


def _read(path: str, value: object, wanted: Any, faults: list[Fault]) -> object:
    type_, reader = _taken_apart(wanted)
    if isinstance(value, Mapping) and isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return _read_struct(f"{path}.", value, type_, faults)
    if isinstance(value, Mapping) and get_origin(type_) is dict:
        return _read_entries(path, value, wanted, get_args(type_), faults)
    if isinstance(value, str) and reader is not None:
        try:
            value = reader(value)
        except ValueError as exc:
            faults.append(Fault(path, str(exc)))
            return value
    _check_type(path, value, wanted, faults)
    return value


def _read_entries(
    path: str, value: Mapping[Any, Any], wanted: Any, types: tuple[Any, ...], faults: list[Fault]
) -> dict[Any, object]:
    key_type, entry_type = types
    before = len(faults)
    read = {}
    for name, entry in value.items():
        entry_path = f"{path}.{name!s:.80}"
        _check_type(entry_path, name, key_type, faults)
        read[name] = _read(entry_path, entry, entry_type, faults)
    if len(faults) == before:
        _check_type(path, read, wanted, faults)
    return read


def _check_type(path: str, value: object, wanted: Any, faults: list[Fault]) -> None:
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as exc:
        text, _, inner = str(exc).partition(" - at `$")
        faults.append(Fault(path + inner.rstrip("`"), text[:1].lower() + text[1:]))


def _taken_apart(wanted: Any) -> tuple[Any, Callable[[str], object] | None]:
    """Return a type without ``Annotated`` and ``| None``, and its reader if it has one.

    Of a union the one struct is returned, if there is one: data that is an object can only be meant for it.
    """
    reader = None
    while True:
        if get_origin(wanted) is Annotated:
            wanted, *metas = get_args(wanted)
            reader = next((meta.extra[READ] for meta in metas if getattr(meta, "extra", None)), reader)
        elif get_origin(wanted) in {Union, UnionType}:
            members = [member for member in get_args(wanted) if member is not NoneType]
            structs = [each for each in members if isinstance(each, type) and issubclass(each, msgspec.Struct)]
            if len(members) > 1 and len(structs) != 1:
                return wanted, reader
            (wanted,) = structs if len(members) > 1 else members
        else:
            return wanted, reader


def _kind_of(data: object) -> str:
    names = {type(None): "null", list: "an array", str: "a string", bool: "a boolean"}
    return names.get(type(data), "a number")
