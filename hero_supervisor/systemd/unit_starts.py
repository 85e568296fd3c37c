"""The start of a unit, until systemd says how it went; what is made of that is ``manager.py``'s.

``StartTransientUnit`` → correct the unit's file, if systemd writes it wrong (``transient_file.py``) → wait for the unit
job → read the status: three round trips. What can come in between:

- **A unit of this name is loaded.** Only when systemd says UnitExists is there a look at what is in the way: what has
  ended is cleared away, what runs is an error.
- **The manager re-executes itself under the call**, and the reply is lost. What it knows of the unit afterwards tells
  whether the call was carried out: then its unit job is waited for, else the call is made again.
- **We die before the file is corrected.** Who adopts the unit can have that done later, by ``mend``.
- **A** ``daemon-reload`` **reads the file before it is corrected**, and the unit job fails for want of a command: the
  start is made again.
- **The program ends at once and is executed again** by a ``Restart=`` without delay: the status is read when that has
  come to an end, for while it is being executed it does not tell how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import HeroError, UnitExists

from .bus import SERVICE_INTERFACE, ManagerAbsent, to_manager
from .transient_file import correct, corrections, is_told, surviving, told_as
from .unit_jobs import MARGIN_S, UNSEEN
from .unit_status import ACTIVE_STATE, FRAGMENT_PATH, JOB, LEFT_INACTIVE, LOAD_STATE, Read, read_properties

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hero_supervisor.unit import TransientUnit, UnitStatus

    from .bus import SystemdBus
    from .known_units import KnownUnits
    from .unit_jobs import UnitJobs

    #: What ``corrections`` returns.
    Wrong = Mapping[str, Sequence[str]]

logger = logging.getLogger(__name__)

#: How often, and after how many seconds, the status is read again when a failed start is being repeated already.
SETTLE_READS: Final = 50
SETTLE_PAUSE_S: Final = 0.02

#: How often a start is sent: again after clearing away what was left over, and when the manager re-executed itself.
MAX_STARTS: Final = 3


class UnitStarts:
    """Starts units of one manager."""

    def __init__(self, bus: SystemdBus, jobs: UnitJobs, units: KnownUnits) -> None:
        self._bus: Final = bus
        self._jobs: Final = jobs
        self._units: Final = units

    async def start(self, unit: TransientUnit, *, version: int) -> tuple[str, UnitStatus]:
        """Start a unit and wait for its unit job.

        Args:
            unit: What to start. Left-overs of an earlier run under its name are cleared away.
            version: The manager's version.

        Returns:
            How the unit job ended, in systemd's words, and the unit's status then.

        Raises:
            HeroError: As ``SystemdManager.start``, but for what follows from that.
        """
        unit = surviving(unit, version=version)
        job_result = await self._job_result(unit, corrections(unit, version=version))
        if job_result == "done":
            return job_result, await self._units.status(unit.name)
        status = await self._settled_status(unit.name)
        if job_result == UNSEEN:
            job_result = "done" if status.result == "success" else "failed"
        return job_result, status

    async def mend(self, unit: TransientUnit, *, version: int) -> None:
        """Correct the file of a unit that was started before, as ``start`` does.

        Args:
            unit: What was started.
            version: The manager's version.
        """
        unit = surviving(unit, version=version)
        wrong = corrections(unit, version=version)
        if not wrong or unit.name not in self._units.references:
            return
        reads = [Read(name, SERVICE_INTERFACE, name, told_as(unit, name)) for name in wrong]
        with _good_enough_without(unit.name):
            path, *told = await read_properties(self._bus.call_together, unit.name, [FRAGMENT_PATH, *reads])
            ours = {name: wrong[name] for name, value in zip(wrong, told, strict=True) if is_told(unit, name, value)}
            await asyncio.to_thread(correct, path, ours)

    async def _job_result(self, unit: TransientUnit, wrong: Wrong) -> str:
        """Start a unit and return the result of the unit job."""
        ask = partial(self._ask, unit, wrong)
        purpose, timeout_s = f"start unit '{unit.name}'", unit.start_timeout_s + MARGIN_S
        for _ in range(MAX_STARTS):
            job_result = await self._jobs.outcome(ask, purpose=purpose, timeout_s=timeout_s)
            if job_result not in {"failed", UNSEEN} or not wrong or not await self._was_misread(unit.name):
                break
            await self._units.release(unit.name, has_failed=True)
        return job_result

    async def _was_misread(self, unit_name: str) -> bool:
        """Whether a ``daemon-reload`` read a unit's file before we could correct it, and so lost its command."""
        if not await self._units.is_loaded(unit_name):
            return False
        state, load_state = await read_properties(self._bus.call_together, unit_name, [ACTIVE_STATE, LOAD_STATE])
        return state in {"inactive", "failed"} and load_state == "bad-setting"

    async def _settled_status(self, unit_name: str) -> UnitStatus:
        """Return the status of a unit that is not just being executed again by a ``Restart=`` without delay."""
        status = await self._units.status(unit_name)
        for _ in range(SETTLE_READS):
            if (status.active_state, status.sub_state) != ("activating", "start"):
                break
            await asyncio.sleep(SETTLE_PAUSE_S)  # there is no signal that we listen to
            status = await self._units.status(unit_name)
        return status

    async def _ask(self, unit: TransientUnit, wrong: Wrong) -> str:
        """Queue the start of a unit and return the path of its unit job; '' when that has ended unseen."""
        since_usec = time.monotonic_ns() // 1000  # systemd's monotonic times are of the same clock
        for _ in range(MAX_STARTS):
            try:
                return await self._start_transient(unit, wrong)
            except UnitExists:
                await self._clear_away(unit.name)
            except ManagerAbsent:
                path = await self._started_meanwhile(unit.name, since_usec)
                if path is not None:
                    await self._correct(unit.name, wrong)
                    return path
        text = "a unit of this name is loaded and cannot be unloaded"
        raise UnitExists(f"cannot start unit '{unit.name}': {text}", unit=unit.name)

    async def _start_transient(self, unit: TransientUnit, wrong: Wrong) -> str:
        with self._units.references.started(unit) as started:
            body: tuple[object, ...] = (unit.name, "fail", self._bus.library.pairs(started.properties), [])
            call = to_manager(f"start unit '{unit.name}'", "StartTransientUnit", "ssa(sv)a(sa(sv))", *body, returns="o")
            (path,) = await self._bus.call(call, repeat=False)
        await self._correct(unit.name, wrong)
        return str(path)

    async def _correct(self, unit_name: str, wrong: Wrong) -> None:
        """Correct the file of a unit that would not survive a ``daemon-reload``."""
        if not wrong:
            return
        with _good_enough_without(unit_name):
            (path,) = await read_properties(self._bus.call_together, unit_name, [FRAGMENT_PATH])
            await asyncio.to_thread(correct, path, wrong)

    async def _clear_away(self, unit_name: str) -> None:
        """Unload a unit that has ended.

        Raises:
            UnitExists: It has not ended.
        """
        if not await self._units.is_loaded(unit_name):
            return
        (state,) = await read_properties(self._bus.call_together, unit_name, [ACTIVE_STATE])
        if state not in {"inactive", "failed"}:
            text = f"cannot start unit '{unit_name}': it is {state} already"
            raise UnitExists(text, unit=unit_name, active_state=state)
        await self._units.release(unit_name, has_failed=state == "failed")

    async def _started_meanwhile(self, unit_name: str, since_usec: int) -> str | None:
        """Return the path of the unit job of a start whose reply was lost, '' when that ended, None without one."""
        if not await self._units.is_loaded(unit_name):
            return None
        job, left_inactive_usec = await read_properties(self._bus.call_together, unit_name, [JOB, LEFT_INACTIVE])
        job_id, path = job
        if job_id:
            return str(path)
        return "" if left_inactive_usec >= since_usec else None


@contextlib.contextmanager
def _good_enough_without(unit_name: str) -> Iterator[None]:
    """Ignore that a file cannot be corrected: the unit runs, and only after a reload not again, or with other paths."""
    try:
        yield
    except (OSError, HeroError) as exc:
        logger.debug("cannot correct the file of unit '%s', ignoring: %s", unit_name, exc)
