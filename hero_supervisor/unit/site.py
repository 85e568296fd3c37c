"""What every unit of one supervisor has in common: above all, the names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hero_supervisor.definition.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Site:
    """What every unit of one supervisor has in common.

    The first instance of a runner has the plain name, so that a runner with one process is found where one looks for
    it; further ones have their number behind an ``@``, which no id contains. systemd takes both for one name with
    instances, and so the same dynamic user.
    """

    namespace: str
    #: File with the environment that is no business of other users (a Redis URL may hold a password).
    environment_file: Path
    #: The sandbox of runners that name none.
    default_sandbox: Sandbox = Sandbox.DEFAULT

    def unit_name(self, runner_id: str, instance: int = 1) -> str:
        """Return the name of the unit of a runner's instance, counted from 1."""
        number = "" if instance == 1 else f"@{instance}"
        return f"{self.namespace}-runner-{runner_id}{number}.service"

    def runner_id(self, unit_name: str) -> str:
        """Return the id of the runner that a unit of ours belongs to."""
        return self._parts(unit_name)[0]

    def instance(self, unit_name: str) -> int:
        """Return which instance of its runner a unit of ours is; 0 when its name is not one that we give."""
        return instance_of(unit_name)

    def log_units(self, runner_id: str) -> tuple[str, str]:
        """Return what matches the names of all of a runner's units, those of former instances too, and of no other."""
        return self.unit_name(runner_id), f"{self.namespace}-runner-{runner_id}@*.service"

    @property
    def slice(self) -> str:
        """Name of the slice that holds all runners; systemd nests it in ``{namespace}.slice``."""
        return f"{self.namespace}-runners.slice"

    def state_directory(self, runner_id: str) -> str:
        """Return the directory of a runner's own files, as a path below the one that systemd keeps for services."""
        return f"{self.namespace}/runners/{runner_id}"

    def _parts(self, unit_name: str) -> tuple[str, str, str]:
        return unit_name.removeprefix(f"{self.namespace}-runner-").removesuffix(".service").partition("@")


def instance_of(unit_name: str) -> int:
    """Return which instance of its runner a unit is; 1 when its name has no number, 0 when it is not one we give."""
    _, at, number = unit_name.removesuffix(".service").partition("@")
    if not at:
        return 1
    return int(number) if number.isdecimal() and number.isascii() else 0
