"""Pure: what the docstrings of methods say, in their parts, and the comments of fields."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_SECTION: Final = re.compile(r"^(Args|Returns|Raises|Source):", re.MULTILINE)
#: ``name: text`` or ``One, Two: text``, at the indent of a section; what follows is indented further.
_ENTRY: Final = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n(?: {5,}.*)?)*)", re.MULTILINE)
#: A line of a field's comment, the line of a field.
_COMMENT: Final = re.compile(r"^    #: ?(.*)")
_FIELD: Final = re.compile(r"^    (\w+): ")
_MARKUP: Final = re.compile("``([^`]*)``")


class Docstring(NamedTuple):
    """The parts of a docstring, each without line breaks inside paragraphs."""

    #: Its first sentence, without the full stop.
    summary: str
    #: What follows it, in paragraphs; '' when nothing does.
    description: str
    #: Of the result; '' when the summary says it.
    returns: str
    #: By name.
    arguments: Mapping[str, str]
    #: Names of errors, each with its condition.
    raises: Mapping[str, str]


def docstring_of(method: Callable[..., Any] | type) -> Docstring:
    """Read the docstring of a method, or of a class."""
    head, *sections = _SECTION.split(inspect.cleandoc(method.__doc__ or ""))
    parts = dict(zip(sections[::2], sections[1::2], strict=True))
    summary, _, description = flowing(head).partition("\n\n")
    first, stop, rest = summary.partition(". ")
    return Docstring(
        summary=first.removesuffix("."),
        description="\n\n".join(text for text in (rest if stop else "", description) if text),
        returns=flowing(inspect.cleandoc(parts.get("Returns", ""))),
        arguments=_entries(parts.get("Args", "")),
        raises=_entries(parts.get("Raises", "")),
    )


def field_comments(cls: type) -> dict[str, str]:
    """Return what is said of the fields of a class, its own and inherited ones.

    A comment of ``#:`` lines is said of the field below, and of those right after it. Nothing is known without source.
    """
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.partition(".")[0] == __name__.partition(".")[0]:
            comments |= _own_comments(base)
    return comments


def _own_comments(cls: type) -> dict[str, str]:
    try:
        lines = inspect.getsource(cls).splitlines()
    except OSError:
        return {}
    comments, said, is_open = {}, "", False
    for line in lines:
        if comment := _COMMENT.match(line):
            said, is_open = (f"{said} {comment[1]}" if is_open else comment[1]), True
            continue
        is_open = False
        if field := _FIELD.match(line):
            comments[field[1]] = flowing(said)
        elif not line.startswith("     "):  # no further line of a field
            said = ""
    return {name: comment for name, comment in comments.items() if comment}


def _entries(section: str) -> dict[str, str]:
    return {name: flowing(text) for names, text in _ENTRY.findall(section) for name in names.split(", ")}


def flowing(text: str) -> str:
    """Join the lines of each paragraph; names in double backquotes get single ones, as Markdown has them."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return _MARKUP.sub(r"`\1`", "\n\n".join(paragraph for paragraph in paragraphs if paragraph))
