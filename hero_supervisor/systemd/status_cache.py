"""The last status read of each unit, for as long as systemd has not said that the unit has changed.

Reading the statuses of 300 units takes systemd, the bus and us some 60 ms; that nothing has changed takes a moment.

An entry goes with the first signal that says that anything of its service has changed (state, process, run, restarts:
systemd sends one for each), by itself or by whomever; all go when signals may have been missed: the manager reloaded
or re-executed itself, the connection was lost. A signal may come while a status is being read. Then what was read may
be from before it, so it is given to who asked, and not kept.

**What it can show, and for how long.** systemd sends the signals of what has happened before it takes the next call,
and on one connection everything arrives in order. So who first makes a call, any call, and asks here when it is
answered, is told what was true when systemd answered. Two things can escape:

- While more than a thousand messages of systemd wait for a slow bus it holds signals back: until it has sent them,
  what was true before.
- ``systemctl reset-failed`` of a unit that runs makes its count of restarts 0 without a signal: until the unit's next
  change, the old count.

Only for units that we reference, and for those that are not loaded: what is loaded without our reference can be
unloaded, which no signal here tells, and what is not loaded can come to life only with signals.

Rejected: asking systemd for all states at each question (3 ms for 300 units, and what it lists has neither process nor
run); taking values from the signals (each holds some properties of its interface and not the other's: what is of one
moment is known only by reading it); a time to live (the answer would be wrong for just as long).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator

    from hero_supervisor.unit import UnitStatus

#: Statuses kept; when there are more all are forgotten, and read again.
MAX_KEPT: Final = 10_000


class StatusCache:
    """Statuses by the object paths of their units."""

    def __init__(self) -> None:
        self._statuses: dict[str, UnitStatus] = {}
        # The latest read of each unit that is under way, unless the unit has changed since it began.
        self._reading: dict[str, object] = {}

    def get(self, path: str) -> UnitStatus | None:
        """Return the status of a unit, unless it has changed since it was read."""
        return self._statuses.get(path)

    async def keep(self, path: str, read: Awaitable[UnitStatus]) -> UnitStatus:
        """Read a status and return it; keep it unless the unit changes meanwhile.

        Raises:
            HeroError: What ``read`` raises.
        """
        with self.reading([path]) as kept:
            kept[path] = await read
        return kept[path]

    @contextmanager
    def reading(self, paths: Iterable[str]) -> Iterator[dict[str, UnitStatus]]:
        """Keep the statuses by path that are put into the dictionary, but those of units that change meanwhile."""
        marks = {path: object() for path in paths}
        self._reading.update(marks)
        kept: dict[str, UnitStatus] = {}
        try:
            yield kept
        finally:
            if len(self._statuses) > MAX_KEPT:  # of units whose runners are long gone
                self._statuses.clear()
            for path, mark in marks.items():
                if self._reading.get(path) is mark:
                    del self._reading[path]
                    self._statuses.update({path: kept[path]} if path in kept else {})

    def drop(self, path: str) -> None:
        """Forget a unit: it has changed."""
        self._statuses.pop(path, None)
        self._reading.pop(path, None)

    def clear(self) -> None:
        """Forget all units: any may have changed."""
        self._statuses.clear()
        self._reading.clear()
