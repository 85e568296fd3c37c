"""The error tree: every leaf is usable by clients."""

from __future__ import annotations

import pytest

from hero_supervisor import errors
from hero_supervisor.rpc import codes


def _classes(root: type[errors.HeroError]) -> list[type[errors.HeroError]]:
    return [root, *(found for child in root.__subclasses__() for found in _classes(child))]


CLASSES = [found for found in _classes(errors.HeroError) if found.__module__ == errors.__name__]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_has_a_docstring_a_code_and_a_place_in_the_drawn_tree(error: type[errors.HeroError]) -> None:
    assert error.__doc__
    assert error.__doc__.endswith(".")
    assert error.__name__ in (errors.__doc__ or "")
    assert any(base in codes.CODES for base in error.__mro__)


def test_kinds_are_unique() -> None:
    kinds = [error.kind for error in CLASSES]
    assert len(kinds) == len(set(kinds))


def test_codes_are_unique() -> None:
    assert len(set(codes.CODES.values())) == len(codes.CODES)


def test_a_class_without_a_row_has_the_code_of_its_parent() -> None:
    assert codes.code_of(errors.InvalidRunner([errors.Fault("id", "is required")])) == codes.INVALID_PARAMS


def test_data_holds_kind_facts_and_hint() -> None:
    error = errors.RunnerNotFound("cannot find runner 'a'", hint="list them", runner="a")
    assert error.data() == {"kind": "runner-not-found", "runner": "a", "hint": "list them"}


def test_invalid_input_lists_every_fault_in_text_and_data() -> None:
    error = errors.InvalidRunner([errors.Fault("id", "is required"), errors.Fault("env.A", "is bad")])
    assert str(error) == "cannot accept this runner definition: id: is required; env.A: is bad"
    assert error.data()["faults"] == [
        {"path": "id", "message": "is required"},
        {"path": "env.A", "message": "is bad"},
    ]
