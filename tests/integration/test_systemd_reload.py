"""Units when systemd reads their files again: they run on, and are started again as they were."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.systemd import SystemdManager
from hero_supervisor.unit import Property, TransientUnit
from tests.systemd_fixtures import (
    HOSTILE,
    IS_USER,
    RESTART,
    SLEEP,
    arguments_of,
    changed,
    kill,
    run_systemctl,
    systemctl,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hero_supervisor.systemd.library import Library

    MakeUnit = Callable[..., TransientUnit]


@pytest.mark.parametrize("verb", ["daemon-reload", "daemon-reexec"])
@pytest.mark.parametrize("words", [["plain 'words'", '%n \\ "x"\n\t', "", "ü"], HOSTILE], ids=["plain", "hostile"])
async def test_systemd_restarts_a_unit_with_the_same_command_after_it_has_reloaded(
    words: list[str], verb: str, manager: SystemdManager, make_unit: MakeUnit
) -> None:
    command = [sys.executable, "-c", "import time\ntime.sleep(1000)", *words]
    unit = make_unit(*command, more=RESTART)
    first = await manager.start(unit)
    await run_systemctl(verb)
    assert systemctl("show", "--property=LoadState,NeedDaemonReload", unit.name).split() == [
        "LoadState=loaded",
        "NeedDaemonReload=no",
    ]
    kill(first.main_pid)
    second = await changed(manager, unit.name, restarts=1, sub_state="running")
    assert arguments_of(second.main_pid) == [word.encode() for word in command]


async def test_a_start_that_loses_its_command_to_a_reload_is_made_again(
    manager: SystemdManager, make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = make_unit("/bin/sleep", "2", name="slow", kind="oneshot")
    unit = make_unit("/bin/sh", "-c", "sleep 1000; true", more=(Property("After", "as", [slow.name]),))
    correct, reloads = manager._starts._correct, iter(["daemon-reload"])

    async def reload_first(*unit: Any) -> None:
        for verb in reloads:
            await run_systemctl(verb)
        await correct(*unit)

    first = asyncio.create_task(manager.start(slow))
    await changed(manager, slow.name, active_state="activating")
    monkeypatch.setattr(manager._starts, "_correct", reload_first)
    status = await manager.start(unit)
    await first
    assert status.active_state == "active"
    assert arguments_of(status.main_pid) == [b"/bin/sh", b"-c", b"sleep 1000; true"]


async def test_a_command_survives_though_whoever_started_its_unit_died_before_it_corrected_the_file(
    bus_address: str, library: Library, make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object) -> None: ...

    unit = make_unit(sys.executable, "-c", "import time\ntime.sleep(1000)", *HOSTILE, more=RESTART)
    async with SystemdManager(user=IS_USER, address=bus_address, library=library) as first:
        monkeypatch.setattr(first._starts, "_correct", die)
        status = await first.start(unit)
    async with SystemdManager(user=IS_USER, address=bus_address, library=library) as second:
        await second.adopt(unit.name)
        await second.mend(unit)
        await run_systemctl("daemon-reload")
        before = arguments_of(status.main_pid)
        kill(status.main_pid)
        again = await changed(second, unit.name, restarts=1, sub_state="running")
        assert arguments_of(again.main_pid) == before
        await second.stop(unit.name, timeout_s=10)


@pytest.mark.parametrize("damage", ["[Service]\nExecStart=\n", None], ids=["bad", "gone"])
async def test_a_unit_whose_file_was_damaged_is_adopted_and_stopped_like_any_other(
    damage: str | None, manager: SystemdManager, make_unit: MakeUnit, bus_address: str, library: Library
) -> None:
    unit = make_unit(*SLEEP)
    status = await manager.start(unit)
    path = Path(systemctl("show", "--value", "--property=FragmentPath", unit.name).strip())
    path.unlink()
    if damage is not None:
        path.write_text(damage)
    await run_systemctl("daemon-reload")
    async with SystemdManager(user=IS_USER, address=bus_address, library=library) as second:
        assert await second.adopt(unit.name) == [status]
        ended = await second.stop(unit.name, timeout_s=5)
    assert not ended.is_running
    assert not Path(f"/proc/{status.main_pid}").exists()
