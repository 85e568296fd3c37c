"""Scopes: which connection and which secret open which method."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.access_records import KeyCheck
from hero_supervisor.api_keys import KeyStore
from hero_supervisor.errors import PermissionDenied, TooManyTries, WrongSecret
from hero_supervisor.rpc.access import MAX_FAILURES, Access, authorise, scope_with
from hero_supervisor.rpc.caller import Caller, Peer
from hero_supervisor.rpc.throttle import MAX_SOURCES, Throttle
from hero_supervisor.runner import Runner
from hero_supervisor.scope import Scope, highest
from hero_supervisor.settings import Secrets

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = Secrets(admin=("root",), user=("joe", "jane"), register=("reg",))
ORDER = [Scope.NONE, Scope.READ, Scope.USER, Scope.REGISTER, Scope.ADMIN]
OTHER_UID, GROUP = 4_711, 815
SOMEBODY = Peer(uid=OTHER_UID, gid=OTHER_UID, pid=42)
FAR = Peer(address="203.0.113.9")


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys.json")


@pytest.fixture
def access(keys: KeyStore) -> Access:
    return Access(SECRETS, keys, admin_gid=GROUP)


# -- scopes ----------------------------------------------------------------------------------------------------------


def test_each_scope_includes_those_before_it() -> None:
    for rank, scope in enumerate(ORDER):
        assert [scope.includes(other) for other in ORDER] == [number <= rank for number in range(len(ORDER))]
    assert highest(Scope.READ, Scope.ADMIN, Scope.USER) is Scope.ADMIN
    assert Scope("registrar") is Scope.REGISTER


@pytest.mark.parametrize("has", ORDER)
def test_a_caller_may_call_what_its_scope_includes(has: Scope) -> None:
    caller = Caller("anonymous", has, FAR)
    for needed in ORDER:
        if has.includes(needed):
            authorise(caller, needed, "method")
            continue
        with pytest.raises(PermissionDenied, match="cannot call method") as refused:
            authorise(caller, needed, "method")
        assert refused.value.facts == {"scope": needed, "has": has}
        assert f"--scope {needed}" in (refused.value.hint or "")


# -- who callers are -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "who", "scope"),
    [
        ("root", "admin_secrets", Scope.ADMIN),
        ("reg", "register_secrets", Scope.REGISTER),
        ("jane", "user_secrets", Scope.USER),
        (None, "anonymous", Scope.READ),
    ],
)
def test_a_secret_over_tcp_gives_the_scope_of_its_list(
    access: Access, secret: str | None, who: str, scope: Scope
) -> None:
    caller = access.caller(FAR, secret)
    assert (caller.who, caller.scope) == (who, scope)


@pytest.mark.parametrize("secret", ["wrong", "", "ü", "\ud800", "root\0", "hero_000000000000_" + "a" * 43])
@pytest.mark.parametrize("peer", [FAR, Peer(), Peer(uid=0, gid=0, pid=1)])
def test_a_wrong_secret_is_refused_whatever_the_connection_allows(access: Access, peer: Peer, secret: str) -> None:
    with pytest.raises(WrongSecret, match="cannot accept this secret"):
        access.caller(peer, secret)


def test_where_there_is_nothing_to_compare_with_a_secret_is_of_no_account(keys: KeyStore) -> None:
    for anonymous in (Scope.READ, Scope.ADMIN):
        caller = Access(Secrets(), keys, anonymous=anonymous).caller(FAR, "admin123")
        assert (caller.who, caller.scope) == ("anonymous", anonymous)


@pytest.mark.parametrize(
    ("peer", "who", "scope"),
    [
        (Peer(uid=0, gid=0, pid=1), "uid 0", Scope.ADMIN),
        (Peer(uid=os.geteuid(), gid=77, pid=1), f"uid {os.geteuid()}", Scope.ADMIN),
        (Peer(uid=OTHER_UID, gid=GROUP, pid=1), f"uid {OTHER_UID}", Scope.ADMIN),
        (Peer(uid=OTHER_UID, gid=1, pid=1, groups=(5, GROUP)), f"uid {OTHER_UID}", Scope.ADMIN),
        (SOMEBODY, f"uid {OTHER_UID}", Scope.READ),
        (Peer(uid=OTHER_UID, gid=0, pid=1), f"uid {OTHER_UID}", Scope.READ),
        (Peer(), "anonymous", Scope.READ),
    ],
)
def test_who_connects_by_the_unix_socket_is_known(access: Access, peer: Peer, who: str, scope: Scope) -> None:
    caller = access.caller(peer)
    assert (caller.who, caller.scope) == (who, scope)


def test_without_the_group_nobody_is_a_member_of_it(keys: KeyStore) -> None:
    assert Access(SECRETS, keys).caller(SOMEBODY).scope is Scope.READ


@pytest.mark.parametrize("anonymous", ORDER)
def test_what_callers_may_without_a_secret_is_a_setting(keys: KeyStore, anonymous: Scope) -> None:
    access = Access(SECRETS, keys, anonymous=anonymous)
    assert access.caller(FAR).scope is anonymous
    assert access.caller(SOMEBODY).scope is anonymous
    # A secret never takes anything away.
    assert access.caller(FAR, "joe").scope is highest(anonymous, Scope.USER)


async def test_a_key_opens_its_scope_until_it_is_removed(access: Access, keys: KeyStore) -> None:
    made = await keys.create("ci", Scope.REGISTER)
    caller = access.caller(FAR, made.key)
    assert (caller.who, caller.scope, caller.has_shown_secret) == ("key ci", Scope.REGISTER, True)
    await keys.remove("ci")
    with pytest.raises(WrongSecret):
        access.caller(FAR, made.key)
    await keys.aclose()


def test_the_secret_of_the_header_is_stronger_than_that_in_the_params(access: Access) -> None:
    assert access.with_secret(access.caller(FAR), "reg").scope is Scope.REGISTER
    assert access.with_secret(access.caller(FAR, "joe"), "root").scope is Scope.USER
    assert access.with_secret(access.caller(FAR), None).scope is Scope.READ


# -- failures --------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def failures_of(access: Access, peer: Peer, number: int) -> list[type[WrongSecret]]:
    found = []
    for _ in range(number):
        with pytest.raises(WrongSecret) as failed:
            access.caller(peer, "wrong")
        found.append(failed.type)
    return found


def test_wrong_secrets_are_refused_in_other_words_after_ten_within_a_minute(
    keys: KeyStore, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    access = Access(SECRETS, keys, failures=Throttle(clock))
    assert failures_of(access, FAR, MAX_FAILURES + 2) == [WrongSecret] * MAX_FAILURES + [TooManyTries] * 2
    # Only wrong ones, and only from there.
    assert access.caller(FAR, "root").scope is Scope.ADMIN
    assert access.caller(FAR).scope is Scope.READ
    assert failures_of(access, SOMEBODY, 1) == [WrongSecret]
    clock.now = 45.5
    with pytest.raises(TooManyTries) as failed:
        access.caller(FAR, "wrong")
    assert failed.value.facts == {"retry_after_s": 15}
    clock.now = 60
    assert failures_of(access, FAR, 1) == [WrongSecret]
    # One line for each burst: two of FAR's, one of SOMEBODY's.
    assert len(caplog.records) == 3
    assert "wrong " + "secret came from 203.0.113.9" in caplog.text


def test_asking_whether_a_key_is_good_is_counted_as_well(access: Access) -> None:
    wrong = KeyCheck(is_valid=False)
    for _ in range(MAX_FAILURES):
        access.look_at(wrong, FAR)
    with pytest.raises(TooManyTries):
        access.look_at(wrong, FAR)
    access.look_at(KeyCheck(is_valid=True), FAR)
    access.look_at(None, FAR)


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        (FAR, "203.0.113.9"),
        (Peer(address="2001:db8:1:2:3::4"), "2001:db8:1:2::/64"),
        (SOMEBODY, f"uid {OTHER_UID}"),
        (Peer(), "unknown"),
    ],
)
def test_failures_are_counted_by_address_network_or_user(peer: Peer, source: str) -> None:
    assert peer.source == source


def test_the_table_of_failures_is_of_limited_size() -> None:
    throttle = Throttle(Clock())
    for number in range(MAX_SOURCES + 10):
        throttle.count(str(number))
    assert len(throttle._counts) == MAX_SOURCES
    assert throttle.count(str(MAX_SOURCES)).number == 2
    assert throttle.count("0").number == 1


# -- what a call asks for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "needed"),
    [({}, Scope.REGISTER), ({"extra_properties": {"Nice": 1}}, Scope.ADMIN), ({"autostart": True}, Scope.ADMIN)],
)
def test_only_an_administrator_adds_runners_that_start_or_set_properties(fields: dict[str, Any], needed: Scope) -> None:
    arguments = [Runner(id="a", command=("/bin/true",), **fields), 5]
    assert scope_with(Scope.REGISTER, arguments) is needed
