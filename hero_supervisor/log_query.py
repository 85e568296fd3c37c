"""What to read of a log, as plain data, and a test of single records against it.

**Text** is looked for as a string, however its letters are cased, in the entries that the other conditions leave. Not
with ``journalctl --grep``: that takes a regular expression, which may take for ever; it says nothing while it finds
nothing, so a search that has to stop cannot say where; and systemd may be built without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from .errors import Fault, InvalidInput
from .records import LogKind, Priority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .records import LogRecord

#: How journald writes a position. Less of it is ambiguous, or refused by ``journalctl``.
CURSOR_PATTERN: Final = "s={id};i={number};b={id};m={number};t={number};x={number}".format(
    id="[0-9a-f]{32}", number="[0-9a-f]{1,16}"
)
#: How systemd writes the id of one run of a unit.
INVOCATION_ID_PATTERN: Final = r"^[0-9a-f]{32}$(?!\n)"
MAX_LINES: Final = 10_000
#: The least important priority: debug.
ALL_PRIORITIES: Final = 7
#: Most characters of a text to look for.
MAX_GREP_LENGTH: Final = 256

# What a caller may give, on the wire too.
Time = Annotated[datetime, Meta(tz=True, description="RFC 3339 with a time zone, like 2026-07-02T10:00:00Z.")]
Level = Priority | Annotated[int, Meta(ge=0, le=ALL_PRIORITIES)]
Text = Annotated[
    str, Meta(min_length=1, max_length=MAX_GREP_LENGTH, description="Text to look for, upper and lower case alike.")
]
Cursor = Annotated[str, Meta(description="The ``cursor`` of a log record.")]
Instance = Annotated[int, Meta(ge=1, le=9_999, description="Instance of a runner, from 1 up.")]
InvocationId = Annotated[
    str, Meta(pattern=INVOCATION_ID_PATTERN, description="One run of a unit: 32 hexadecimal digits, in lower case.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which records of which units. Records meet all conditions."""

    #: Names of units; glob characters match several. They need not be loaded.
    units: tuple[str, ...]
    #: Most records to return, from 0 to 10000.
    lines: int = 100
    #: Records that follow this position, oldest first; without it the newest ones.
    after_cursor: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: syslog priority, 0 to 7: records of this one and of more important, lower ones.
    priority: int = ALL_PRIORITIES
    #: Text in the message, upper and lower case being the same.
    grep: str | None = None
    #: One run of a unit: 32 hexadecimal digits, in lower case.
    invocation_id: str | None = None
    #: Records that the worker tagged with this job.
    job_id: str | None = None

    def checked(self) -> LogQuery:
        """Return this query.

        Raises:
            InvalidInput: It cannot be asked of a journal; with every fault.
        """
        if faults := list(self._faults()):
            raise InvalidInput(faults)
        return self

    def _faults(self) -> Iterator[Fault]:
        if self.after_cursor is not None and not re.fullmatch(CURSOR_PATTERN, self.after_cursor):
            yield Fault("after_cursor", "must be a cursor as log records have it")
        if self.invocation_id is not None and not re.search(INVOCATION_ID_PATTERN, self.invocation_id):
            yield Fault("invocation_id", "must be 32 hexadecimal digits in lower case")
        if not 0 <= self.lines <= MAX_LINES:
            yield Fault("lines", f"must be from 0 to {MAX_LINES}")
        if not 0 <= self.priority <= ALL_PRIORITIES:
            yield Fault("priority", "must be from 0 to 7")
        if self.grep is not None and not 0 < len(self.grep) <= MAX_GREP_LENGTH:
            yield Fault("grep", f"must have from 1 to {MAX_GREP_LENGTH} characters")
        for name, time in (("since", self.since), ("until", self.until)):
            if time is not None and time.tzinfo is None:
                yield Fault(name, "must have a time zone")

    def wants(self, record: LogRecord) -> bool:
        """Whether a record of one of the units meets the other conditions.

        A gap does. So do dropped lines, whatever their priority and text would have been; but whose job they were
        nobody knows.
        """
        if record.kind is not LogKind.LINE and record.kind is not LogKind.DROPPED:
            return True
        return (
            (self.job_id is None or record.job_id == self.job_id)
            and (self.invocation_id is None or record.invocation_id == self.invocation_id)
            and (self.since is None or record.timestamp >= self.since)
            and (self.until is None or record.timestamp <= self.until)
            and (record.kind is LogKind.DROPPED or (record.priority <= self.priority and self._has_text(record)))
        )

    def _has_text(self, record: LogRecord) -> bool:
        return self.grep is None or self.grep.casefold() in record.message.casefold()


def level_of(priority: Level | None) -> int:
    """Return the number of a priority, given as name or number; the least important one for None.

    Raises:
        InvalidInput: It is no priority's name.
    """
    if not isinstance(priority, str):
        return ALL_PRIORITIES if priority is None else priority
    try:
        return Priority(priority).level
    except ValueError:
        raise InvalidInput([Fault("priority", f"must be 0 to 7 or one of {', '.join(Priority)}")]) from None
