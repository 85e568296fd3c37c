"""What is kept open by a key, and when it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.api_keys import KeyStore
from hero_supervisor.rpc.access import Access
from hero_supervisor.rpc.caller import Peer
from hero_supervisor.scope import Scope
from hero_supervisor.settings import Secrets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    store = KeyStore(tmp_path / "keys.json")
    store.load()
    return store


@pytest.fixture
def access(keys: KeyStore) -> Access:
    return Access(Secrets(admin=("root",)), keys)


async def test_it_ends_at_once_when_the_key_is_removed_and_only_what_was_opened_by_that(
    keys: KeyStore, access: Access
) -> None:
    made = {name: await keys.create(name, Scope.READ) for name in ("a", "b")}
    callers = {name: access.caller(Peer(), key.key) for name, key in made.items()}
    ended: list[str] = []
    with (
        access.leases.of(callers["a"], lambda: ended.append("a1")),
        access.leases.of(callers["a"], lambda: ended.append("a2")),
        access.leases.of(callers["b"], lambda: ended.append("b")),
    ):
        await keys.remove("a")
        assert ended == ["a1", "a2"]
    await keys.remove("b")
    assert ended == ["a1", "a2"]
    await keys.aclose()


async def test_it_ends_when_the_key_expires(keys: KeyStore, access: Access) -> None:
    caller = access.caller(Peer(), (await keys.create("a", Scope.READ, expires_in_s=1)).key)
    ended = asyncio.Event()
    with access.leases.of(caller, ended.set):
        async with asyncio.timeout(5):
            await ended.wait()
    await keys.aclose()


@pytest.mark.parametrize("secret", [None, "root"])
async def test_who_has_shown_no_key_is_not_hindered(keys: KeyStore, access: Access, secret: str | None) -> None:
    made = await keys.create("a", Scope.READ)
    ended: list[str] = []
    with access.leases.of(access.caller(Peer(), secret), lambda: ended.append("x")):
        await keys.remove(made.id)
    assert ended == []
