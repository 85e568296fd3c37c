"""The state directory: locked, replaced as a whole, never overwritten when it cannot be read."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hero_supervisor import durable
from hero_supervisor import state as state_module
from hero_supervisor.errors import CorruptRecord, InvalidSettings, StateLocked
from hero_supervisor.runner import Runner
from hero_supervisor.state import Desired, StateDirectory, StoredRunner

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDirectory]:
    directory = StateDirectory(tmp_path / "state")
    directory.open()
    yield directory
    directory.close()


def _stored(id: str, desired: Desired = Desired.STOPPED) -> StoredRunner:
    return StoredRunner(definition=Runner(id=id, command=("/bin/true", "ü\n")), desired=desired)


async def test_what_was_saved_is_loaded_in_the_same_order(state: StateDirectory) -> None:
    runners = {"b": _stored("b", Desired.RUNNING), "a": _stored("a")}
    await state.save(runners)
    assert list(state.load().items()) == list(runners.items())


async def test_an_empty_directory_holds_no_runners(state: StateDirectory) -> None:
    assert state.load() == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"runners": [{"definition": {"id": "A"}}]}', b"\xff"])
async def test_a_file_that_is_not_ours_is_refused_and_left_alone(state: StateDirectory, content: bytes) -> None:
    path = state.path / "runners.json"
    path.write_bytes(content)
    with pytest.raises(CorruptRecord, match=r"runners\.json"):
        state.load()
    assert path.read_bytes() == content


async def test_a_file_of_a_later_version_is_refused(state: StateDirectory) -> None:
    (state.path / "runners.json").write_text('{"version": 2, "runners": []}')
    with pytest.raises(CorruptRecord, match="version 2"):
        state.load()


async def test_a_second_supervisor_is_refused_and_told_the_first_ones_process(state: StateDirectory) -> None:
    with pytest.raises(StateLocked, match=f"process id {os.getpid()}"):
        StateDirectory(state.path).open()


async def test_the_lock_is_free_after_close(state: StateDirectory) -> None:
    state.close()
    second = StateDirectory(state.path)
    second.open()
    second.close()


async def test_nobody_else_may_read_it(state: StateDirectory) -> None:
    await state.save({})
    state.write_environment({"HERO_REDIS_URL": "redis://:secret@host"})
    for path in (state.path, state.environment_file, state.path / "runners.json", state.redis_path):
        assert path.stat().st_mode & 0o077 == 0


async def test_the_environment_file_is_quoted_for_systemd(state: StateDirectory) -> None:
    state.write_environment({"A": 'x "y" \\z'})
    assert state.environment_file.read_text() == 'A="x \\"y\\" \\\\z"\n'


async def test_saves_that_meet_leave_the_newest_content(state: StateDirectory) -> None:
    runners: dict[str, StoredRunner] = {}

    async def add(id: str) -> None:
        runners[id] = _stored(id)
        await state.save(runners)

    await asyncio.gather(*(add(f"r{number}") for number in range(50)))
    assert state.load().keys() == runners.keys()


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings, match="file/state cannot be used"):
        StateDirectory(tmp_path / "file" / "state").open()


async def test_saves_that_meet_share_one_replacement(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = []
    replace = durable.replace_file

    def note(path: Path, data: bytes) -> None:
        replaced.append(path)
        replace(path, data)

    monkeypatch.setattr(state_module, "replace_file", note)
    await asyncio.gather(*(state.save({}) for _ in range(50)))
    assert len(replaced) == 2  # the first one's, and one for all that came while it was under way


async def test_a_save_that_is_cancelled_is_over_before_the_next_one_begins(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, begun, may_go_on = durable.replace_file, threading.Event(), threading.Event()
    under_way, met = [0], []

    def slow(path: Path, data: bytes) -> None:
        under_way[0] += 1
        met.append(under_way[0])
        begun.set()
        may_go_on.wait(5)
        replace(path, data)
        under_way[0] -= 1

    monkeypatch.setattr(state_module, "replace_file", slow)
    first = asyncio.create_task(state.save({"a": _stored("a")}))
    await asyncio.to_thread(begun.wait, 5)
    first.cancel()
    second = asyncio.create_task(state.save({"b": _stored("b")}))
    await asyncio.sleep(0.05)  # time to meet; nothing tells that they do not
    may_go_on.set()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert met == [1, 1]
    assert state.load().keys() == {"b"}


def test_the_password_of_the_private_redis_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    password = StateDirectory(tmp_path).redis_password()
    assert len(password) == 48
    assert StateDirectory(tmp_path).redis_password() == password
    assert (tmp_path / "redis.conf").read_text() == f"requirepass {password}\n"
    assert (tmp_path / "redis.conf").stat().st_mode & 0o777 == 0o600


async def test_what_was_saved_is_on_disk_also_by_its_name(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def note(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        synced.append(f"{path}, {'after' if (state.path / 'runners.json').exists() else 'before'} the rename")
        sync(file)

    monkeypatch.setattr(os, "fsync", note)
    await state.save({"a": _stored("a")})
    assert synced[-1] == f"{state.path}, after the rename"
