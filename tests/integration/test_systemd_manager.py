"""Units of a real systemd: what starting, stopping and looking at them does, with both D-Bus libraries."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from hero_supervisor import errors
from hero_supervisor.runner import Runner
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.unit import Property, Site, TransientUnit, UnitStatus, render
from tests.systemd_fixtures import (
    AT_ONCE,
    HOSTILE,
    IS_USER,
    RESTART,
    SLEEP,
    arguments_of,
    changed,
    kill,
    loaded_units,
    proc,
    stop_all,
    systemctl,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hero_supervisor.systemd.library import Library

    MakeUnit = Callable[..., TransientUnit]

#: Writes its arguments after the first two, or its environment, to a file, byte for byte.
DUMP = "import sys; open(sys.argv[1], 'wb').write(open('/proc/self/' + sys.argv[2], 'rb').read())"


# -- starting ------------------------------------------------------------------------------------------------------


async def test_a_started_unit_runs_and_its_status_is_true(manager: SystemdManager, make_unit: MakeUnit) -> None:
    before_usec = time.time_ns() // 1000
    unit = make_unit(*SLEEP)
    status = await manager.start(unit)
    assert (status.name, status.active_state, status.sub_state) == (unit.name, "active", "running")
    assert arguments_of(status.main_pid) == [b"/bin/sleep", b"1000"]
    assert len(status.invocation_id) == 32
    assert before_usec <= status.state_change_usec <= time.time_ns() // 1000
    assert (status.restarts, status.result, status.exec_main_code, status.exec_main_status) == (0, "success", 0, 0)
    assert await manager.status(unit.name) == status


async def test_a_runner_as_the_product_renders_it_starts(
    manager: SystemdManager, unit_prefix: str, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("HERO_REDIS_URL=redis://x\n")
    site = Site(unit_prefix, tmp_path / "env")
    unit = render(Runner(id="a", command=SLEEP), site, queue="q", capabilities=manager.capabilities)
    status = await manager.start(unit)
    environment = proc(status.main_pid, "environ").read_bytes().split(b"\0")
    assert {b"HERO_RUNNER=a", b"HERO_REDIS_URL=redis://x"} <= set(environment)
    await manager.stop(status.name, timeout_s=10)
    for slice_name in loaded_units(unit_prefix):
        systemctl("stop", slice_name)


@pytest.mark.parametrize("more", [(), RESTART, AT_ONCE], ids=["no-restart", "restart", "restart-at-once"])
@pytest.mark.parametrize(
    ("program", "reason"),
    [("/no/such/program", "does not exist"), ("/etc/passwd", "is not executable"), ("no-such-program", "search path")],
)
async def test_a_command_that_cannot_be_executed_is_named_and_not_tried_again(
    program: str, reason: str, more: tuple[Property, ...], manager: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = make_unit(program, more=more)
    with pytest.raises(errors.CommandNotExecutable, match=f"{program} .*{reason}"):
        await manager.start(unit)
    status = await manager.status(unit.name)
    assert status.active_state in {"failed", "inactive"}
    assert (status.exec_main_code, status.exec_main_status) == (1, 203)
    await asyncio.sleep(0.2)  # four restart delays: nothing tells that no restart will come
    assert await manager.status(unit.name) == status


@pytest.mark.parametrize(
    ("prop", "words"),
    [
        (Property("WorkingDirectory", "s", "/no/such/directory"), "200/CHDIR"),
        (Property("EnvironmentFiles", "a(sb)", [["/no/such/file", False]]), "a file it needs"),
        (Property("RootDirectory", "s", "/no/such/root"), "226/NAMESPACE|210/CHROOT"),
        pytest.param(
            Property("User", "s", "no-such-user"), "217/USER", marks=pytest.mark.skipif(IS_USER, reason="needs root")
        ),
        pytest.param(
            Property("Group", "s", "no-such-group"), "216/GROUP", marks=pytest.mark.skipif(IS_USER, reason="needs root")
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Property) else "",
)
async def test_what_systemd_cannot_set_up_is_named(
    prop: Property, words: str, manager: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = make_unit(*SLEEP, more=(prop, *RESTART))
    with pytest.raises(errors.UnitFailed, match=words) as caught:
        await manager.start(unit)
    assert type(caught.value) is errors.UnitFailed


@pytest.mark.parametrize(
    ("prop", "words"),
    [
        (Property("Nonsense", "s", "x"), "Nonsense"),
        (Property("Restart", "s", "sometimes"), "[Rr]estart"),
        (Property("RestartUSec", "s", "x"), "."),
    ],
)
async def test_a_property_that_systemd_does_not_know_is_named(
    prop: Property, words: str, manager: SystemdManager, make_unit: MakeUnit
) -> None:
    with pytest.raises(errors.SystemdRefused, match=f"cannot start unit .*{words}"):
        await manager.start(make_unit(*SLEEP, more=(prop,)))


async def test_a_name_that_is_none_is_refused(manager: SystemdManager) -> None:
    unit = TransientUnit("a/b.service", (), 5, 5)
    with pytest.raises(errors.SystemdRefused):
        await manager.start(unit)


async def test_arguments_arrive_byte_for_byte(manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DUMP, str(tmp_path / "out"), "cmdline", *HOSTILE]
    await manager.start(make_unit(*command, kind="oneshot"))
    assert (tmp_path / "out").read_bytes().split(b"\0")[:-1] == [word.encode() for word in command]


async def test_the_environment_arrives_byte_for_byte(
    manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path
) -> None:
    variables = [f"HOSTILE_{index}={value}" for index, value in enumerate(HOSTILE)]
    command = [sys.executable, "-c", DUMP, str(tmp_path / "out"), "environ"]
    await manager.start(make_unit(*command, kind="oneshot", more=(Property("Environment", "as", variables),)))
    found = (tmp_path / "out").read_bytes().split(b"\0")
    assert [entry for entry in found if entry.startswith(b"HOSTILE_")] == [entry.encode() for entry in variables]


async def test_a_program_that_ends_before_it_is_ready_failed(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit("/bin/sh", "-c", "exit 7", kind="notify")
    with pytest.raises(errors.UnitFailed) as caught:
        await manager.start(unit)
    assert caught.value.facts["result"] in {"exit-code", "protocol"}
    assert (await manager.status(unit.name)).exec_main_status == 7


async def test_a_program_that_is_never_ready_runs_out_of_time(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP, kind="notify", more=(Property("TimeoutStartUSec", "t", 200_000),))
    with pytest.raises(errors.UnitFailed, match="not ready within its start timeout"):
        await manager.start(unit)


async def test_a_stop_cancels_a_start(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP, kind="notify")
    start = asyncio.create_task(manager.start(unit))
    await changed(manager, unit.name, active_state="activating")
    await manager.stop(unit.name, timeout_s=10)
    with pytest.raises(errors.Conflict, match="a later stop canceled it"):
        await start


async def test_a_program_that_fails_at_once_was_started_all_the_same(
    manager: SystemdManager, make_unit: MakeUnit
) -> None:
    for _ in range(20):  # whether systemd calls the unit job done is a race
        status = await manager.start(make_unit("/bin/false"))
        assert status.active_state in {"active", "deactivating", "failed"}
        await changed(manager, status.name, active_state="failed", exec_main_status=1)


# -- names ---------------------------------------------------------------------------------------------------------


async def test_a_unit_that_runs_is_not_started_again(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP)
    status = await manager.start(unit)
    with pytest.raises(errors.UnitExists, match="it is active already"):
        await manager.start(unit)
    assert await manager.status(unit.name) == status


@pytest.mark.parametrize("exit_status", [0, 3])
async def test_a_unit_that_ended_keeps_its_status_until_it_is_stopped(
    exit_status: int, manager: SystemdManager, make_unit: MakeUnit, unit_prefix: str
) -> None:
    unit = make_unit("/bin/sh", "-c", f"sleep 0.1; exit {exit_status}")
    invocation_id = (await manager.start(unit)).invocation_id
    state, result = ("failed", "exit-code") if exit_status else ("inactive", "success")
    for status in (
        await changed(manager, unit.name, active_state=state, main_pid=0),
        await manager.stop(unit.name, timeout_s=10),
    ):
        assert (status.result, status.exec_main_code, status.exec_main_status) == (result, 1, exit_status)
        assert (status.active_state, status.invocation_id) == (state, invocation_id)
    assert await manager.status(unit.name) == UnitStatus(unit.name)
    assert loaded_units(unit_prefix) == []


@pytest.mark.parametrize("exit_status", [0, 3])
async def test_the_name_of_a_unit_that_ended_can_be_used_again(
    exit_status: int, manager: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = make_unit("/bin/sh", "-c", f"sleep 0.1; exit {exit_status}")
    runs = set()
    for _ in range(7):  # more often than the start limit allows by default
        runs.add((await manager.start(unit)).invocation_id)
        await changed(manager, unit.name, main_pid=0)
    assert len(runs) == 7


async def test_a_failed_unit_of_an_earlier_process_does_not_block_its_name(
    make_unit: MakeUnit, bus_address: str, library: Library
) -> None:
    unit = make_unit("/bin/sh", "-c", "sleep 0.1; exit 1")
    async with SystemdManager(address=bus_address, library=library) as earlier:
        await earlier.start(unit)
        await changed(earlier, unit.name, active_state="failed")
    async with SystemdManager(address=bus_address, library=library) as later:
        assert (await later.status(unit.name)).active_state == "failed"
        assert (await later.start(make_unit(*SLEEP))).active_state == "active"
        await later.stop(unit.name, timeout_s=10)


async def test_asking_for_a_unit_that_does_not_exist_loads_nothing(manager: SystemdManager, unit_prefix: str) -> None:
    name = f"{unit_prefix}-none.service"
    assert await manager.status(name) == UnitStatus(name)
    assert await manager.stop(name, timeout_s=5) == UnitStatus(name)
    assert await manager.adopt(f"{unit_prefix}*") == []
    assert loaded_units(unit_prefix) == []


# -- stopping ------------------------------------------------------------------------------------------------------


async def test_a_stopped_unit_is_gone_with_all_its_processes(
    manager: SystemdManager, make_unit: MakeUnit, unit_prefix: str
) -> None:
    unit = make_unit("/bin/sh", "-c", "setsid sleep 1000 & exec sleep 1000")
    pid = (await manager.start(unit)).main_pid
    status = await manager.stop(unit.name, timeout_s=10)
    assert (status.active_state, status.result, status.main_pid) == ("inactive", "success", 0)
    assert (status.exec_main_code, status.exec_main_status) == (2, signal.SIGTERM)
    assert not proc(pid, "").exists()
    assert loaded_units(unit_prefix) == []


async def test_a_program_that_ignores_the_stop_is_killed_after_its_grace(
    manager: SystemdManager, make_unit: MakeUnit
) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(1000)"
    unit = make_unit(sys.executable, "-c", code, stop_timeout_s=0.5)
    pid = (await manager.start(unit)).main_pid
    await ignores_sigterm(pid)
    began = time.monotonic()
    status = await manager.stop(unit.name, timeout_s=0.5)
    assert 0.5 <= time.monotonic() - began < 3
    assert (status.active_state, status.result) == ("failed", "timeout")
    assert not proc(pid, "").exists()
    assert (await manager.status(unit.name)).active_state == "inactive"


async def ignores_sigterm(pid: int) -> None:
    async with asyncio.timeout(10):
        while True:
            status = dict(line.split(":\t", 1) for line in proc(pid, "status").read_text().splitlines())
            if int(status["SigIgn"], 16) & 1 << (signal.SIGTERM - 1):
                return
            await asyncio.sleep(0.02)


async def test_a_stop_ends_the_wait_for_a_restart(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit("/bin/false", more=(Property("Restart", "s", "always"), Property("RestartUSec", "t", 60_000_000)))
    await manager.start(unit)
    await changed(manager, unit.name, sub_state="auto-restart")
    assert (await manager.stop(unit.name, timeout_s=10)).active_state in {"inactive", "failed"}


async def test_a_unit_of_somebody_else_can_be_stopped_and_its_end_be_read(
    manager: SystemdManager, make_unit: MakeUnit, bus_address: str
) -> None:
    unit = make_unit(*SLEEP)
    async with SystemdManager(address=bus_address) as other:
        await other.start(unit)
    status = await manager.stop(unit.name, timeout_s=10)
    assert (status.exec_main_code, status.exec_main_status) == (2, signal.SIGTERM)


async def test_a_restarted_unit_counts_its_restarts(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP, more=RESTART)
    first = await manager.start(unit)
    kill(first.main_pid)
    second = await changed(manager, unit.name, restarts=1, sub_state="running")
    assert first.main_pid != second.main_pid
    assert first.invocation_id != second.invocation_id


# -- adopting ------------------------------------------------------------------------------------------------------


async def test_units_outlive_the_manager_and_are_adopted_with_their_results(
    make_unit: MakeUnit, bus_address: str, unit_prefix: str, library: Library
) -> None:
    names = ["a", "b", "c"]
    async with SystemdManager(address=bus_address, library=library) as first:
        started = [await first.start(make_unit(*SLEEP, name=name)) for name in names]
    async with SystemdManager(address=bus_address, library=library) as second:
        assert await second.adopt(f"{unit_prefix}-*") == started
        os.kill(started[0].main_pid, signal.SIGTERM)  # a clean end: without a reference it would be gone
        status = await changed(second, started[0].name, active_state="inactive")
        assert (status.invocation_id, status.exec_main_code) == (started[0].invocation_id, 2)
        await stop_all(second, unit_prefix)


# -- many ----------------------------------------------------------------------------------------------------------


async def start_all(manager: SystemdManager, make_unit: MakeUnit, count: int) -> list[UnitStatus]:
    units = [make_unit(*SLEEP, name=str(index)) for index in range(count)]
    return list(await asyncio.gather(*map(manager.start, units)))


async def test_a_hundred_units_start_at_once(manager: SystemdManager, make_unit: MakeUnit) -> None:
    statuses = await start_all(manager, make_unit, 100)
    assert {status.active_state for status in statuses} == {"active"}
    assert len({status.main_pid for status in statuses}) == 100
