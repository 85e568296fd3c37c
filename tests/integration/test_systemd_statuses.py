"""The statuses of many units: never older than systemd's answer, whoever changes a unit and however."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.unit import Property, UnitStatus
from tests.redis_fixtures import eventually
from tests.systemd_fixtures import SLEEP, systemctl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hero_supervisor.systemd import SystemdManager
    from hero_supervisor.unit import TransientUnit

    MakeUnit = Callable[..., TransientUnit]

AT_ONCE = (
    Property("Restart", "s", "always"),
    Property("RestartUSec", "t", 0),
    Property("StartLimitIntervalUSec", "t", 0),
)


async def statuses(manager: SystemdManager, *names: str) -> list[UnitStatus]:
    return await manager.statuses(names, pattern="herotest*")


async def lines_in(file: Path, number: int) -> None:
    await eventually(lambda: file.read_text().count("\n") == number)


async def test_they_are_what_each_unit_says_by_itself_in_the_order_asked_for(
    manager: SystemdManager, make_unit: MakeUnit, unit_prefix: str
) -> None:
    units = {name: make_unit(*SLEEP, name=name) for name in ("a", "b")}
    failed = make_unit("/bin/false", name="failed")
    for unit in (*units.values(), failed):
        await manager.start(unit)
    await eventually(lambda: systemctl("is-failed", failed.name).strip() == "failed")
    missing = f"{unit_prefix}-missing.service"
    names = [units["b"].name, missing, failed.name, units["a"].name]
    alone = [await manager.status(name) for name in names]
    for _ in range(2):
        assert await statuses(manager, *names) == alone
    assert alone[1] == UnitStatus(missing)


async def test_a_unit_that_systemd_restarts_by_itself_is_never_shown_as_it_was(
    manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    pids.touch()
    unit = make_unit("/bin/sh", "-c", f"echo $$ >> {pids}; exec sleep 1000", more=AT_ONCE)
    other = await manager.start(make_unit(*SLEEP, name="other"))
    main_pid = (await manager.start(unit)).main_pid
    await lines_in(pids, 1)
    for restarts in range(1, 31):
        assert (await statuses(manager, unit.name, other.name))[0].main_pid == main_pid
        os.kill(main_pid, signal.SIGKILL)
        await lines_in(pids, restarts + 1)
        status, beside = await statuses(manager, unit.name, other.name)
        main_pid = int(pids.read_text().split()[-1])
        assert (status.main_pid, status.restarts, beside) == (main_pid, restarts, other)


async def test_a_stop_by_somebody_else_is_seen_at_once(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP)
    before = await manager.start(unit)
    assert await statuses(manager, unit.name) == [before]
    systemctl("stop", unit.name)
    (after,) = await statuses(manager, unit.name)
    assert (after.active_state, after.main_pid, after.exec_main_status) == ("inactive", 0, signal.SIGTERM)
    systemctl("start", unit.name)
    (again,) = await statuses(manager, unit.name)
    assert again.active_state == "active"
    assert again.invocation_id != before.invocation_id


async def test_our_own_stop_and_start_are_seen_at_once(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP)
    for _ in range(3):
        started = await manager.start(unit)
        assert await statuses(manager, unit.name) == [started]
        await manager.stop(unit.name, timeout_s=10)
        assert await statuses(manager, unit.name) == [UnitStatus(unit.name)]


@pytest.mark.parametrize("verb", ["daemon-reload", "daemon-reexec"])
async def test_after_a_reload_they_are_true(verb: str, manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP, more=AT_ONCE)
    before = await manager.start(unit)
    assert await statuses(manager, unit.name) == [before]
    os.kill(before.main_pid, signal.SIGKILL)
    await asyncio.to_thread(systemctl, verb)
    await eventually(lambda: systemctl("show", "--value", "--property=SubState", unit.name).strip() == "running")
    (status,) = await statuses(manager, unit.name)
    assert status.restarts >= 1  # a start that a re-execution meets half way is made again
    assert status.main_pid != before.main_pid
    assert status == await manager.status(unit.name)


async def test_nothing_is_shown_without_a_connection_nor_from_before_its_loss(
    manager: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = make_unit(*SLEEP, more=AT_ONCE)
    before = await manager.start(unit)
    assert await statuses(manager, unit.name) == [before]
    connection: Any = manager._bus._connection
    connection._bus._sock.shutdown(socket.SHUT_RDWR)  # as a dying bus daemon does
    with pytest.raises(errors.SystemdUnavailable):
        await statuses(manager, unit.name)
    os.kill(before.main_pid, signal.SIGKILL)
    await eventually(lambda: systemctl("show", "--value", "--property=NRestarts", unit.name).strip() == "1")
    await eventually(lambda: manager.connected)
    (status,) = await statuses(manager, unit.name)
    assert (status.restarts, status.main_pid != before.main_pid) == (1, True)


async def test_statuses_load_nothing(manager: SystemdManager, unit_prefix: str) -> None:
    names = [f"{unit_prefix}-{number}.service" for number in range(3)]
    assert await statuses(manager, *names) == list(map(UnitStatus, names))
    assert systemctl("list-units", "--all", "--no-legend", f"{unit_prefix}*") == ""
