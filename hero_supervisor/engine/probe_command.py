"""Runs the command of a probe the way its runner runs: same user, same sandbox, in a unit of its own for each try."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace as with_fields

from hero_supervisor.definition.restart import RestartPolicy
from hero_supervisor.errors import HeroError, OperationTimeout, UnitFailed
from hero_supervisor.runner import Readiness
from hero_supervisor.unit import Property, render

if TYPE_CHECKING:
    from hero_supervisor.ports import ProcessManager
    from hero_supervisor.runner import Runner
    from hero_supervisor.unit import Site, TransientUnit

#: The directory is the runner's: made for another unit's dynamic user, it would change hands.
_NOT_FOR_PROBES: Final = frozenset({"StateDirectory", "StateDirectoryMode", "ExecReloadEx", "WatchdogUSec"})
#: systemd calls it started when it has ended well; and when we die meanwhile, nothing of it stays.
_ONESHOT: Final = (Property("Type", "s", "oneshot"), Property("CollectMode", "s", "inactive-or-failed"))


class ProbeCommands:
    """Runs the commands of probes as units."""

    def __init__(self, processes: ProcessManager, site: Site) -> None:
        """Args: who runs units, and what they have in common."""
        self._processes = processes
        self._site = site

    async def run(self, runner: Runner, command: tuple[str, ...], timeout_s: float) -> tuple[int, str]:
        """Run a command for a runner and return its exit status; what it writes is in the journal under its unit.

        Raises:
            OperationTimeout: It had to be killed.
            UnitFailed: It cannot be executed.
            HeroError: It could not be tried.
        """
        unit = self._unit(runner, command, timeout_s)
        try:
            await self._processes.start(unit)
        except UnitFailed as exc:
            if exc.facts.get("result") == "timeout":
                raise OperationTimeout(f"cannot finish the probe's command within {timeout_s:g} s") from exc
            status = await self._processes.status(unit.name)
            if status.exec_main_code == 0 or isinstance(exc.facts.get("exit_status"), str):
                raise
            return status.exec_main_status, ""
        finally:
            with suppress(HeroError):  # it has ended; only its name is to be freed
                await self._processes.stop(unit.name, timeout_s=timeout_s)
        return 0, ""

    def _unit(self, runner: Runner, command: tuple[str, ...], timeout_s: float) -> TransientUnit:
        as_command = with_fields(
            runner,
            command=command,
            executor=None,
            readiness=Readiness.EXEC,
            restart=RestartPolicy.NEVER,
            start_timeout_s=timeout_s,
            stop_timeout_s=1.0,
        )
        unit = render(as_command, self._site, queue="", capabilities=self._processes.capabilities)
        left_out = _NOT_FOR_PROBES | {prop.name for prop in _ONESHOT}
        kept = [prop for prop in unit.properties if prop.name not in left_out]
        name = f"{self._site.namespace}-probe-{runner.id}-{uuid.uuid4().hex[:8]}.service"
        return replace(unit, name=name, properties=(*kept, *_ONESHOT))
