"""Whether a dynamic user can reach a program, by the modes of files."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from hero_supervisor import reachability
from hero_supervisor.reachability import closed_part, reach_faults
from hero_supervisor.runner import Runner
from hero_supervisor.unit import Capabilities, Site

SITE = Site("hero", Path("/x"))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program in a directory of its own, open to all as far as this test can make it so."""
    for directory in [tmp_path, *tmp_path.parents]:
        if directory.stat().st_uid == os.getuid():
            directory.chmod(directory.stat().st_mode | 0o011)
        if not directory.stat().st_mode & stat.S_IXOTH:
            pytest.skip(f"{directory} is closed to other users")
    program = tmp_path / "inner/program"
    program.parent.mkdir(mode=0o755)
    program.touch(mode=0o755)
    return program


def test_what_all_users_can_enter_and_execute_is_open(program: Path) -> None:
    assert closed_part(str(program)) is None


def test_the_first_closed_directory_is_named(program: Path) -> None:
    program.parent.chmod(0o750)
    assert closed_part(str(program)) == str(program.parent)


def test_a_program_that_others_may_not_execute_is_closed(program: Path) -> None:
    program.chmod(0o744)
    assert closed_part(str(program)) == str(program)


def test_a_link_is_as_open_as_what_it_leads_to(program: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(program)
    assert closed_part(str(link)) is None
    program.parent.chmod(0o700)
    # It leads through the closed directory, so it is the link itself that cannot be followed.
    assert closed_part(str(link)) is not None


def test_what_is_missing_is_for_the_start_to_tell(tmp_path: Path, program: Path) -> None:
    assert closed_part(str(program.parent / "none")) is None
    assert closed_part("/no/such/program") is None


@pytest.mark.parametrize(
    ("fields", "capabilities", "is_refused"),
    [
        ({}, Capabilities(), True),
        ({"sandbox": "strict"}, Capabilities(), True),
        ({"sandbox": "trusted"}, Capabilities(), False),
        ({"user": "joe"}, Capabilities(), False),
        ({}, Capabilities(is_user=True), False),
        ({"command": ["sleep"]}, Capabilities(), False),
        ({"command": ["/tmp/program"]}, Capabilities(), False),
    ],
)
def test_only_a_dynamic_user_may_be_unable_to_reach_a_program(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], capabilities: Capabilities, *, is_refused: bool
) -> None:
    monkeypatch.setattr(reachability, "closed_part", lambda path: "/srv/closed")
    runner = Runner.from_data({"id": "a", "command": ["/srv/closed/program"], **fields})
    faults = list(reach_faults(runner, SITE, capabilities))
    assert bool(faults) is is_refused
    if is_refused:
        assert faults[0].path == "sandbox"
        assert "/srv/closed/program" in faults[0].message
        assert "'trusted'" in faults[0].message
        assert "user" in faults[0].message


@pytest.mark.parametrize(
    ("version", "sandbox", "is_refused"),
    [(252, "strict", False), (257, "strict", True), (257, "trusted", False)],
)
def test_the_root_that_a_strict_sandbox_shows_is_closed_by_newer_systemds(
    monkeypatch: pytest.MonkeyPatch, version: int, sandbox: str, *, is_refused: bool
) -> None:
    monkeypatch.setattr(reachability, "executor_paths", lambda: ("/root/venv",))
    runner = Runner.from_data({"id": "a", "executor": "python", "sandbox": sandbox})
    faults = list(reach_faults(runner, SITE, Capabilities(version=version)))
    assert [fault.path for fault in faults] == ["sandbox"] * is_refused


def test_the_bundled_runner_needs_the_interpreter_and_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(reachability, "closed_part", asked.append)
    monkeypatch.setattr(reachability, "executor_paths", lambda: ("/opt/venv", "/tmp/checkout"))
    list(reach_faults(Runner.from_data({"id": "a", "executor": "python"}), SITE, Capabilities()))
    # What is below /tmp is mounted back into the sandbox.
    assert asked == ["/opt/venv"]
