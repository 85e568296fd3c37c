"""What runners use, as a real kernel counts it for units of a real systemd."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.cgroup import CGROUP_ROOT, CgroupSampler
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.errors import RunnerNotFound
from hero_supervisor.runner import Runner
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.testing import InMemoryLogSource
from hero_supervisor.unit import Property
from tests.systemd_fixtures import IS_USER, systemctl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hero_supervisor.records import RunnerStats
    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.unit import TransientUnit

    MakeUnit = Callable[..., TransientUnit]

SLEEP = ("/bin/sleep", "1000")
BURN = (sys.executable, "-c", "while True: pass")
#: Touches every page, so that the kernel has to give it memory.
FILL = (sys.executable, "-c", "import time\nheld = bytearray(b'x') * (50 << 20)\ntime.sleep(1000)")
THREE = ("/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait")


@pytest.fixture
async def supervisor(unit_prefix: str, bus_address: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Supervisor]:
    """A supervisor on the real systemd, whose namespace is the test's prefix."""
    builder = SupervisorBuilder().redis_url(redis_url).namespace(unit_prefix).state_dir(tmp_path / "state")
    builder.default_sandbox(Sandbox.TRUSTED)  # programs of tests are where a sandbox hides them
    processes = SystemdManager(user=IS_USER, address=bus_address)
    builder.default_sandbox(Sandbox.TRUSTED)  # the interpreter may be where others hide it
    async with await builder.process_manager(processes).log_source(InMemoryLogSource()).build() as supervisor:
        yield supervisor
        for runner in await supervisor.list_runners():
            await supervisor.remove_runner(runner)
    systemctl("stop", f"{unit_prefix}.slice")


async def started(supervisor: Supervisor, id: str, *command: str) -> None:
    await supervisor.add_runner(Runner(id=id, command=command))
    await supervisor.start_runner(id)


async def eventually(supervisor: Supervisor, id: str, is_so: Callable[[RunnerStats], bool]) -> RunnerStats:
    """Sample until the figures are as wanted; the kernel tells of no change."""
    stats = None
    try:
        async with asyncio.timeout(20):
            while True:
                stats = await supervisor.get_runner_stats(id)
                if is_so(stats):
                    return stats
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"it did not come about in time: {stats}")


async def test_the_processor_time_of_a_busy_runner_rises(supervisor: Supervisor) -> None:
    await started(supervisor, "burner", *BURN)
    await started(supervisor, "idle", *SLEEP)
    first = await eventually(supervisor, "burner", lambda stats: (stats.cpu_s or 0) > 0.2)
    later = await eventually(supervisor, "burner", lambda stats: (stats.cpu_s or 0) > (first.cpu_s or 0) + 0.5)
    assert (later.cpu_percent or 0) > 5  # of a processor that others use, too
    idle = await supervisor.get_runner_stats("idle")
    assert idle.cpu_s is not None
    assert idle.cpu_s < 0.2


async def test_all_processes_of_a_runner_are_counted(supervisor: Supervisor) -> None:
    await started(supervisor, "three", *THREE)
    stats = await eventually(supervisor, "three", lambda stats: stats.processes == 3)
    status = await supervisor.get_runner_status("three")
    (instance,) = stats.instances
    assert (instance.unit, instance.invocation_id) == (status.unit, status.invocation_id)
    assert stats.tasks in {3, None}
    assert stats.uptime_s is not None
    assert stats.uptime_s < 60


async def test_the_memory_of_a_runner_is_counted_where_the_host_counts_it(supervisor: Supervisor) -> None:
    await started(supervisor, "large", *FILL)
    controllers = (CGROUP_ROOT / "cgroup.controllers").read_text().split()
    if "memory" not in controllers:
        assert (await supervisor.get_runner_stats("large")).memory_bytes is None
        pytest.skip("this host binds the memory controller to cgroup version 1")
    stats = await eventually(supervisor, "large", lambda stats: (stats.memory_bytes or 0) > 50 << 20)
    assert (stats.memory_bytes or 0) < 100 << 20
    assert stats.memory_peak_bytes is None or stats.memory_peak_bytes >= 50 << 20
    assert (stats.io_read_bytes is None) == ("io" not in controllers or IS_USER)


async def test_a_stopped_runner_uses_nothing(supervisor: Supervisor) -> None:
    await started(supervisor, "a", *SLEEP)
    await supervisor.stop_runner("a")
    stats = await supervisor.get_runner_stats("a")
    assert (stats.processes, stats.cpu_s, stats.cpu_percent, stats.uptime_s) == (0, None, None, None)


async def test_a_restart_begins_a_new_count(supervisor: Supervisor) -> None:
    await started(supervisor, "burner", *BURN)
    await eventually(supervisor, "burner", lambda stats: (stats.cpu_s or 0) > 1)
    await supervisor.restart_runner("burner")
    assert ((await supervisor.get_runner_stats("burner")).cpu_s or 0) < 1


async def test_the_stats_of_all_runners_come_in_the_order_in_which_they_were_added(supervisor: Supervisor) -> None:
    for id in ("z", "a"):
        await started(supervisor, id, *SLEEP)
    await supervisor.add_runner(Runner(id="m", command=SLEEP))
    found = [(stats.id, stats.processes) for stats in await supervisor.get_all_runner_stats()]
    assert found == [("z", 1), ("a", 1), ("m", 0)]


async def test_runners_that_end_while_they_are_sampled_are_no_error(supervisor: Supervisor) -> None:
    await started(supervisor, "a", *SLEEP)

    async def restart() -> None:
        for _ in range(20):
            await supervisor.restart_runner("a")

    restarting = asyncio.create_task(restart())
    while not restarting.done():
        assert (await supervisor.get_runner_stats("a")).processes in {0, 1}
    await restarting


async def test_the_figures_of_all_instances_are_added_up(supervisor: Supervisor) -> None:
    await supervisor.add_runner(Runner(id="many", command=THREE, instances=2))
    await supervisor.start_runner("many")
    stats = await eventually(supervisor, "many", lambda stats: stats.processes == 6)
    assert [(each.instance, each.processes) for each in stats.instances] == [(1, 3), (2, 3)]
    assert stats.cpu_s == pytest.approx(sum(each.cpu_s or 0 for each in stats.instances))


async def test_an_unknown_runner_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(RunnerNotFound, match="'nobody'"):
        await supervisor.get_runner_stats("nobody")


async def test_a_slice_whose_name_systemd_escapes_is_found(manager: SystemdManager, make_unit: MakeUnit) -> None:
    # In the file system it is _memory.slice, so that it cannot be taken for a file of the kernel's.
    status = await manager.start(make_unit(*SLEEP, more=(Property("Slice", "s", "memory.slice"),)))
    (stats,) = await CgroupSampler().sample([status])
    assert status.control_group.endswith(f"/_memory.slice/{status.name}")
    assert stats.processes == 1
    await manager.stop(status.name, timeout_s=10)
    systemctl("stop", "memory.slice")
