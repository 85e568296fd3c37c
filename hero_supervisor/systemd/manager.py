"""``SystemdManager``: starts, stops and looks at units of one systemd manager. It owns the bus connection.

The start of a unit is in ``unit_starts.py``; what is made of how it went is here.

**References** keep the result of a unit that has ended (``unit_references.py``): units are started with ``AddRef``,
others are referenced when they are adopted or stopped.

**A start that failed** leaves the unit loaded, so that its status tells why; the next start, or a stop, clears it away.
If its program was never executed it is also stopped, for its ``Restart=`` would try the same again and again. If it
ran but ended before it was ready, ``Restart=`` is left to do its work.

**Cancellation and deadlines** leave the unit job to go on in systemd: ask for the status, or stop the unit.

Nothing here serialises: starting and stopping one unit at once is for the caller to prevent.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from hero_supervisor.errors import Conflict, HeroError, NotFound, SystemdUnavailable, UnitFailed
from hero_supervisor.together import together
from hero_supervisor.unit import Capabilities, UnitStatus

from .bus import CALL_TIMEOUT_S, MANAGER_INTERFACE, MANAGER_PATH, SystemdBus, address_of, to_manager
from .capabilities import read_capabilities, read_version
from .connection import Call
from .fence import Fence
from .known_units import KnownUnits
from .one_shots import OneShots
from .start_failures import never_ran, start_failure, was_started
from .unit_jobs import LOOK_INTERVAL_S, MARGIN_S, UNSEEN, UnitJobs
from .unit_starts import UnitStarts
from .unit_status import get_property, name_in, value_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hero_supervisor.ports import UnitWatcher
    from hero_supervisor.unit import Property, TransientUnit

    from .connection import Connection
    from .library import Library

#: Changed properties last as long as the unit is loaded, and are not written to disk.
RUNTIME: Final = True


class SystemdManager:
    """Starts, stops and looks at transient units. Use it as ``async with``, or ``open`` and ``close`` it."""

    def __init__(
        self,
        *,
        user: bool = False,
        address: str | None = None,
        library: Library | None = None,
        call_timeout_s: float = CALL_TIMEOUT_S,
        look_interval_s: float = LOOK_INTERVAL_S,
    ) -> None:
        """Prepare; nothing is contacted before ``open``.

        Args:
            user: This user's manager instead of the system's.
            address: D-Bus address of the bus the manager is on; that manager's usual bus when not given.
            library: The D-Bus library; the best installed one when not given.
            call_timeout_s: Seconds for each reply of the manager.
            look_interval_s: Seconds between two looks at a unit job that nothing is heard of.
        """
        self._bus = SystemdBus(address or address_of(user=user), self, library=library, call_timeout_s=call_timeout_s)
        self._jobs = UnitJobs(self._is_job_gone, look_interval_s=look_interval_s)
        self._fence = Fence(lambda: self._bus.call(_PING))
        self._units = KnownUnits(self._bus)
        self._starts = UnitStarts(self._bus, self._jobs, self._units)
        #: Units that run once.
        self.one_shots: Final = OneShots(self._bus, self._jobs)
        self._is_user = user
        self._version = 0
        self._capabilities = Capabilities(is_user=user)
        self._watchers: list[UnitWatcher] = []
        self._on_change: Callable[[str], None] | None = None

    @property
    def reconnects(self) -> int:
        """How often the connection to the manager was lost and made again."""
        return self._bus.reconnects

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, and keep connected until ``close``.

        Raises:
            SystemdUnavailable: There is no manager to be reached, or it is older than 252.
            PermissionDenied: The bus does not let us in.
        """
        await self._bus.open()
        try:
            self._version = await read_version(self._bus)
            self._capabilities = read_capabilities(self._version, is_user=self._is_user)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect. Units run on; those that have ended are unloaded by systemd unless they failed."""
        self._watchers.clear()
        await self._bus.close()
        self._units.references.forget()

    @property
    def version(self) -> int:
        """Version of systemd, as in 252; 0 before ``open``."""
        return self._version

    @property
    def capabilities(self) -> Capabilities:
        """What the manager can do; known once this is open."""
        return self._capabilities

    @property
    def connected(self) -> bool:
        """Whether the manager can be asked now."""
        return self._bus.connected

    def watch(self, watcher: UnitWatcher) -> None:
        """Tell ``watcher`` from now on what happens to units, foreign ones included."""
        self._watchers.append(watcher)

    def tell_changes_to(self, on_change: Callable[[str], None] | None) -> None:
        """Tell one listener from now on the name of each service unit of which anything changes; ``None``: nobody.

        There are a dozen changes for a start, and units of others are among them; nothing may be awaited there.
        """
        self._on_change = on_change

    # -- verbs ---------------------------------------------------------------------------------------------------

    async def start(self, unit: TransientUnit) -> UnitStatus:
        """Start a unit and wait until systemd calls it started.

        Args:
            unit: What to start. Left-overs of an earlier run under its name are cleared away.

        Returns:
            The status right after; a program that ended at once was started all the same.

        Raises:
            UnitExists: A unit of this name runs, or has a unit file.
            CommandNotExecutable: Its program does not exist or cannot be executed.
            UnitFailed: It ended, or ran out of time, before it was ready.
            Conflict: A stop came in between.
            OperationTimeout: Nothing was heard in time; it is still starting.
            SystemdUnavailable: The connection is, or was, lost; it may be starting.
            SystemdRefused: systemd does not accept a property; the text names it.
            PermissionDenied: We may not start units.

        Source: org.freedesktop.systemd1(5).
        """
        job_result, status = await self._starts.start(unit, version=self._version)
        if job_result == "done" or (job_result == "failed" and was_started(unit, status)):
            return status
        if never_ran(status) and status.is_running:
            with contextlib.suppress(HeroError):  # why it did not start is what matters
                await self._stop(unit.name, timeout_s=unit.stop_timeout_s)
        raise await asyncio.to_thread(start_failure, unit, job_result, status)

    async def stop(self, unit_name: str, *, timeout_s: float) -> UnitStatus:
        """Stop a unit, wait until it has ended and free its name.

        Args:
            unit_name: Name of the unit; it need not be loaded.
            timeout_s: The unit's own stop timeout; systemd kills it when that is over.

        Returns:
            Its last status, whose ``result`` says how it ended ('timeout' when it had to be killed); an inactive
            one when it was not loaded.

        Raises:
            Conflict: A start came in between.
            OperationTimeout: Nothing was heard in time; it is still stopping.
            SystemdUnavailable: The connection is, or was, lost; it may be stopping.
            PermissionDenied: We may not stop units.
        """
        # Without a reference a unit that has ended is gone before its result can be read.
        if not await self._units.references.take(unit_name) and not (await self.status(unit_name)).is_running:
            return UnitStatus(unit_name)
        with contextlib.suppress(NotFound):  # it has ended, and systemd can no longer read its unit file
            if await self._stop(unit_name, timeout_s=timeout_s) == "canceled":
                raise Conflict(f"cannot stop unit '{unit_name}': a later start canceled it", unit=unit_name)
        status = await self.status(unit_name)
        if not status.is_running:
            await self._units.release(unit_name, has_failed=status.active_state == "failed")
        return status

    async def reload(self, unit_name: str, *, timeout_s: float) -> None:
        """Execute a unit's reload command and wait for its end.

        Args:
            unit_name: Name of a unit that runs and has an ``ExecReload=``.
            timeout_s: Seconds to wait.

        Raises:
            NotFound: The unit is not loaded.
            UnitFailed: The command failed, or the unit does not run.
            SystemdRefused: The unit has no reload command.
            OperationTimeout: It has not ended in time; it goes on.
            SystemdUnavailable: The connection is, or was, lost.
        """
        purpose = f"reload unit '{unit_name}'"
        ask = partial(self._queue, purpose, "ReloadUnit", unit_name)
        result = await self._jobs.outcome(ask, purpose=purpose, timeout_s=timeout_s)
        if result not in {"done", UNSEEN}:
            text = f"cannot {purpose}: its reload command failed, or it does not run"
            raise UnitFailed(text, unit=unit_name, unit_job=result)

    async def kill(self, unit_name: str, *, signal: int, main_only: bool = False) -> None:
        """Send a signal to the processes of a unit, at once and in any state.

        Args:
            unit_name: Name of the unit.
            signal: Its number.
            main_only: To the main process only, instead of the whole control group.

        Raises:
            NotFound: The unit is not loaded.
            SystemdRefused: It has no process.
            SystemdUnavailable: The connection is, or was, lost.
        """
        whom = "main" if main_only else "all"
        await self._bus.call(
            to_manager(f"send a signal to unit '{unit_name}'", "KillUnit", "ssi", unit_name, whom, signal)
        )

    async def freeze(self, unit_name: str, *, thaw: bool = False) -> None:
        """Stop all processes of a unit from being scheduled, or let them go on.

        Raises:
            NotFound: The unit is not loaded.
            SystemdRefused: It does not run, or the kernel cannot freeze it.
            SystemdUnavailable: The connection is, or was, lost.
        """
        verb = "thaw" if thaw else "freeze"
        await self._bus.call(to_manager(f"{verb} unit '{unit_name}'", f"{verb.title()}Unit", "s", unit_name))

    async def set_properties(self, unit_name: str, properties: Sequence[Property]) -> None:
        """Change properties of a loaded unit until it is unloaded; systemd does that for resource control only.

        Raises:
            NotFound: The unit is not loaded.
            SystemdRefused: A property cannot be changed, or not to this value; the text names it.
            SystemdUnavailable: The connection is, or was, lost.
        """
        body: tuple[object, ...] = (unit_name, RUNTIME, self._bus.library.pairs(properties))
        await self._bus.call(
            to_manager(f"change properties of unit '{unit_name}'", "SetUnitProperties", "sba(sv)", *body)
        )

    async def status(self, unit_name: str) -> UnitStatus:
        """Return the status of a unit, read now; an inactive one when it is not loaded. Loads nothing.

        Raises:
            SystemdUnavailable: The connection is, or was, lost.
        """
        return await self._units.status(unit_name)

    async def statuses(self, unit_names: Sequence[str], *, pattern: str) -> list[UnitStatus]:
        """Return the statuses of many units, in order; inactive ones of those that are not loaded. Loads nothing.

        One round trip when systemd has told of no change since they were read (``status_cache.py`` says what that can
        miss). What has changed is read, as by ``status``.

        Args:
            unit_names: Names of the units.
            pattern: A glob pattern that all of them match.

        Raises:
            SystemdUnavailable: The connection is, or was, lost.
        """
        await self._fence.wait()
        statuses = {name: status for name in unit_names if (status := self._units.last_status(name))}
        if len(statuses) < len(unit_names):
            unknown = [name for name in unit_names if name not in statuses]
            statuses.update(await self._units.look(unknown, self.states(pattern)))
        return [statuses[name] for name in unit_names]

    async def states(self, pattern: str) -> dict[str, str]:
        """Return the active states of the loaded units whose names match a glob pattern, by name, in one round trip.

        Raises:
            SystemdUnavailable: The connection is, or was, lost.
        """
        call = to_manager(
            f"list the units '{pattern}'", "ListUnitsByPatterns", "asas", [], [pattern], returns="a(ssssssouso)"
        )
        (rows,) = await self._bus.call(call)
        return {row[0]: row[3] for row in rows}

    async def is_shutting_down(self) -> bool:
        """Return whether the manager stops all units, because the machine, or the user's session, ends.

        Raises:
            SystemdUnavailable: The connection is, or was, lost.
        """
        call = get_property(MANAGER_PATH, MANAGER_INTERFACE, "SystemState", purpose="ask whether systemd is stopping")
        return str(value_in(await self._bus.call(call), "SystemState", "s")) == "stopping"

    async def adopt(self, pattern: str) -> list[UnitStatus]:
        """Reference all loaded units whose names match a glob pattern, and return their statuses by name.

        Those that cannot be referenced, because their file is gone or cannot be read, or because there are too many
        (``unit_references.py``), are among them if they run.

        Raises:
            SystemdUnavailable: The connection is, or was, lost.
        """
        names = sorted(await self.states(pattern))
        await together([self._units.references.take(name) for name in names[: self._units.references.room]])
        statuses = await together([self.status(name) for name in names])
        return [status for status in statuses if status.name in self._units.references or status.is_running]

    async def mend(self, unit: TransientUnit) -> None:
        """Let an adopted unit survive a ``daemon-reload``, as one that is started here (``transient_file.py``).

        Whoever started it may have died before it came to that. Nothing is done to a unit that survives as it is or is
        not referenced, nor to what is otherwise than said here: it was started as something else. Failures are ignored.

        Args:
            unit: What it was started as.
        """
        await self._starts.mend(unit, version=self._version)

    # -- what the bus tells ----------------------------------------------------------------------------------------

    def on_job_removed(self, path: str, result: str) -> None:
        """Pass on that a unit job ended."""
        self._jobs.on_removed(path, result)

    def on_changed(self, path: str) -> None:
        """Forget the status of a unit, and pass on that it has changed."""
        self._units.statuses.drop(path)
        if self._on_change is not None:
            self._on_change(name_in(path))

    def on_main_process_ended(self, path: str) -> None:
        """Pass on that a unit has no main process any more."""
        name = name_in(path)
        for watcher in self._watchers:
            watcher.on_ended(name)

    def on_doubt(self) -> None:
        """Pass on that signals may have been missed."""
        self._units.statuses.clear()
        self._jobs.on_doubt()
        for watcher in self._watchers:
            watcher.on_doubt()

    def on_loss(self, loss: SystemdUnavailable) -> None:
        """Pass on that the connection is lost."""
        self._units.statuses.clear()
        self._jobs.on_loss(loss)

    async def restore(self, connection: Connection) -> None:
        """Take our references again: systemd dropped them with the old connection."""
        await self._units.references.take_again(connection)

    def on_restored(self) -> None:
        """Pass on that the connection can be used again; what happened meanwhile was not seen."""
        for watcher in self._watchers:
            watcher.on_doubt()

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _stop(self, unit_name: str, *, timeout_s: float) -> str:
        """Stop a unit and return the result of the unit job."""
        purpose = f"stop unit '{unit_name}'"
        ask = partial(self._queue, purpose, "StopUnit", unit_name)
        # The unit's stop timeout counts twice: systemd waits as long again after SIGKILL.
        return await self._jobs.outcome(ask, purpose=purpose, timeout_s=2 * timeout_s + MARGIN_S)

    async def _queue(self, purpose: str, member: str, unit_name: str) -> str:
        """Queue a unit job that replaces any other of the unit, and return its path."""
        (path,) = await self._bus.call(to_manager(purpose, member, "ss", unit_name, "replace", returns="o"))
        return str(path)

    async def _is_job_gone(self, path: str) -> bool:
        try:
            await self._bus.call(
                get_property(path, "org.freedesktop.systemd1.Job", "State", purpose="look at a unit job")
            )
        except NotFound:
            return True
        return False


_PING: Final = Call("ask whether systemd is there", MANAGER_PATH, "org.freedesktop.DBus.Peer", "Ping")
