r"""What ``herosup`` prints: JSON, tables, log lines and text. Data goes to standard output, and only data.

Ids, messages and results come from others. Where they become lines for people, whatever a terminal could take for a
command is shown as an escape (``\x1b``), so that a log line cannot move the cursor or pass for another line.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STYLES: Final = {
    "running": "green",
    "finished": "green",
    "starting": "cyan",
    "stopping": "cyan",
    "started": "cyan",
    "backoff": "yellow",
    "failed": "red",
    "error": "red",
    "stopped": "dim",
}

_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_SIZES: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def visible(value: object, *, keep: str = "") -> str:
    """Return a value as text in which nothing can steer a terminal.

    Control, format and bidirectional characters, lone surrogates and unusual spaces become escapes, except for the
    ones to ``keep``. None is the empty text.
    """
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() or char in keep else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def write(text: str) -> None:
    """Write text as it is; characters the stream's encoding does not have become escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def write_line(text: str) -> None:
    """Write one line for people."""
    write(visible(text) + "\n")


def write_result(text: str) -> None:
    """Write what a job printed: byte for byte, or harmless and ended by a line break on a terminal."""
    if not sys.stdout.isatty():
        write(text)
    elif text:
        write(visible(text, keep="\n\t").removesuffix("\n") + "\n")


def write_json(value: object) -> None:
    """Write a value as JSON. In ASCII, so it is the same everywhere and cannot steer a terminal."""
    write(json.dumps(value, indent=2) + "\n")


def write_log(records: Sequence[Mapping[str, Any]]) -> None:
    """Write log records like ``journalctl`` does: local time, then the message, further lines of it indented.

    A note on missing lines stands between dashes.
    """
    for record in records:
        when = local_time(record.get("timestamp"))
        if record.get("kind", "line") != "line":
            write(f"-- {visible(when)} {visible(record.get('message'))} --\n")
            continue
        lines = visible(record.get("message"), keep="\n\t").split("\n")
        write(f"{visible(when)} " + f"\n{' ' * len(when)} ".join(lines) + "\n")


def write_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table: in colour on a terminal that wants it, else as aligned columns."""
    cells = [[visible(cell) for cell in row] for row in rows]
    if not (_is_fancy() and _write_rich_table(columns, cells)):
        _write_plain_table([list(columns), *cells])


def _write_plain_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        write("  ".join(padded).rstrip() + "\n")


def _write_rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    try:
        # Takes as long to import as everything else together.
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(file=sys.stdout).print(table)
    return True


def _is_fancy() -> bool:
    # https://no-color.org: any value that is not empty.
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def age(timestamp: object) -> str:
    """Return how long ago a time in ISO 8601 was, like ``3 m ago``; other text stays, nothing is ``-``."""
    when = _parsed(timestamp)
    if when is None:
        return str(timestamp or "-")
    seconds = int((datetime.now(UTC) - when).total_seconds())
    return next((f"{seconds // size} {unit} ago" for size, unit in _AGES if seconds >= size), "now")


def duration(seconds: object) -> str:
    """Return a number of seconds in the largest unit that fits, like ``3 m``; what is no number is ``-``."""
    if not _is_number(seconds):
        return "-"
    return next((f"{int(seconds // size)} {unit}" for size, unit in _AGES if seconds >= size), f"{seconds:.2f} s")


def size(size_bytes: object) -> str:
    """Return a number of bytes in the largest unit that fits, like ``1.5 MiB``; what is no number is ``-``."""
    if not _is_number(size_bytes):
        return "-"
    found = next(((each, unit) for each, unit in _SIZES if size_bytes >= each), None)
    return f"{size_bytes / found[0]:.1f} {found[1]}" if found else f"{size_bytes} B"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def local_time(timestamp: object) -> str:
    """Return a time in ISO 8601 as local time with milliseconds; other text stays."""
    when = _parsed(timestamp)
    if when is None:
        return str(timestamp or "-")
    return when.astimezone().isoformat(sep=" ", timespec="milliseconds")[:23]


def _parsed(timestamp: object) -> datetime | None:
    try:
        when = datetime.fromisoformat(str(timestamp))
        return when.astimezone(UTC)
    # OverflowError: a time at the edge of the calendar.
    except (ValueError, OverflowError):
        return None
