"""What ``herosup`` reads: ``K=V`` pairs, times, runner definitions and payloads."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .failure import WrongUsage

if TYPE_CHECKING:
    from collections.abc import Iterable

#: More than the service accepts; it only keeps an endless input from filling the memory.
MAX_INPUT_BYTES: Final = 8 * 1024 * 1024

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def pairs_in(words: Iterable[str], what: str) -> dict[str, str]:
    """Split words of the form ``K=V``; a later one wins.

    Raises:
        WrongUsage: A word has no name or no ``=``. ``what`` names the words in the message.
    """
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise WrongUsage(f"cannot use {what} {word!r}: it is not NAME=VALUE")
        pairs[name] = value
    return pairs


def text_of(source: str) -> str:
    """Return the text of a file, or of standard input for ``-``.

    Raises:
        WrongUsage: It cannot be read, is no UTF-8, or is longer than MAX_INPUT_BYTES.
    """
    try:
        data = _bytes_of(source)
        text = data.decode()
    except (OSError, UnicodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not UTF-8"
        raise WrongUsage(f"cannot read {source}: {reason}") from exc
    if len(data) > MAX_INPUT_BYTES:
        raise WrongUsage(f"cannot read {source}: it is longer than {MAX_INPUT_BYTES} bytes")
    return text


def _bytes_of(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    with Path(source).open("rb") as file:
        return file.read(MAX_INPUT_BYTES + 1)


def time_from(text: str) -> str:
    """Return a time as the service takes it: from ISO 8601, local where it has no zone, or from an age like ``-5m``.

    Raises:
        WrongUsage: It is neither.
    """
    try:
        if age := re.fullmatch(r"-(\d{1,9})([smhd])", text):
            when = datetime.now(UTC) - timedelta(seconds=int(age[1]) * _SECONDS[age[2]])
        else:
            when = datetime.fromisoformat(text).astimezone(UTC)
    # OverflowError, OSError: a time at the edge of the calendar.
    except (ValueError, OverflowError, OSError) as exc:
        raise WrongUsage(f"cannot use time {text!r}", hint="like 2026-07-02T10:00, or -5m for 5 minutes ago") from exc
    return when.isoformat()


def definition_in(source: str) -> dict[str, Any]:
    """Return a runner definition from a JSON or TOML file.

    Raises:
        WrongUsage: It is neither, or cannot be read.
    """
    definition = _document_in(source)
    if not isinstance(definition, dict):
        raise WrongUsage(f"cannot read {source}: a runner definition is one object")
    return definition


def definitions_in(source: str) -> object:
    """Return what a JSON or TOML file declares under ``runners``.

    Raises:
        WrongUsage: It is neither, cannot be read, or declares nothing.
    """
    document = _document_in(source)
    if not isinstance(document, dict) or "runners" not in document:
        raise WrongUsage(f"cannot read {source}: it has no 'runners'", hint="begin each definition with [[runners]]")
    return document["runners"]


def _document_in(source: str) -> Any:
    text = text_of(source)
    # By content, not by name, so standard input works too: no TOML document begins with a brace. One that begins with
    # a bracket has a table, and as JSON it would not be the object that is asked for.
    is_json = text.lstrip().startswith("{")
    try:
        return json.loads(text) if is_json else tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise WrongUsage(f"cannot read {source} as {'JSON' if is_json else 'TOML'}: {exc}") from exc


def payload_from(payload: str | None, file: str | None) -> str:
    """Return a job's payload: the word itself, standard input for ``-``, or the text of a file.

    Raises:
        WrongUsage: None or both are given, or it cannot be read.
    """
    if (payload is None) == (file is None):
        raise WrongUsage("cannot tell what to run: give one of PAYLOAD, --file FILE, or '-' for standard input")
    source = file or ("-" if payload == "-" else None)
    return text_of(source) if source else str(payload)


def params_from(words: list[str]) -> object:
    """Return the parameters of a raw call: ``k=v`` words, or one word that is a JSON list or object.

    A value is taken as JSON when it is JSON, and as a string otherwise.

    Raises:
        WrongUsage: A word is neither.
    """
    if len(words) == 1 and words[0].startswith(("[", "{")):
        try:
            return json.loads(words[0])
        except (ValueError, RecursionError) as exc:
            raise WrongUsage(f"cannot read the parameters as JSON: {exc}") from exc
    return {name: _json_or_text(value) for name, value in pairs_in(words, "parameter").items()} or None


def _json_or_text(value: str) -> object:
    # NaN and Infinity are Python's additions to JSON; here they are words.
    if value in {"NaN", "Infinity", "-Infinity"}:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
