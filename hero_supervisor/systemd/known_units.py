"""What we know of units: which of them we reference, and the last status of those that has been read.

The two go together: only a unit that we reference stays loaded, so only its status may be read without asking whether
it is, and only its status is kept; and that of a unit that was not loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hero_supervisor.together import together
from hero_supervisor.unit import UnitStatus

from .status_cache import StatusCache
from .unit_references import UnitReferences
from .unit_status import is_loaded, read_status, unit_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Container, Iterable

    from .bus import SystemdBus


class KnownUnits:
    """The units of one manager."""

    def __init__(self, bus: SystemdBus) -> None:
        self._bus: Final = bus
        self.references: Final = UnitReferences(bus)
        self.statuses: Final = StatusCache()

    async def is_loaded(self, unit_name: str) -> bool:
        """Whether a unit is loaded. Loads nothing.

        Raises:
            HeroError: As ``SystemdBus.call``.
        """
        return await is_loaded(self._bus.call_together, unit_name)

    async def status(self, unit_name: str) -> UnitStatus:
        """Return the status of a unit, read now; an inactive one when it is not loaded. Loads nothing.

        Raises:
            HeroError: As ``SystemdBus.call``.
        """
        if unit_name in self.references:
            return await self.statuses.keep(unit_path(unit_name), read_status(self._bus.call_together, unit_name))
        if await self.is_loaded(unit_name):
            return await read_status(self._bus.call_together, unit_name)
        return UnitStatus(unit_name)

    def last_status(self, unit_name: str) -> UnitStatus | None:
        """Return the status of a unit that was read last, unless it has changed since, or could have unseen."""
        status = self.statuses.get(unit_path(unit_name))
        return status if unit_name in self.references or status == UnitStatus(unit_name) else None

    async def look(self, unit_names: Iterable[str], loaded: Awaitable[Container[str]]) -> dict[str, UnitStatus]:
        """Return the statuses of units by name, read now; ``loaded`` tells which of them are. Loads nothing.

        Raises:
            HeroError: As ``SystemdBus.call``.
        """
        paths = {unit_path(name): name for name in unit_names}
        with self.statuses.reading(paths) as kept:
            names = await loaded
            kept.update({path: UnitStatus(name) for path, name in paths.items() if name not in names})
        found = [*kept.values(), *await together([self.status(name) for name in paths.values() if name in names])]
        return {status.name: status for status in found}

    async def release(self, unit_name: str, *, has_failed: bool) -> None:
        """Let systemd unload a unit that has ended.

        Raises:
            HeroError: As ``SystemdBus.call``.
        """
        self.statuses.drop(unit_path(unit_name))
        await self.references.release(unit_name, has_failed=has_failed)
