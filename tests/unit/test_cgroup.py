"""What units use, read from files as the kernel writes them, and from files as it never should."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import cgroup
from hero_supervisor.cgroup import CgroupSampler, Counters, _CpuRate, _Point, read_counters
from hero_supervisor.unit import UnitStatus

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "cpu.stat": "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnice_usec 0\n",
    "memory.current": "52428800\n",
    "memory.peak": "62914560\n",
    "pids.current": "7\n",
    "cgroup.procs": "101\n102\n103\n",
    "io.stat": "8:0 rbytes=4096 wbytes=1 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=10 wbytes=20 rios=1 wios=1\n",
}
NOTHING = Counters(None, None, None, None, 0, None, None)


def _write(directory: Path, **changes: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in (FILES | {name.replace("_", "."): text for name, text in changes.items()}).items():
        (directory / name).write_text(text, encoding="utf-8")
    return directory


def _running(invocation_id: str = "1" * 32, *, up_s: float = 100) -> UnitStatus:
    return UnitStatus(
        "a.service",
        active_state="active",
        sub_state="running",
        invocation_id=invocation_id,
        state_change_usec=int((time.time() - up_s) * 1e6),
        restarts=2,
        control_group="/hero.slice/a.service",
    )


def test_every_figure_is_read_from_its_file(tmp_path: Path) -> None:
    assert read_counters(_write(tmp_path)) == Counters(1_500_000, 52_428_800, 62_914_560, 7, 3, 4106, 21)


def test_a_group_that_is_gone_uses_nothing(tmp_path: Path) -> None:
    assert read_counters(tmp_path / "gone") == NOTHING


def test_what_cannot_be_read_is_null_and_does_not_hide_the_rest(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "memory.current").unlink()
    (tmp_path / "memory.current").mkdir()
    assert read_counters(tmp_path) == Counters(1_500_000, None, 62_914_560, 7, 3, 4106, 21)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_host_does_not_have_is_null(name: str, tmp_path: Path) -> None:
    (_write(tmp_path) / name).unlink()
    fields: dict[str, dict[str, Any]] = {
        "cpu.stat": {"cpu_usec": None},
        "memory.current": {"memory_bytes": None},
        "memory.peak": {"memory_peak_bytes": None},
        "pids.current": {"tasks": None},
        "cgroup.procs": {"processes": 0},
        "io.stat": {"io_read_bytes": None, "io_write_bytes": None},
    }
    assert read_counters(tmp_path) == Counters(1_500_000, 52_428_800, 62_914_560, 7, 3, 4106, 21)._replace(
        **fields[name]
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cpu_stat": ""}, "cpu_usec"),
        ({"cpu_stat": "user_usec 5\n"}, "cpu_usec"),
        ({"cpu_stat": "usage_usec\n"}, "cpu_usec"),
        ({"cpu_stat": "usage_usec many\n"}, "cpu_usec"),
        ({"cpu_stat": "usage_usec -1\n"}, "cpu_usec"),
        ({"cpu_stat": "nice_usage_usec 3\n"}, "cpu_usec"),
        ({"memory_current": ""}, "memory_bytes"),
        ({"memory_current": "max\n"}, "memory_bytes"),
        ({"memory_current": "1 2\n"}, "memory_bytes"),
        ({"memory_current": "1e9\n"}, "memory_bytes"),
        ({"memory_current": "٣\n"}, "memory_bytes"),
        ({"memory_current": "9" * 5000}, "memory_bytes"),
        ({"memory_peak": "\0\n"}, "memory_peak_bytes"),
        ({"pids_current": "0x7\n"}, "tasks"),
        ({"io_stat": "8:0 rbytes= wbytes=1\n"}, "io_read_bytes"),
        ({"io_stat": "8:0 rbytes=1 wbytes=1\n8:16 rbytes=1 wbytes=?\n"}, "io_write_bytes"),
    ],
)
def test_what_is_no_number_is_null(changes: dict[str, str], field: str, tmp_path: Path) -> None:
    assert getattr(read_counters(_write(tmp_path, **changes)), field) is None


@pytest.mark.parametrize("text", ["", "8:0 \n"])
def test_without_a_transfer_no_byte_was_moved(text: str, tmp_path: Path) -> None:
    usage = read_counters(_write(tmp_path, io_stat=text))
    assert (usage.io_read_bytes, usage.io_write_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("samples", "percents"),
    [
        pytest.param([(100, 50e6)], [50], id="first: since the start"),
        pytest.param([(100, 50e6), (102, 52e6)], [50, 100], id="then: since the one before"),
        pytest.param([(100, 0), (102, 8e6)], [0, 400], id="several processors"),
        pytest.param([(100, 50e6), (102, 52e6), (102.5, 52e6)], [50, 100, 80], id="two clients at once"),
        pytest.param([(100, 50e6), (100.5, 50e6), (101, 51e6)], [50, 49.8, 100], id="the second one does not count"),
        pytest.param([(0.5, 0.5e6), (0.6, 0.5e6)], [100, 83.3], id="just started"),
        pytest.param([(0, 0)], [None], id="no time has passed"),
        pytest.param([(100, 50e6), (102, 1e6)], [50, 0], id="the group was made anew"),
    ],
)
def test_the_cpu_percentage_is_since_the_sample_before(
    samples: list[tuple[float, float]], percents: list[float | None]
) -> None:
    rate = _CpuRate("", _Point(0, 0))
    assert [rate.percent(_Point(time_s, int(usec))) for time_s, usec in samples] == percents


async def test_a_unit_that_runs_has_its_figures(tmp_path: Path) -> None:
    _write(tmp_path / "hero.slice/a.service")
    (usage,) = await CgroupSampler(tmp_path).sample([_running()])
    assert usage.restarts == 2
    assert (usage.cpu_s, usage.cpu_percent, usage.processes, usage.tasks) == (1.5, 1.5, 3, 7)
    assert (usage.memory_bytes, usage.memory_peak_bytes) == (52_428_800, 62_914_560)
    assert (usage.io_read_bytes, usage.io_write_bytes) == (4106, 21)
    assert usage.uptime_s == pytest.approx(100, abs=10)


async def test_a_unit_that_ends_before_it_is_read_uses_nothing(tmp_path: Path) -> None:
    (usage,) = await CgroupSampler(tmp_path).sample([_running()])
    assert (usage.cpu_s, usage.cpu_percent, usage.memory_bytes, usage.processes) == (None, None, None, 0)


async def test_a_unit_without_a_control_group_is_not_looked_for(tmp_path: Path) -> None:
    _write(tmp_path)  # the figures of the root are not those of a unit
    (usage,) = await CgroupSampler(tmp_path).sample([UnitStatus("a.service")])
    assert (usage.cpu_s, usage.processes, usage.uptime_s) == (None, 0, None)


async def test_a_new_run_is_not_compared_with_the_one_before(tmp_path: Path) -> None:
    sampler = CgroupSampler(tmp_path)
    _write(tmp_path / "hero.slice/a.service", cpu_stat="usage_usec 90000000\n")
    await sampler.sample([_running("1" * 32)])
    _write(tmp_path / "hero.slice/a.service", cpu_stat="usage_usec 5000000\n")
    (usage,) = await sampler.sample([_running("2" * 32, up_s=10)])
    assert usage.cpu_percent == pytest.approx(50, rel=0.5)


async def test_samples_of_units_that_are_gone_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "hero.slice/a.service")
    sampler = CgroupSampler(tmp_path)
    await sampler.sample([_running()])
    monkeypatch.setattr(cgroup, "MAX_WINDOW_S", -1.0)
    await sampler.sample([])
    assert sampler._rates == {}
