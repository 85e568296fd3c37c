"""Units that run once: started, and left as they ended until they are released. Jobs are such units.

They are not referenced: a job's unit keeps its end by itself (``unit/job.py``), and of references there can be a few
hundred only (``unit_references.py``). What happens to them is told by ``UnitWatcher.on_ended``.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import NotFound
from hero_supervisor.unit.end import DEAD, EXITED, QUEUED, UnitEnd

from .bus import SERVICE_INTERFACE, to_manager
from .start_failures import EXITED as CLD_EXITED
from .unit_jobs import MARGIN_S
from .unit_status import UNIT_INTERFACE, Read, read_properties

if TYPE_CHECKING:
    from hero_supervisor.unit import TransientUnit

    from .bus import SystemdBus
    from .unit_jobs import UnitJobs

#: Starts and stops under way at once: for each unit job PID 1 has one of 512 match rules, and with a thousand starts at
#: once it is thrown off the bus (measured on 252).
MAX_STARTS: Final = 48
MAX_STOPS: Final = 48

#: Where ListUnits tells the id of a unit's unit job, 0 for none. Source: org.freedesktop.systemd1(5).
_ROW_JOB_ID: Final = 7

_BRIEFLY: Final = (
    Read("sub_state", UNIT_INTERFACE, "SubState", "s"),
    Read("exec_main_code", SERVICE_INTERFACE, "ExecMainCode", "i"),
    Read("exec_main_status", SERVICE_INTERFACE, "ExecMainStatus", "i"),
)
_FULLY: Final = (
    *_BRIEFLY,
    Read("result", SERVICE_INTERFACE, "Result", "s"),
    Read("started_usec", SERVICE_INTERFACE, "ExecMainStartTimestampMonotonic", "t"),
    Read("ended_usec", SERVICE_INTERFACE, "ExecMainExitTimestampMonotonic", "t"),
    Read("left_active_usec", UNIT_INTERFACE, "ActiveExitTimestampMonotonic", "t"),
)


class OneShots:
    """The units that run once, of one manager. Every method raises what ``SystemdBus.call`` names."""

    def __init__(self, bus: SystemdBus, jobs: UnitJobs) -> None:
        self._bus: Final = bus
        self._jobs: Final = jobs
        self._starts: Final = asyncio.Semaphore(MAX_STARTS)
        self._stops: Final = asyncio.Semaphore(MAX_STOPS)

    async def launch(self, unit: TransientUnit) -> None:
        """Start a unit, and return when systemd has done so, however that went: its end tells.

        Raises:
            UnitExists: A unit of this name is loaded.
            SystemdRefused: systemd does not accept a property; the text names it.
            SystemdUnavailable, OperationTimeout: Nothing was heard in time; it may have been started.
        """
        purpose = f"start unit '{unit.name}'"
        ask = partial(self._queue_start, purpose, unit)
        async with self._starts:
            await self._jobs.outcome(ask, purpose=purpose, timeout_s=unit.start_timeout_s + MARGIN_S)

    async def sub_states(self, pattern: str) -> dict[str, str]:
        """Return the sub-states of the units whose names match a glob pattern, by name, in one round trip.

        Those that neither run nor have an end to tell are not among them; one whose start is queued is ``queued``. A
        start that was sent before, on whatever connection, has been carried out when this is answered: systemd takes
        what comes over the bus in order.
        """
        purpose = f"list the units '{pattern}'"
        call = to_manager(purpose, "ListUnitsByPatterns", "asas", [], [pattern], returns="a(ssssssouso)")
        (rows,) = await self._bus.call(call)
        return {row[0]: QUEUED if row[4] == DEAD else row[4] for row in rows if row[4] != DEAD or row[_ROW_JOB_ID]}

    async def end(self, unit_name: str) -> UnitEnd:
        """Return how a unit ended, or that it has not; its sub-state is ``dead`` when it was stopped and unloaded.

        The times are told of those only that have not ended well.
        """
        sub_state, code, status = await read_properties(self._bus.call_together, unit_name, _BRIEFLY)
        if sub_state == DEAD:  # also while its start is queued
            return UnitEnd((await self.sub_states(unit_name)).get(unit_name, DEAD))
        if sub_state == EXITED and (code, status) == (CLD_EXITED, 0):
            return UnitEnd(sub_state, exec_main_code=code)
        values = await read_properties(self._bus.call_together, unit_name, _FULLY)
        return UnitEnd(**{read.field: value for read, value in zip(_FULLY, values, strict=True)})

    async def signal(self, unit_name: str, number: int) -> None:
        """Send a signal to all processes of a unit, if it has any."""
        with contextlib.suppress(NotFound):
            await self._bus.call(
                to_manager(f"send a signal to unit '{unit_name}'", "KillUnit", "ssi", unit_name, "all", number)
            )

    async def stop(self, unit_name: str, *, timeout_s: float) -> None:
        """Stop a unit with all its processes, and wait until they have ended.

        Args:
            unit_name: Name of the unit; it need not be loaded.
            timeout_s: The unit's own stop timeout; systemd kills it when that is over.

        Raises:
            OperationTimeout: Nothing was heard in time; it is still stopping.
        """
        purpose = f"stop unit '{unit_name}'"
        ask = partial(self._queue_stop, purpose, unit_name)
        async with self._stops:
            with contextlib.suppress(NotFound):
                await self._jobs.outcome(ask, purpose=purpose, timeout_s=2 * timeout_s + MARGIN_S)

    async def release(self, unit_name: str, *, has_failed: bool, timeout_s: float) -> None:
        """Have a unit that has ended unloaded; processes that it left behind are stopped. Raises like ``stop``."""
        if not has_failed:
            await self.stop(unit_name, timeout_s=timeout_s)
            return
        with contextlib.suppress(NotFound):
            await self._bus.call(to_manager(f"unload unit '{unit_name}'", "ResetFailedUnit", "s", unit_name))

    async def _queue_start(self, purpose: str, unit: TransientUnit) -> str:
        body: tuple[object, ...] = (unit.name, "fail", self._bus.library.pairs(unit.properties), [])
        call = to_manager(purpose, "StartTransientUnit", "ssa(sv)a(sa(sv))", *body, returns="o")
        (path,) = await self._bus.call(call, repeat=False)
        return str(path)

    async def _queue_stop(self, purpose: str, unit_name: str) -> str:
        (path,) = await self._bus.call(to_manager(purpose, "StopUnit", "ss", unit_name, "replace", returns="o"))
        return str(path)
