"""What a runner uses is what its instances use, added up."""

from __future__ import annotations

from typing import Any

from hero_supervisor.engine.stats import instance_stats, runner_stats
from hero_supervisor.records import InstanceStats, Usage
from hero_supervisor.unit import UnitStatus

NOTHING: dict[str, Any] = dict.fromkeys(Usage.__struct_fields__) | {"restarts": 0, "processes": 0}


def _instance(number: int, **figures: Any) -> InstanceStats:
    unit = UnitStatus(f"a@{number}.service", invocation_id="1" * 32)
    return instance_stats("a", number, unit, Usage(**NOTHING | figures))


def test_figures_are_added_up_and_the_uptime_is_that_of_the_youngest() -> None:
    first = _instance(1, uptime_s=90.0, restarts=1, cpu_s=0.1, cpu_percent=99.9, memory_bytes=5, tasks=2, processes=1)
    second = _instance(2, uptime_s=30.0, restarts=2, cpu_s=0.2, cpu_percent=99.9, memory_bytes=7, tasks=3, processes=2)
    total = runner_stats("a", [first, second])
    assert (total.uptime_s, total.restarts, total.cpu_s, total.cpu_percent) == (30, 3, 0.3, 199.8)
    assert (total.memory_bytes, total.tasks, total.processes) == (12, 5, 3)
    assert total.instances == (first, second)


def test_an_instance_that_does_not_run_adds_nothing() -> None:
    total = runner_stats("a", [_instance(1, cpu_s=1.5, uptime_s=5.0, processes=1), _instance(2)])
    assert (total.cpu_s, total.uptime_s, total.processes) == (1.5, 5, 1)


def test_what_is_known_of_no_instance_is_null() -> None:
    total = runner_stats("a", [_instance(1), _instance(2)])
    assert (total.cpu_s, total.memory_bytes, total.uptime_s, total.processes) == (None, None, None, 0)


def test_an_instance_names_its_unit_and_its_run() -> None:
    stats = _instance(2)
    assert (stats.id, stats.instance, stats.unit, stats.invocation_id) == ("a", 2, "a@2.service", "1" * 32)
    assert instance_stats("a", 1, UnitStatus("a.service"), Usage(**NOTHING)).invocation_id is None
