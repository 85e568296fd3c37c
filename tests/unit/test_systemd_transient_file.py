"""What systemd writes wrong of a unit, and what its file says instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hero_supervisor.systemd.transient_file import correct, corrections
from hero_supervisor.unit import Property, TransientUnit, exec_start

if TYPE_CHECKING:
    from pathlib import Path


def _unit(*properties: Property) -> TransientUnit:
    return TransientUnit("a.service", properties, 5, 5)


def _shown(*paths: str) -> Property:
    return Property("BindReadOnlyPaths", "a(ssbt)", [[path, path, False, 0] for path in paths])


def test_commands_are_corrected_for_older_versions_only() -> None:
    unit = _unit(exec_start(("/bin/echo", "$A")))
    assert corrections(unit, version=252) == {"ExecStartEx": ["ExecStart=", 'ExecStart=:"/bin/echo" "$A"']}
    assert corrections(unit, version=257) == {}


@pytest.mark.parametrize("version", [252, 257])
def test_paths_are_corrected_for_all_versions_when_they_need_quotes(version: int) -> None:
    unit = _unit(_shown("/usr"), Property("ReadOnlyPaths", "as", ["/a b%", '/c"\\']), _shown("/d:e"))
    assert corrections(unit, version=version) == {
        "ReadOnlyPaths": ['ReadOnlyPaths="/a b%%"', 'ReadOnlyPaths="/c\\"\\\\"'],
        "BindReadOnlyPaths": ['BindReadOnlyPaths="/usr":"/usr"', 'BindReadOnlyPaths="/d:e":"/d:e"'],
    }


def test_plain_paths_are_left_as_systemd_writes_them() -> None:
    assert corrections(_unit(_shown("/usr/ü%$;")), version=252) == {}


def test_a_file_keeps_all_lines_but_the_wrong_ones(tmp_path: Path) -> None:
    file = tmp_path / "a.service"
    file.write_text("[Unit]\nDescription=x\n[Service]\nReadOnlyPaths=/a b\nUser=u\nExecStartEx=:x\n")
    correct(str(file), {"ReadOnlyPaths": ['ReadOnlyPaths="/a b"'], "ExecStartEx": ["ExecStart=", "ExecStart=:x"]})
    kept = "[Unit]\nDescription=x\n[Service]\nUser=u\n"
    assert file.read_text() == f'{kept}[Service]\nReadOnlyPaths="/a b"\nExecStart=\nExecStart=:x\n'


def test_a_file_without_wrong_lines_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "a.service"
    file.write_text("[Service]\nUser=u\n")
    before = file.stat().st_ino
    correct(str(file), {"ExecStartEx": ["ExecStart="]})
    assert file.stat().st_ino == before
