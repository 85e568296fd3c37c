"""Limits that the kernel enforces. Elsewhere its cgroup v1 controllers may keep systemd from setting them."""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.unit import Property
from tests.chaos.fleet import Fleet, Load, settled
from tests.chaos.test_workers import TASKS_MAX, exits, survive_a_fork_bomb
from tests.e2e.conftest import Service, eventually, service, stopped_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from hero_supervisor.systemd import SystemdManager
    from hero_supervisor.unit import TransientUnit, UnitStatus

    MakeUnit = Callable[..., TransientUnit]

__all__ = ["service", "stopped_service"]

pytestmark = pytest.mark.timeout(120)

MIB = 2**20
FILL = f"import time; kept = b'x' * {200 * MIB}; time.sleep(1000)"
#: Starts processes until it may not, and exits with their number.
FORK = """
import os, signal
for number in range(100):
    try:
        child = os.fork()
    except BlockingIOError:
        os._exit(number)
    if not child:
        signal.pause()
"""


async def ended(manager: SystemdManager, name: str) -> UnitStatus:
    """Wait until a unit has ended by itself."""
    async with asyncio.timeout(60):
        while True:
            status = await manager.status(name)
            if status.active_state in {"inactive", "failed"}:
                return status
            await asyncio.sleep(0.1)


async def test_a_unit_over_its_memory_limit_ends_as_oom_kill_and_its_neighbour_lives(
    manager: SystemdManager, make_unit: MakeUnit
) -> None:
    neighbour = await manager.start(make_unit("/bin/sleep", "1000", name="neighbour"))
    limit = Property("MemoryMax", "t", 50 * MIB)
    started = await manager.start(make_unit(sys.executable, "-IS", "-c", FILL, name="glutton", more=(limit,)))
    status = await ended(manager, started.name)
    assert (status.active_state, status.result) == ("failed", "oom-kill")
    assert await manager.status(neighbour.name) == neighbour


async def test_a_unit_has_no_more_processes_than_its_limit(manager: SystemdManager, make_unit: MakeUnit) -> None:
    limit = Property("TasksMax", "t", 10)
    started = await manager.start(make_unit(sys.executable, "-IS", "-c", FORK, more=(limit,)))
    status = await ended(manager, started.name)
    assert (status.result, status.exec_main_status) == ("exit-code", 9)


def test_the_exit_record_of_a_runner_over_its_memory_limit_says_so(service: Service) -> None:
    glutton = {"command": [sys.executable, "-IS", "-c", FILL], "sandbox": "trusted", "restart": "never"}
    service.add("glutton", **glutton, limits={"memory_max_bytes": "50M"})
    eventually(lambda: service.rpc.call("get_runner_exits", ["glutton"]), timeout_s=60)
    record = service.rpc.call("get_runner_exits", ["glutton"])[0]
    assert (record["reason"], record["result"]) == ("oom-kill", "oom-kill")
    assert service.rpc.call("get_runner_status", ["glutton"])["status"] == "failed"


def test_a_fork_bomb_leaves_the_machine_and_the_supervisor_at_work(
    service: Service, figures: Callable[..., None]
) -> None:
    found = survive_a_fork_bomb(service, is_enforced=True)
    figures("7. fork bomb, with the limit enforced", **found)
    assert found["forks_that_the_kernel_refused"] > 0
    assert found["most_processes"] <= TASKS_MAX
    # An emulated machine is some ten times as slow.
    assert found["status_call_p95_ms"] < 2000


@pytest.mark.timeout(300)
def test_memory_bombs_beside_load_end_as_oom_kill_and_nobody_else_does(
    service: Service, figures: Callable[..., None]
) -> None:
    fleet, supervisor, seed, bombs = Fleet(service), service.show("MainPID"), secrets.token_hex(4), 3
    bomb = {"command": [sys.executable, "-IS", "-c", FILL], "sandbox": "trusted", "restart": "never"}
    service.rpc.call("add_runner", {"id": "bomb", **bomb, "limits": {"memory_max_bytes": "50M"}})
    with Load(service, seed) as load:
        for number in range(1, bombs + 1):
            service.rpc.call("start_runner", ["bomb"])
            eventually(lambda number=number: len(exits(service, "bomb")) == number, timeout_s=60)  # type: ignore[misc]
    ends = [(each["reason"], each["result"]) for each in exits(service, "bomb")]
    service.rpc.call("remove_runner", ["bomb"])  # or it would be missed
    took_s, faults = settled(fleet, timeout_s=30)
    figures(
        "8. memory bombs beside load, with the limit enforced",
        seed=seed,
        bombs=bombs,
        ends=" ".join(f"{reason}/{result}" for reason, result in ends),
        operations=load.done,
        operations_that_failed=len(load.errors),
        until_all_is_well_s=took_s,
        supervisor_is_the_same=service.show("MainPID") == supervisor,
        neighbours_that_changed=len(faults),
    )
    assert ends == [("oom-kill", "oom-kill")] * bombs
    assert (faults, load.errors) == ([], [])
    assert service.show("MainPID") == supervisor
