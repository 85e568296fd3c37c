"""What systemd writes wrong of a unit, and what its file says instead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from hero_supervisor.systemd.transient_file import command_line, correct, corrections, surviving
from hero_supervisor.unit import Property, TransientUnit, exec_start

KIND = Property("Type", "s", "exec")

#: A file as systemd writes it, what belongs into it, and the file that should come of it.
WRITTEN = b"[Unit]\nDescription=x\n[Service]\nReadOnlyPaths=/a b\nUser=u\nExecStartEx=:x\n"
WRONG = {"ReadOnlyPaths": ['ReadOnlyPaths="/a b"'], "ExecStartEx": ["ExecStart=", "ExecStart=:x"]}
CORRECTED = b'[Unit]\nDescription=x\n[Service]\nUser=u\n[Service]\nReadOnlyPaths="/a b"\nExecStart=\nExecStart=:x\n'


def _unit(*properties: Property) -> TransientUnit:
    return TransientUnit("a.service", properties, 5, 5)


def _shown(*paths: str) -> Property:
    return Property("BindReadOnlyPaths", "a(ssbt)", [[path, path, False, 0] for path in paths])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a.service"
    file.write_bytes(WRITTEN)
    return file


# -- the form of a command -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [252, 256])
@pytest.mark.parametrize("words", [("/bin/echo",), ("/bin/echo", "a b", "%n", '"')])
@pytest.mark.parametrize(("given", "key"), [("ExecStartEx", "ExecStart"), ("ExecReloadEx", "ExecReload")])
def test_a_plain_command_is_given_to_an_older_version_in_the_form_that_survives(
    given: str, key: str, words: tuple[str, ...], version: int
) -> None:
    command = Property(given, "a(sasas)", [[words[0], list(words), ["no-env-expand"]]])
    old = surviving(_unit(KIND, command), version=version)
    assert old == _unit(KIND, Property(key, "a(sasb)", [[words[0], list(words), False]]))
    assert corrections(old, version=version) == {}


@pytest.mark.parametrize("word", ["$", "a$b", ";", "a;b"])
def test_a_command_with_a_dollar_or_a_semicolon_is_given_as_it_is_and_corrected(word: str) -> None:
    unit = _unit(KIND, exec_start(("/bin/echo", word)))
    assert surviving(unit, version=252) == unit
    assert corrections(unit, version=252) == {"ExecStartEx": ["ExecStart=", f'ExecStart=:"/bin/echo" "{word}"']}


def test_a_newer_version_is_given_what_was_meant() -> None:
    unit = _unit(exec_start(("/bin/echo", "a")))
    assert surviving(unit, version=257) is unit


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        pytest.param(["/x"], [], id="variables are expanded"),
        pytest.param(["/x"], ["ignore-failure", "no-env-expand"], id="another flag"),
        pytest.param(["y"], ["no-env-expand"], id="another name for the process"),
    ],
)
def test_a_command_that_no_line_can_say_is_left_as_it_is(words: list[str], flags: list[str]) -> None:
    unit = _unit(Property("ExecStartEx", "a(sasas)", [["/x", words, flags]]))
    assert surviving(unit, version=252) == unit
    assert corrections(unit, version=252) == {}


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("", ""),
        ("a b", "a b"),
        ('\\"', '\\\\\\"'),
        ("%n", "%%n"),
        ("$A;", "$A;"),
        ("\n\x1f\x7f", "\\x0a\\x1f\\x7f"),
        ("ü ~", "ü ~"),
    ],
)
def test_a_word_is_quoted_so_that_systemd_reads_it_as_it_is(word: str, quoted: str) -> None:
    assert command_line("ExecStart", ["/x", word]) == f'ExecStart=:"/x" "{quoted}"'


# -- what is corrected ---------------------------------------------------------------------------------------------


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


# -- the file ------------------------------------------------------------------------------------------------------


def test_a_file_keeps_all_lines_but_the_wrong_ones(file: Path) -> None:
    correct(str(file), WRONG)
    assert file.read_bytes() == CORRECTED


def test_a_corrected_file_looks_to_systemd_as_it_did(file: Path) -> None:
    file.chmod(0o640)
    os.utime(file, ns=(10**18, 10**18 + 7))
    correct(str(file), WRONG)
    assert (file.stat().st_mode & 0o777, file.stat().st_mtime_ns) == (0o640, 10**18 + 7)


def test_who_reads_a_file_while_it_is_corrected_sees_all_of_it(file: Path) -> None:
    with file.open("rb") as reader:
        correct(str(file), WRONG)
        assert reader.read() == WRITTEN
    assert list(file.parent.iterdir()) == [file]


def test_a_file_without_wrong_lines_is_not_touched(file: Path) -> None:
    before = file.stat().st_ino
    correct(str(file), {"ExecReloadEx": ["ExecReload="]})
    assert file.stat().st_ino == before


def test_nothing_is_left_of_a_correction_that_failed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        correct(str(file), WRONG)
    assert file.read_bytes() == WRITTEN
    assert list(file.parent.iterdir()) == [file]
