"""What the supervisor asks of the outside, as protocols: units to run, news of them, their logs and their ends.

The real ones are ``systemd.SystemdManager``, ``journal.JournalSource`` and ``exits.ExitWatcher``; stand-ins for tests
are in ``testing.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from .access_records import AuditEntry, AuditNote, AuditQuery
    from .log_query import LogQuery
    from .records import ExitReason, ExitRecord, LogRecord
    from .unit import Capabilities, Property, TransientUnit, UnitEnd, UnitStatus


class UnitWatcher(Protocol):
    """Who wants to know what happens to units. Its methods must not raise, and return at once."""

    def on_ended(self, unit_name: str) -> None:
        """The main process of a unit has ended; the unit may be started again already."""

    def on_doubt(self) -> None:
        """News may have been missed: anything may have happened to any unit."""


class OneShotUnits(Protocol):
    """Units that run once, and keep their end until they are released."""

    async def launch(self, unit: TransientUnit) -> None:
        """Start a unit, and return when that has been done; how it went tells its end."""

    async def sub_states(self, pattern: str) -> dict[str, str]:
        """Return the sub-states of the loaded units whose names match a glob pattern, by name."""

    async def end(self, unit_name: str) -> UnitEnd:
        """Return how a unit ended, or that it has not."""

    async def signal(self, unit_name: str, number: int) -> None:
        """Send a signal to all processes of a unit."""

    async def stop(self, unit_name: str, *, timeout_s: float) -> None:
        """Stop a unit, and wait until all its processes have ended."""

    async def release(self, unit_name: str, *, has_failed: bool, timeout_s: float) -> None:
        """Have a unit that has ended unloaded."""


class ProcessManager(Protocol):
    """Starts, stops and looks at units."""

    @property
    def capabilities(self) -> Capabilities:
        """What the manager of the units can do; known once this is open."""

    @property
    def one_shots(self) -> OneShotUnits:
        """Units that run once."""

    @property
    def reconnects(self) -> int:
        """How often the connection to the manager was lost and made again."""

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect; units run on."""

    def watch(self, watcher: UnitWatcher) -> None:
        """Tell ``watcher`` from now on, until ``close``, what happens to units, foreign ones included."""

    def tell_changes_to(self, on_change: Callable[[str], None] | None) -> None:
        """Tell one listener from now on the name of each service unit of which anything changes; ``None``: nobody."""

    async def start(self, unit: TransientUnit) -> UnitStatus:
        """Start a unit and wait for the outcome."""

    async def stop(self, unit_name: str, *, timeout_s: float) -> UnitStatus:
        """Stop a unit, wait for the outcome and free its name."""

    async def reload(self, unit_name: str, *, timeout_s: float) -> None:
        """Execute a unit's reload command and wait for its end."""

    async def kill(self, unit_name: str, *, signal: int, main_only: bool = False) -> None:
        """Send a signal to the processes of a unit."""

    async def freeze(self, unit_name: str, *, thaw: bool = False) -> None:
        """Let the processes of a unit stand still, or go on."""

    async def set_properties(self, unit_name: str, properties: Sequence[Property]) -> None:
        """Change resource limits of a unit that runs."""

    async def status(self, unit_name: str) -> UnitStatus:
        """Return what is known of a unit; an inactive status when it is not loaded."""

    async def statuses(self, unit_names: Sequence[str], *, pattern: str) -> list[UnitStatus]:
        """Return what is known of many units, whose names all match a glob pattern, in order."""

    async def states(self, pattern: str) -> dict[str, str]:
        """Return the active states of the loaded units whose names match a glob pattern, by name."""

    async def is_shutting_down(self) -> bool:
        """Return whether the manager stops all units, because the machine, or the user's session, ends."""

    async def adopt(self, pattern: str) -> list[UnitStatus]:
        """Take over the loaded units whose names match a glob pattern."""

    async def mend(self, unit: TransientUnit) -> None:
        """Do for a unit that was taken over what a start does for its later restarts; it never fails."""


class LogSource(Protocol):
    """Reads and follows the log of units."""

    async def read(self, query: LogQuery) -> list[LogRecord]:
        """Return log records, oldest first."""

    def follow(self, query: LogQuery) -> AsyncGenerator[LogRecord, None]:
        """Return log records as they come, after those there are already."""

    async def close(self) -> None:
        """End all that follow."""


class ExitKind(NamedTuple):
    """What ends of runs are counted by."""

    runner: str
    reason: ExitReason
    #: Whether systemd was to start it again by itself.
    will_restart: bool


class ExitSource(Protocol):
    """Knows how the runs of runners ended."""

    async def open(self) -> None:
        """Begin to take note of ends; those that happened meanwhile are found, too."""

    async def close(self) -> None:
        """Stop it."""

    def watch(self, on_exit: Callable[[ExitRecord], None]) -> None:
        """Tell ``on_exit`` from now on of each end that is taken note of; it must not raise."""

    async def expect(self, unit_name: str, invocation_id: str, reason: ExitReason) -> None:
        """Take down, before a run is stopped, why it will be."""

    def cause(self, invocation_id: str) -> ExitReason | None:
        """Return why a run was about to be stopped; None when it was not, or by an operator."""

    @property
    def counts(self) -> Mapping[ExitKind, int]:
        """How many ends were taken note of since this was opened, by kind."""

    async def exits(self, runner: str, *, instance: int | None, limit: int) -> list[ExitRecord]:
        """Return the ended runs of a runner, newest first."""


class AuditLog(Protocol):
    """Keeps who did what."""

    async def write(self, note: AuditNote) -> None:
        """Write an entry; must not raise."""

    async def read(self, query: AuditQuery) -> list[AuditEntry]:
        """Return entries, oldest first: the newest ones, or the ones after a cursor."""

    async def close(self) -> None:
        """End."""
