"""Pure: what the docstring of a method says, in its parts (docs/development.md tells the form)."""

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


def _entries(section: str) -> dict[str, str]:
    return {name: flowing(text) for names, text in _ENTRY.findall(section) for name in names.split(", ")}


def flowing(text: str) -> str:
    """Join the lines of each paragraph; names in double backquotes get single ones, as Markdown has them."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return _MARKUP.sub(r"`\1`", "\n\n".join(paragraph for paragraph in paragraphs if paragraph))
