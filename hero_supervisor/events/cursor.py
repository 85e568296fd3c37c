"""Where a follower is: how many events it has seen of one run of the supervisor, and how far it is in the journal.

::

    0f3a91bc-1207
    0f3a91bc-1207,s=…;i=…;b=…;m=…;t=…;x=…     with log lines: they have the journal's own position

The part before the dash, the *epoch*, is another one for each run of the supervisor, so that a cursor of a former run
is known for what it is.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

from hero_supervisor.errors import Fault, InvalidInput
from hero_supervisor.log_query import CURSOR_PATTERN

_FORM: Final = re.compile(f"([0-9a-f]{{8}})-([0-9]{{1,16}})(?:,({CURSOR_PATTERN}))?")


class Position(NamedTuple):
    """A cursor, taken apart."""

    epoch: str
    serial: int
    #: Position in the journal; '' when no log is followed.
    log: str = ""

    def __str__(self) -> str:
        """Return the cursor."""
        return f"{self.epoch}-{self.serial}" + (f",{self.log}" if self.log else "")

    @classmethod
    def of(cls, cursor: str) -> Self:
        """Take a cursor apart.

        Raises:
            InvalidInput: It is none.
        """
        found = _FORM.fullmatch(cursor)
        if found is None:
            raise InvalidInput([Fault("since", "must be the cursor of an event")])
        return cls(found[1], int(found[2]), found[3] or "")
