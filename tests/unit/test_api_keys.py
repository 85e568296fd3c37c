"""Keys of callers: what is kept of them, for how long, and through a crash."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from hero_supervisor import durable
from hero_supervisor.access_records import MAX_KEYS
from hero_supervisor.api_keys import KeyStore
from hero_supervisor.errors import Conflict, CorruptRecord, KeyExists, KeyNotFound, StateUnavailable
from hero_supervisor.scope import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 7, 2, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
async def store(path: Path, clock: Clock) -> AsyncIterator[KeyStore]:
    store = KeyStore(path, clock=clock)
    store.load()
    yield store
    await store.aclose()


async def test_a_key_works_at_once_and_after_a_restart(store: KeyStore, path: Path) -> None:
    made = await store.create("ci", Scope.USER)
    assert re.fullmatch(r"hero_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", made.key)
    known = store.check(made.key)
    assert known is not None
    assert (known.id, known.name, known.scope) == (made.id, "ci", Scope.USER)
    again = KeyStore(path)
    again.load()
    assert again.check(made.key) is not None
    await again.aclose()


async def test_the_file_has_no_secret_and_is_its_owners_alone(store: KeyStore, path: Path) -> None:
    made = await store.create("ci", Scope.ADMIN)
    assert made.key not in path.read_text()
    assert made.key[18:] not in path.read_text()
    assert made.key not in repr(made)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_is_not_quite_a_key_is_none(store: KeyStore) -> None:
    made = await store.create("ci", Scope.USER)
    other = await store.create("other", Scope.USER)
    mixed = made.key[:18] + other.key[18:]
    almost = made.key[:-1] + ("A" if made.key[-1] != "A" else "B")
    for wrong in ("", "hero_", made.id, made.key.upper(), made.key + "\n", f" {made.key}", mixed, almost, "\ud800"):
        assert store.check(wrong) is None, wrong


async def test_a_key_that_is_removed_works_no_more(store: KeyStore, path: Path) -> None:
    by_name, by_id = await store.create("a", Scope.USER), await store.create("b", Scope.USER)
    assert (await store.remove("a")).id == by_name.id
    assert (await store.remove(by_id.id)).name == "b"
    for made in (by_name, by_id):
        assert store.check(made.key) is None
    assert json.loads(path.read_text())["keys"] == []
    with pytest.raises(KeyNotFound):
        await store.remove("a")


async def test_a_key_expires(store: KeyStore, clock: Clock) -> None:
    made = await store.create("ci", Scope.USER, expires_in_s=60)
    assert made.expires_at == clock.now + timedelta(seconds=60)
    clock.go_on(59.9)
    assert store.check(made.key) is not None
    clock.go_on(0.1)
    assert store.check(made.key) is None
    assert [key.name for key in store.listed()] == ["ci"]


async def test_names_are_taken_once_and_the_number_of_keys_is_limited(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_sync_directory", lambda _: None)
    await store.create("k0", Scope.USER)
    with pytest.raises(KeyExists):
        await store.create("k0", Scope.USER)
    for number in range(1, MAX_KEYS):
        await store.create(f"k{number}", Scope.USER)
    with pytest.raises(Conflict, match="256 keys"):
        await store.create("one more", Scope.USER)


async def test_uses_are_written_at_most_once_a_minute(store: KeyStore, path: Path, clock: Clock) -> None:
    def noted() -> str | None:
        return str(json.loads(path.read_text())["keys"][0]["key"]["last_used_at"])

    made = await store.create("ci", Scope.USER)
    assert store.listed()[0].last_used_at is None
    first = clock.now
    store.check(made.key)
    await asyncio.wait([task] if (task := store._noting) else [])
    assert datetime.fromisoformat(noted() or "") == first
    clock.go_on(59)
    for _ in range(100):
        store.check(made.key)
    assert store._noting is task  # nothing was begun
    assert store.listed()[0].last_used_at == clock.now
    clock.go_on(1)
    store.check(made.key)
    assert store._noting is not task
    await store.aclose()
    assert datetime.fromisoformat(noted() or "") == clock.now


async def test_a_change_that_cannot_be_written_is_not_made(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    made = await store.create("ci", Scope.USER)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "_write", full)
    with pytest.raises(StateUnavailable, match="No space left"):
        await store.create("other", Scope.ADMIN)
    with pytest.raises(StateUnavailable):
        await store.remove("ci")
    assert [key.name for key in store.listed()] == ["ci"]
    assert store.check(made.key) is not None
    await store.aclose()  # which cannot write that it was used
    assert path.read_bytes() == before


async def test_a_crash_before_the_new_file_has_its_name_leaves_the_old_one(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    made = await store.create("ci", Scope.USER)
    monkeypatch.setattr(type(path), "replace", _crash)
    with pytest.raises(Crash):
        await store.remove("ci")
    monkeypatch.undo()
    after = KeyStore(path)
    after.load()
    assert after.check(made.key) is not None
    await after.aclose()


class Crash(Exception):
    pass


def _crash(*_: object) -> None:
    raise Crash


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"keys": [{}]}', b'{"keys": [], "version": 2}'])
def test_a_file_that_is_not_ours_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CorruptRecord, match=re.escape(str(path))):
        KeyStore(path).load()
    assert path.read_bytes() == content


async def test_changes_that_meet_are_all_made(store: KeyStore, path: Path) -> None:
    names = [f"k{number}" for number in range(20)]
    await asyncio.gather(*(store.create(name, Scope.USER) for name in names))
    await asyncio.gather(*(store.remove(name) for name in names[:10]))
    kept = [each["key"]["name"] for each in msgspec.json.decode(path.read_bytes())["keys"]]
    assert sorted(kept) == sorted(names[10:])
