"""Files that outlast a power cut: what is synced, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hero_supervisor.durable import append_to_file, replace_file


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was synced, in order."""
    names: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: names.append(Path(f"/proc/self/fd/{file}").readlink().name))
    return names


def test_a_replaced_file_is_synced_and_then_its_name(tmp_path: Path, synced: list[str]) -> None:
    file = tmp_path / "file.json"
    for content in (b"old", b"new"):
        replace_file(file, content)
    assert file.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]
    assert synced == 2 * ["file.new", tmp_path.name]


def test_the_name_of_a_file_that_is_appended_to_is_synced_when_it_is_new(tmp_path: Path, synced: list[str]) -> None:
    file = tmp_path / "file.jsonl"
    for line in (b"1\n", b"2\n"):
        append_to_file(file, line)
    assert file.read_bytes() == b"1\n2\n"
    assert synced == ["file.jsonl", tmp_path.name, "file.jsonl"]


@pytest.mark.parametrize("write", [replace_file, append_to_file])
def test_a_file_that_is_made_is_its_owners(tmp_path: Path, write: object) -> None:
    assert callable(write)
    write(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_replaced_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError("no space left on device")

    replace_file(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
