"""What is done to units that run, with both D-Bus libraries: signals, reload, freeze, limits."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from hero_supervisor import errors
from hero_supervisor.unit import Property, TransientUnit
from tests.redis_fixtures import eventually
from tests.systemd_fixtures import SLEEP, changed, systemctl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hero_supervisor.systemd import SystemdManager

    MakeUnit = Callable[..., TransientUnit]


async def test_a_signal_reaches_the_main_process_or_all(
    manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path
) -> None:
    trap = f"trap 'echo $1 >> {tmp_path}/got' USR1; echo > {tmp_path}/ready-$1; while :; do sleep 0.05; done"
    unit = make_unit("/bin/sh", "-c", '/bin/sh -c "$0" child child & eval "$0"', trap, "main")
    await manager.start(unit)
    got = tmp_path / "got"
    await eventually(lambda: {path.name for path in tmp_path.glob("ready-*")} == {"ready-child", "ready-main"})
    await manager.kill(unit.name, signal=signal.SIGUSR1, main_only=True)
    await eventually(lambda: got.exists() and got.read_text().split() == ["main"])
    await manager.kill(unit.name, signal=signal.SIGUSR1)
    await eventually(lambda: sorted(got.read_text().split()) == ["child", "main", "main"])


async def test_a_unit_can_be_killed_while_it_stops(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit("/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done", stop_timeout_s=60)
    await manager.start(unit)
    stopping = asyncio.create_task(manager.stop(unit.name, timeout_s=60))
    await changed(manager, unit.name, active_state="deactivating")
    await manager.kill(unit.name, signal=signal.SIGKILL)
    async with asyncio.timeout(5):
        assert (await stopping).exec_main_status == signal.SIGKILL


async def test_what_is_not_loaded_cannot_be_signalled(manager: SystemdManager, unit_prefix: str) -> None:
    with pytest.raises(errors.NotFound, match=f"cannot send a signal to unit '{unit_prefix}-none.service'"):
        await manager.kill(f"{unit_prefix}-none.service", signal=signal.SIGTERM)


async def test_a_reload_executes_the_command_and_tells_its_failure(
    manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path
) -> None:
    def reload(*words: str) -> Property:
        return Property("ExecReload", "a(sasb)", [[words[0], list(words), False]])

    good = make_unit(*SLEEP, name="good", more=(reload("/bin/touch", f"{tmp_path}/reloaded"),))
    bad = make_unit(*SLEEP, name="bad", more=(reload("/bin/false"),))
    await manager.start(good)
    await manager.start(bad)
    await manager.reload(good.name, timeout_s=5)
    assert (tmp_path / "reloaded").exists()
    with pytest.raises(errors.UnitFailed, match="reload command failed"):
        await manager.reload(bad.name, timeout_s=5)
    assert (await manager.status(bad.name)).active_state == "active"


async def test_a_frozen_unit_stands_still_until_it_is_thawed(
    manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path
) -> None:
    file = tmp_path / "count"
    unit = make_unit("/bin/sh", "-c", f"while :; do echo x >> {file}; sleep 0.02; done")
    await manager.start(unit)
    await eventually(file.exists)
    await manager.freeze(unit.name)
    size = file.stat().st_size
    await asyncio.sleep(0.2)  # nothing tells that nothing happens
    assert file.stat().st_size == size
    await manager.freeze(unit.name, thaw=True)
    await eventually(lambda: file.stat().st_size > size)


async def test_resource_limits_change_while_a_unit_runs_and_others_are_refused(
    manager: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = make_unit(*SLEEP)
    before = await manager.start(unit)
    await manager.set_properties(unit.name, [Property("TasksMax", "t", 77)])
    assert systemctl("show", "--property=TasksMax", unit.name).strip() == "TasksMax=77"
    with pytest.raises(errors.SystemdRefused, match="RestartUSec"):
        await manager.set_properties(unit.name, [Property("RestartUSec", "t", 1)])
    assert await manager.status(unit.name) == before
