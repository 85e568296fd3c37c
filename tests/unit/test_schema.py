"""Untrusted data into structs: every fault with its path, at any depth."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from hero_supervisor import schema
from hero_supervisor.errors import Fault, InvalidInput


def _even(text: str) -> int:
    if text != "even":
        raise ValueError("must be 'even'")
    return 2


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    number: Annotated[int, Meta(ge=0, extra={schema.READ: _even})] = 0
    needed: str = msgspec.field(name="needed", default="x")


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    must: int


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: Inner = msgspec.field(default_factory=Inner)
    maybe: Inner | None = None
    word_or_inner: str | Inner = ""
    strict: Strict | None = None
    table: Annotated[dict[Annotated[str, Meta(pattern="^[a-z]+$")], Inner], Meta(max_length=2)] = {}
    words: dict[str, list[str]] = {}
    number: Annotated[int | None, Meta(extra={schema.READ: _even})] = None


def _faults(data: object) -> list[Fault]:
    with pytest.raises(InvalidInput) as caught:
        schema.convert(data, Outer, error=InvalidInput)
    return list(caught.value.faults)


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({"inner": {"number": "odd"}}, ["inner.number"]),
        ({"inner": {"number": -1, "needed": 1}}, ["inner.number", "inner.needed"]),
        ({"inner": {"other": 1}}, ["inner.other"]),
        ({"inner": 5}, ["inner"]),
        ({"inner": None}, ["inner"]),
        ({"maybe": {"number": None}}, ["maybe.number"]),
        ({"maybe": []}, ["maybe"]),
        ({"word_or_inner": {"number": -1}}, ["word_or_inner.number"]),
        ({"word_or_inner": 1}, ["word_or_inner"]),
        ({"strict": {}}, ["strict.must"]),
        ({"table": {"A": {}, "b": {"number": -1}}}, ["table.A", "table.b.number"]),
        ({"table": {"a": {}, "b": {}, "c": {}}}, ["table"]),
        ({"table": {"a" * 100 + "1": {}}}, ["table." + "a" * 80]),
        ({"words": {"a": ["x", 1], "b": "x"}}, ["words.a[1]", "words.b"]),
        ({"words": []}, ["words"]),
        ({"number": "odd"}, ["number"]),
        ({"unknown": 1, "inner": {"number": -1}}, ["unknown", "inner.number"]),
        ([], ["$"]),
    ],
)
def test_a_fault_is_told_with_its_path_at_any_depth(data: Any, paths: list[str]) -> None:
    assert [fault.path for fault in _faults(data)] == paths


def test_a_reader_turns_text_into_the_wanted_value_everywhere() -> None:
    data = {
        "inner": {"number": "even"},
        "maybe": {"number": "even"},
        "word_or_inner": {"number": "even"},
        "table": {"a": {"number": "even"}},
        "number": "even",
    }
    two = Inner(number=2)
    wanted = Outer(inner=two, maybe=two, word_or_inner=two, table={"a": two}, number=2)
    assert schema.convert(data, Outer, error=InvalidInput) == wanted


def test_a_readers_own_words_are_the_fault() -> None:
    assert _faults({"inner": {"number": "odd"}}) == [Fault("inner.number", "must be 'even'")]


def test_what_is_there_already_as_a_struct_is_taken() -> None:
    assert schema.convert({"inner": Inner(number=4)}, Outer, error=InvalidInput).inner.number == 4
