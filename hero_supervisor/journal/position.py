"""Where records are in relation to each other, as far as their cursors say.

A cursor holds an entry's number (``i``) and the id of the sequence that it is counted in (``s``). journald counts all
entries of a machine in one sequence, over all files and restarts, until its files are lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hero_supervisor.records import LogKind

if TYPE_CHECKING:
    from hero_supervisor.records import LogRecord


class Seen:
    """How far a follower has come in each sequence, to tell at the seam what it has had already."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def add(self, record: LogRecord) -> None:
        """Note a record that the follower has got. A gap is none: its cursor may be that of an entry to come."""
        if record.kind is LogKind.GAP:
            return
        sequence, number = _position(record)
        self._numbers[sequence] = max(number, self._numbers.get(sequence, 0))

    def __contains__(self, record: LogRecord) -> bool:
        sequence, number = _position(record)
        return number <= self._numbers.get(sequence, -1)


def _position(record: LogRecord) -> tuple[str, int]:
    sequence, number = record.cursor.split(";", 2)[:2]
    return sequence, int(number[2:], 16)
