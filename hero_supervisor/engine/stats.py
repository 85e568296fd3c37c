"""What runners use: their instances are looked at, sampled, and added up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import asdict

from hero_supervisor.cgroup import CgroupSampler
from hero_supervisor.records import InstanceStats, RunnerStats, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hero_supervisor.runner import Runner
    from hero_supervisor.unit import UnitStatus

    from .instances import Instances


_SUMMED: Final = tuple(name for name in Usage.__struct_fields__ if name != "uptime_s")


class StatsReader:
    """Samples runners. One is kept, since percentages are told from one sample to the next."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances
        self._cgroups = CgroupSampler()

    async def read(self, runners: Sequence[Runner]) -> list[RunnerStats]:
        """Return what runners use now, in the order given.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        looks = await self._instances.look_at_all(runners)
        usages = iter(await self._cgroups.sample([unit for units in looks for unit in units]))
        return [
            runner_stats(runner.id, [instance_stats(runner.id, *each, next(usages)) for each in enumerate(units, 1)])
            for runner, units in zip(runners, looks, strict=True)
        ]


def instance_stats(runner: str, instance: int, unit: UnitStatus, usage: Usage) -> InstanceStats:
    """Return the stats of an instance."""
    return InstanceStats(
        id=runner, instance=instance, unit=unit.name, invocation_id=unit.invocation_id or None, **asdict(usage)
    )


def runner_stats(runner: str, instances: Sequence[InstanceStats]) -> RunnerStats:
    """Return the stats of a runner from those of its instances."""
    sums: dict[str, Any] = {name: _sum(getattr(each, name) for each in instances) for name in _SUMMED}
    uptimes_s = [each.uptime_s for each in instances if each.uptime_s is not None]
    return RunnerStats(id=runner, uptime_s=min(uptimes_s, default=None), **sums, instances=tuple(instances))


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 6) if known else None
