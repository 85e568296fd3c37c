"""Units whose file nobody has corrected, because whoever started them died before it came to that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hero_supervisor.unit import Property, TransientUnit, exec_start
from tests import systemd_fake_bus as fake
from tests.unit.conftest import NO_REPLY, ROW, ended, queued, starts_with

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from hero_supervisor.systemd import SystemdManager
    from tests.systemd_fake_bus import FakeBus

COMMAND = ("/bin/echo", "$A")
UNIT = TransientUnit("a.service", (exec_start(COMMAND), Property("ReadOnlyPaths", "as", ["/a b"])), 5, 5)
WRITTEN = "[Service]\nExecStartEx=:x\nReadOnlyPaths=/a b\n"
RIGHT_COMMAND = 'ExecStart=\nExecStart=:"/bin/echo" "$A"\n'
RIGHT_PATHS = 'ReadOnlyPaths="/a b"\n'


def told(command: tuple[str, ...], paths: list[str]) -> dict[str, tuple[str, object]]:
    """Return what systemd tells of a unit."""
    commands = [[command[0], list(command), ["no-env-expand"], 1, 2, 0, 0, 42, 0, 0]]
    return {"ExecStartEx": ("a(sasasttttuii)", commands), "ReadOnlyPaths": ("as", paths)}


@pytest.fixture
async def file(bus: FakeBus, manager: SystemdManager, tmp_path: Path) -> Path:
    """The file of a unit that was started, left as systemd wrote it, and adopted."""
    file = tmp_path / "a.service"
    file.write_text(WRITTEN)
    bus.properties.update({"FragmentPath": ("s", str(file)), **told(COMMAND, ["/a b"])})
    bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ssssssouso)", [ROW])]
    await manager.adopt("a*")
    return file


async def test_the_file_of_a_unit_that_is_what_we_take_it_for_is_corrected(manager: SystemdManager, file: Path) -> None:
    await manager.mend(UNIT)
    assert file.read_text() == f"[Service]\n[Service]\n{RIGHT_COMMAND}{RIGHT_PATHS}"


async def test_paths_that_a_reload_has_dropped_already_are_put_back(
    bus: FakeBus, manager: SystemdManager, file: Path
) -> None:
    bus.properties.update(told(COMMAND, []))
    await manager.mend(UNIT)
    assert file.read_text() == f"[Service]\n[Service]\n{RIGHT_COMMAND}{RIGHT_PATHS}"


async def test_what_was_started_as_something_else_is_left_alone(
    bus: FakeBus, manager: SystemdManager, file: Path
) -> None:
    bus.properties.update(told(("/bin/echo", "$B"), ["/a b"]))
    await manager.mend(UNIT)
    assert file.read_text() == f"[Service]\nExecStartEx=:x\n[Service]\n{RIGHT_PATHS}"


async def test_a_file_that_was_corrected_is_not_touched(manager: SystemdManager, file: Path) -> None:
    await manager.mend(UNIT)
    before = file.stat()
    await manager.mend(UNIT)
    assert file.stat() == before


async def test_a_unit_that_is_not_ours_is_not_asked_for(bus: FakeBus, manager: SystemdManager, file: Path) -> None:
    calls = len(bus.calls)
    await manager.mend(TransientUnit("b.service", UNIT.properties, 5, 5))
    assert len(bus.calls) == calls
    assert file.read_text() == WRITTEN


async def test_a_unit_that_survives_as_it_is_costs_nothing(bus: FakeBus, manager: SystemdManager, file: Path) -> None:
    calls = len(bus.calls)
    await manager.mend(TransientUnit("a.service", (exec_start(("/bin/echo", "a")),), 5, 5))
    assert len(bus.calls) == calls
    assert file.read_text() == WRITTEN


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"FragmentPath": ("s", "/no/such/file")}, id="its file is gone"),
        pytest.param({"ExecStartEx": ("a(sas)", [])}, id="another systemd tells something else"),
    ],
)
async def test_what_cannot_be_mended_is_no_error(
    changed: dict[str, Any], bus: FakeBus, manager: SystemdManager, file: Path
) -> None:
    bus.properties.update(changed)
    await manager.mend(UNIT)
    assert file.read_text() == WRITTEN


async def test_the_file_is_corrected_also_when_the_reply_to_the_start_got_lost(
    bus: FakeBus, manager: SystemdManager, file: Path
) -> None:
    def leave(call: Any) -> list[Any]:
        starts_with(bus, queued, ended)
        bus.properties["Job"] = ("(uo)", [0, "/"])
        bus.properties["InactiveExitTimestampMonotonic"] = ("t", 1 << 62)
        return [fake.owner_changed(""), fake.error(call, NO_REPLY), fake.owner_changed(":1.1")]

    bus.answers["StartTransientUnit"] = leave
    assert (await manager.start(UNIT)).active_state == "active"
    assert file.read_text() == f"[Service]\n[Service]\n{RIGHT_COMMAND}{RIGHT_PATHS}"
