"""News of runners: what was added, changed and removed, and the states of instances, as soon as something tells.

What tells: systemd's signals, a runner's definition or failures being written down, and probes. None of them tells the
state, so the runners concerned are looked at, together, a moment later, and compared with what was seen before. A state
that is over within that moment is left out; the end of its run has an event of its own.

While nobody wants to know, systemd's signals are not listened to, and nothing is looked at.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from hero_supervisor.errors import HeroError

from .event import RunnerChange, RunnerEvent, RunnerNewsKind, Topic
from .lazily import Lazily

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from hero_supervisor.ports import ProcessManager
    from hero_supervisor.records import InstanceStatus, RunnerState, RunnerStatus
    from hero_supervisor.state import StoredRunner

    from .hub import EventHub

logger = logging.getLogger(__name__)

#: Seconds that news is collected before runners are looked at: systemd sends eight signals for one start.
COLLECT_S: Final = 0.05
#: Seconds until runners are looked at again that could not be.
FAILURE_PAUSE_S: Final = 1.0


class _Seen(NamedTuple):
    """What was seen of an instance."""

    status: RunnerState
    invocation_id: str | None
    restarts: int


class RunnerNews:
    """Tells of runners. It is a ``UnitWatcher``."""

    def __init__(
        self,
        hub: EventHub,
        processes: ProcessManager,
        runner_of: Callable[[str], str | None],
        statuses: Callable[[Iterable[str] | None], Awaitable[Sequence[RunnerStatus]]],
    ) -> None:
        """Prepare.

        Args:
            hub: Who is told.
            processes: Who tells that units change.
            runner_of: Returns the runner that a unit belongs to; ``None`` for units of others.
            statuses: Returns the statuses of runners, of all for ``None``; those that are not there are left out.
        """
        self._hub = hub
        self._processes = processes
        self._runner_of = runner_of
        self._statuses = statuses
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._touched: set[str] | None = None  # None: all
        self._is_on = False
        self._wake = asyncio.Event()
        hub.add_source(Topic.RUNNER, Lazily(self._run, name="runner-news"))

    # -- what tells ------------------------------------------------------------------------------------------------

    def on_stored(self, runner: str, before: StoredRunner | None, after: StoredRunner | None) -> None:
        """Tell that a runner was added, changed or removed; see how it is."""
        if before is None or after is None:
            kind = RunnerNewsKind.ADDED if before is None else RunnerNewsKind.REMOVED
        elif before.definition != after.definition:
            kind = RunnerNewsKind.UPDATED
        else:
            self.touch(runner)
            return
        desired = after.desired.value if after else None
        self._hub.publish(RunnerEvent, RunnerChange(change=kind, desired=desired), runner=runner)
        self.touch(runner)

    def on_changed(self, unit_name: str) -> None:
        """See how the runner of a unit is."""
        if (runner := self._runner_of(unit_name)) is not None:
            self.touch(runner)

    def on_ended(self, unit_name: str) -> None:
        """See how the runner of a unit is."""
        self.on_changed(unit_name)

    def on_doubt(self) -> None:
        """See how all runners are."""
        self._touched = None
        self._wake.set()

    def touch(self, runner: str) -> None:
        """See how a runner is, if anybody wants to know."""
        if self._is_on and self._touched is not None:
            self._touched.add(runner)
        self._wake.set()

    # -- looking -----------------------------------------------------------------------------------------------------

    async def _run(self, ready: Callable[[], None]) -> None:
        self._is_on, self._touched = True, None
        self._processes.tell_changes_to(self.on_changed)
        try:
            await self._see_all()
            self._hub.begin(Topic.RUNNER)
            ready()
            while True:
                await self._wake.wait()
                await asyncio.sleep(COLLECT_S)
                self._wake.clear()
                await self._look()
        finally:
            self._processes.tell_changes_to(None)
            self._is_on = False
            self._seen.clear()

    async def _see_all(self) -> None:
        """See how all runners are, before anything is told."""
        self._touched = set()
        try:
            for status in await self._statuses(None):
                self._compared(status)
        except HeroError:
            self._touched = None  # with the connection comes news

    async def _look(self) -> None:
        touched, self._touched = self._touched, set()
        if touched == set():
            return
        try:
            statuses = await self._statuses(touched)
        except HeroError as exc:
            logger.debug("cannot see how runners are: %s", exc)
            self._touched = None if touched is None or self._touched is None else touched | self._touched
            asyncio.get_running_loop().call_later(FAILURE_PAUSE_S, self._wake.set)
            return
        for status in statuses:
            for each, previous in self._compared(status):
                self._tell(status, each, previous)
        self._forget(touched, {status.id for status in statuses})

    def _compared(self, status: RunnerStatus) -> list[tuple[InstanceStatus, RunnerState | None]]:
        """Take note of how the instances of a runner are; return those that have changed, with how they were."""
        found = []
        instances: Sequence[InstanceStatus] = status.instances or (status,)
        for each in instances:
            key, seen = (each.id, each.instance), _Seen(each.status, each.invocation_id, each.restarts)
            before = self._seen.get(key)
            if before != seen:
                self._seen[key] = seen
                found.append((each, before.status if before else None))
        return found

    def _tell(self, status: RunnerStatus, instance: InstanceStatus, previous: RunnerState | None) -> None:
        change = RunnerChange(
            change=RunnerNewsKind.STATE,
            desired=status.desired,
            status=instance.status,
            previous=previous,
            main_pid=instance.main_pid,
            invocation_id=instance.invocation_id,
            restarts=instance.restarts,
            result=instance.result,
            next_start=instance.next_start,
        )
        self._hub.publish(RunnerEvent, change, runner=status.id, instance=instance.instance or None)

    def _forget(self, touched: set[str] | None, found: set[str]) -> None:
        """Forget runners that are gone."""
        known = {runner for runner, _ in self._seen} if touched is None else touched
        gone = known - found
        for key in [key for key in self._seen if key[0] in gone] if gone else ():
            del self._seen[key]
