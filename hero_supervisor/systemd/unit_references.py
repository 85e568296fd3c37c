"""Our references to units. A unit that has ended stays loaded, with its result, while somebody references it.

A reference belongs to our bus connection: systemd drops them all when that is lost, so they are taken again with the
next one. systemd counts the references of each connection, so each unit is referenced once; the names are kept here.

For every unit that is referenced, and every unit job, PID 1 has a match rule on the bus, of which dbus-daemon allows a
connection 512; one more, and PID 1 is thrown off the bus for a moment (measured on 252: all references of everybody are
lost). So only so many units are referenced for longer than a stop takes. Of the others systemd forgets a run that ended
well.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import HeroError, NotFound, OperationTimeout, SystemdRefused, SystemdUnavailable

from .bus import to_manager
from .unit_status import is_loaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hero_supervisor.unit import TransientUnit

    from .bus import SystemdBus
    from .connection import Call, Connection

logger = logging.getLogger(__name__)


#: Units that are referenced while they run, and at once. The rest of 512 is for unit jobs and other clients of PID 1.
MAX_HELD: Final = 380
MAX_REFERENCES: Final = 420


class UnitReferences:
    """The units that we reference."""

    def __init__(self, bus: SystemdBus) -> None:
        self._bus: Final = bus
        self._names: set[str] = set()

    def __contains__(self, unit_name: object) -> bool:
        return unit_name in self._names

    @contextlib.contextmanager
    def started(self, unit: TransientUnit) -> Iterator[TransientUnit]:
        """Note the reference that a start with ``AddRef`` inside takes, unless systemd refuses the start.

        It is noted first: when the start is cancelled, or gets no reply, the reference may be ours already.

        Yields:
            What is to be started: without ``AddRef`` when enough units are referenced.
        """
        was_held = unit.name in self._names
        if not was_held and not self.room:
            yield replace(unit, properties=tuple(prop for prop in unit.properties if prop.name != "AddRef"))
            return
        self._names.add(unit.name)
        try:
            yield unit
        except (SystemdUnavailable, OperationTimeout):
            raise
        except HeroError:
            if not was_held:
                self._names.discard(unit.name)
            raise

    @property
    def room(self) -> int:
        """How many more units may be referenced for long."""
        return max(0, MAX_HELD - len(self._names))

    async def take(self, unit_name: str) -> bool:
        """Reference a unit unless we do already; return whether it is loaded.

        One whose file is gone or cannot be read any more, which a ``daemon-reload`` notices, cannot be referenced. It
        may run all the same: then nothing is lost but its result when it has ended. So it is with one too many.
        """
        if unit_name in self._names:
            return True
        if len(self._names) >= MAX_REFERENCES:
            return await is_loaded(self._bus.call_together, unit_name)
        self._names.add(unit_name)
        try:
            await self._bus.call(_ref(unit_name))
        except NotFound:
            self._names.discard(unit_name)
            return False
        except SystemdRefused:
            self._names.discard(unit_name)
        except HeroError:
            self._names.discard(unit_name)
            raise
        return True

    async def take_again(self, connection: Connection) -> None:
        """Reference all units again, over a new connection; forget those that systemd does not let us reference.

        Raises:
            SystemdUnavailable: The connection, or the manager behind it, is gone again.
            OperationTimeout: No reply in time.
        """
        for name in sorted(self._names):
            try:
                await connection.ask(_ref(name), timeout_s=self._bus.call_timeout_s)
            except (SystemdUnavailable, OperationTimeout):  # no unit's fault: the connection is of no use
                raise
            except HeroError as exc:
                # One unit must not keep the connection down for all others. Most often it, or its file, is gone.
                self._names.discard(name)
                logger.debug("no longer holding unit '%s': %s", name, exc)

    async def release(self, unit_name: str, *, has_failed: bool) -> None:
        """Forget a unit's failure and drop our reference: systemd unloads it, if it has ended, and its name is free."""
        self._names.discard(unit_name)
        for member in ("ResetFailedUnit", "UnrefUnit") if has_failed else ("UnrefUnit",):
            with contextlib.suppress(NotFound, SystemdRefused):  # it is unloaded already, or not referenced by us
                await self._bus.call(_on_unit(f"unload unit '{unit_name}'", member, unit_name))

    def forget(self) -> None:
        """Forget all units: the connection is closed."""
        self._names.clear()


def _ref(unit_name: str) -> Call:
    return _on_unit(f"reference unit '{unit_name}'", "RefUnit", unit_name)


def _on_unit(purpose: str, member: str, unit_name: str) -> Call:
    return to_manager(purpose, member, "s", unit_name)
