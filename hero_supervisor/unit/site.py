"""What every unit of one supervisor has in common: above all, the names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hero_supervisor.definition.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path


class JobUnit(NamedTuple):
    """What the name of a job's unit says."""

    runner: str
    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Site:
    """What every unit of one supervisor has in common.

    The first instance of a runner has the plain name, so that a runner with one process is found where one looks for
    it; further ones have their number behind an ``@``, which no id contains. systemd takes both for one name with
    instances, and so the same dynamic user. A job's unit is named likewise: all jobs of a runner have one user.
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

    def log_units(self, runner_id: str) -> tuple[str, ...]:
        """Return what matches the names of all of a runner's units, of former instances and jobs too, and no other."""
        return self.unit_name(runner_id), f"{self.namespace}-runner-{runner_id}@*.service", self.job_units(runner_id)

    def job_unit_name(self, runner_id: str, job_id: str, attempt: int) -> str:
        """Return the name of the unit of a job's attempt: at most 247 characters, of 255 that systemd allows."""
        return f"{self.namespace}-job-{runner_id}@{job_id}:{attempt}.service"

    def job_units(self, runner_id: str) -> str:
        """Return what matches the names of the units of a runner's jobs, and no other."""
        return f"{self.namespace}-job-{runner_id}@*.service"

    def job_unit(self, unit_name: str) -> JobUnit | None:
        """Return what the name of a job's unit says; ``None`` when it is not one that we give."""
        name = unit_name.removeprefix(f"{self.namespace}-job-").removesuffix(".service")
        runner, at, job = name.partition("@")
        job_id, _, attempt = job.rpartition(":")
        is_ours = at and job_id and attempt.isdecimal() and attempt.isascii()
        if not is_ours or unit_name != self.job_unit_name(runner, job_id, int(attempt)):
            return None
        return JobUnit(runner, job_id, int(attempt))

    @property
    def slice(self) -> str:
        """Name of the slice that holds all runners; systemd nests it in ``{namespace}.slice``."""
        return f"{self.namespace}-runners.slice"

    @property
    def job_slice(self) -> str:
        """Name of the slice that holds the units of all jobs; a sibling of the runners'."""
        return f"{self.namespace}-jobs.slice"

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
