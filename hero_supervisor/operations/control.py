"""What can be done to a runner while it runs: signals, reload, freeze."""

from __future__ import annotations

import signal as signals
from typing import Annotated

from msgspec import Meta

from hero_supervisor.errors import Conflict, Fault, InvalidInput, NotFound
from hero_supervisor.runner import RunnerId
from hero_supervisor.together import together

from .parts import Parts

SignalName = Annotated[str, Meta(pattern="^SIG[A-Z0-9]{2,8}$", description="Name of a signal, as in SIGUSR1.")]


class ControlOperations(Parts):
    """What can be done to one runner beside starting and stopping it."""

    async def signal_runner(self, runner: RunnerId, signal: SignalName) -> None:
        """Send a signal to the main process of every instance of a runner, in whatever state it is.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidInput: There is no such signal.
            Conflict: None of its instances has a process.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        await self._signal(runner, signal, main_only=True)

    async def kill_runner(self, runner: RunnerId) -> None:
        """Kill every process of a runner at once, in whatever state it is: SIGKILL to its control groups.

        It does not wait for another operation on the runner, and it changes nothing about what is wanted: a runner
        that is meant to run is started again. To end it for good, stop it; a kill ends the wait of that stop.

        Raises:
            RunnerNotFound: No runner has this id.
            Conflict: None of its instances has a process.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        await self._signal(runner, "SIGKILL", main_only=False)

    async def reload_runner(self, runner: RunnerId) -> None:
        """Make a runner read its configuration again, by its ``reload_signal`` or ``reload_command``.

        Raises:
            RunnerNotFound: No runner has this id.
            Conflict: It has neither of them, or none of its instances has a process.
            UnitFailed: The command failed, or the runner does not run.
            OperationTimeout: The command has not ended in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        async with self._registry.known(runner) as stored:
            definition = stored.definition
            if definition.reload_signal is not None:
                await self._signal(runner, definition.reload_signal, main_only=True)
            elif definition.reload_command:
                names, timeout_s = self._instances.names(definition), definition.start_timeout_s
                await together([self._processes.reload(name, timeout_s=timeout_s) for name in names])
            else:
                text = "it has neither a reload_signal nor a reload_command"
                raise Conflict(f"cannot reload runner '{runner}': {text}", runner=runner)

    async def freeze_runner(self, runner: RunnerId) -> None:
        """Let the processes of a runner stand still until they are thawed, where the kernel can do that.

        Raises:
            RunnerNotFound: No runner has this id.
            NotFound: An instance does not run.
            SystemdRefused: It cannot be done; the message has systemd's reason.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        async with self._registry.known(runner) as stored:
            await together([self._processes.freeze(name) for name in self._instances.names(stored.definition)])

    async def thaw_runner(self, runner: RunnerId) -> None:
        """Let the processes of a runner that was frozen go on; raises like ``freeze_runner``."""
        async with self._registry.known(runner) as stored:
            names = self._instances.names(stored.definition)
            await together([self._processes.freeze(name, thaw=True) for name in names])

    # -- inside --------------------------------------------------------------------------------------------------

    async def _signal(self, runner: str, name: str, *, main_only: bool) -> None:
        if name not in signals.Signals.__members__:
            raise InvalidInput([Fault("signal", "is not the name of a signal")])
        number = signals.Signals[name].value
        units = self._instances.names(self._registry.get(runner).definition)
        outcomes = await together([self._signal_unit(unit, number, main_only=main_only) for unit in units])
        if not any(outcomes):
            raise Conflict(f"cannot send {name} to runner '{runner}': it has no process", runner=runner)

    async def _signal_unit(self, unit: str, number: int, *, main_only: bool) -> bool:
        status = await self._processes.status(unit)
        if not status.main_pid and status.active_state != "deactivating":
            return False
        try:
            await self._processes.kill(unit, signal=number, main_only=main_only)
        except NotFound:
            return False
        return True
