"""Draining: the processes of a runner are told to take no more jobs and to end when they have finished those they have.

Each look at a runner that drains tells those that have not been told yet: a process that had not set up its handler is
ended by the signal, and systemd may start another. Who was told is not written down, so after a crash of ours a process
is told once more.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from hero_supervisor.drain import DRAIN_SIGNAL
from hero_supervisor.errors import Conflict, NotFound, SystemdRefused

if TYPE_CHECKING:
    from hero_supervisor.ports import ProcessManager
    from hero_supervisor.runner import Runner
    from hero_supervisor.unit import UnitStatus

    from .instances import Instances


def drain_signal(runner: Runner) -> int:
    """Return the number of the signal that tells a runner to drain.

    Raises:
        Conflict: It has none.
    """
    name = runner.drain_signal or (DRAIN_SIGNAL if runner.executor else None)
    if name is None:
        text = f"cannot drain runner '{runner.id}': it has no drain_signal, so it cannot be told"
        raise Conflict(text, runner=runner.id)
    return signal.Signals[name].value


class Drains:
    """The runners that drain. Its methods are for holders of the runner's lock."""

    def __init__(self, instances: Instances, processes: ProcessManager) -> None:
        self._instances = instances
        self._processes = processes
        #: By unit name, the run that has been told.
        self._told: dict[str, str] = {}

    async def go_on(self, runner: Runner) -> list[UnitStatus]:
        """Tell the processes of a runner that have not been told yet, and return the units that have not ended.

        Raises:
            Conflict: It has no signal for that.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        number = drain_signal(runner)
        left = [unit for unit in await self._instances.look(runner) if unit.is_running]
        for name in set(self._instances.names(runner)) - {unit.name for unit in left}:
            self._told.pop(name, None)
        for unit in left:
            if unit.main_pid and self._told.get(unit.name) != unit.invocation_id:
                with suppress(NotFound, SystemdRefused):  # it has ended meanwhile; else the next look tells it
                    await self._processes.kill(unit.name, signal=number, main_only=True)
                    self._told[unit.name] = unit.invocation_id
        return left
