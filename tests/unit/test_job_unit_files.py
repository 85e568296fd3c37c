"""Payloads and outputs of job units on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hero_supervisor.jobs.unit_files import KEPT_BYTES, JobFiles

if TYPE_CHECKING:
    from pathlib import Path

UNIT = f"hero-job-a@{'j' * 128}:1.service"


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    return JobFiles(tmp_path / "jobs")


def test_a_payload_can_be_read_by_whoever_is_given_it_and_found_by_nobody(files: JobFiles, tmp_path: Path) -> None:
    files.prepare(UNIT, "é\r\n")
    assert files.payload(UNIT).read_bytes() == "é\r\n".encode()
    assert files.payload(UNIT).stat().st_mode & 0o777 == 0o444
    assert (tmp_path / "jobs").stat().st_mode & 0o777 == 0o700


def test_what_an_earlier_start_left_is_not_taken_for_output(files: JobFiles) -> None:
    files.prepare(UNIT, "1")
    files.output(UNIT).write_text("old")
    files.prepare(UNIT, "2")
    assert (files.read_output(UNIT), files.payload(UNIT).read_text()) == ("", "2")


def test_output_that_is_no_text_is_made_so(files: JobFiles) -> None:
    files.prepare(UNIT, "")
    files.output(UNIT).write_bytes(b"a\xff\xfeb")
    assert files.read_output(UNIT) == "a\ufffd\ufffdb"


def test_a_link_is_not_followed(files: JobFiles, tmp_path: Path) -> None:
    files.prepare(UNIT, "")
    (tmp_path / "secret").write_text("secret")
    files.output(UNIT).symlink_to(tmp_path / "secret")
    assert files.read_output(UNIT) == ""


def test_an_output_is_cut_and_can_be_seen_to_be(files: JobFiles) -> None:
    files.prepare(UNIT, "")
    files.output(UNIT).write_bytes(b"x" * (KEPT_BYTES + 10))
    files.bound([UNIT, "no-such.service"])
    assert files.output(UNIT).stat().st_size == KEPT_BYTES
    assert len(files.read_output(UNIT)) == KEPT_BYTES


def test_a_sweep_removes_what_is_not_in_use_of_one_runner(files: JobFiles) -> None:
    names = ["hero-job-a@1:1.service", "hero-job-a@2:1.service", "hero-job-b@3:1.service"]
    for name in names:
        files.prepare(name, "")
        files.output(name).touch()
    files.sweep("hero-job-a@", {names[0]})
    assert [files.payload(name).exists() for name in names] == [True, False, True]
    assert [files.output(name).exists() for name in names] == [True, False, True]


def test_files_that_are_gone_are_removed_quietly(files: JobFiles) -> None:
    files.remove(UNIT)
    files.sweep("", ())
    assert files.read_output(UNIT) == ""
