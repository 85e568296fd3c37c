"""``herosup key`` and ``herosup audit``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .conftest import Failure, ago

if TYPE_CHECKING:
    from .conftest import Service

KEY = {"id": "4f0c8d2b91a7", "name": "ci", "scope": "user", "created_at": ago(minutes=3), "expires_at": None}
ENTRY = {
    "cursor": "s=1",
    "at": "2026-07-02T10:00:00Z",
    "who": "key ci",
    "peer": "127.0.0.1",
    "method": "start_runner",
    "objects": {"runner": "a"},
    "result": "ok",
    "duration_s": 0.03,
}


def test_a_new_key_is_all_that_is_printed(service: Service) -> None:
    service.answers["create_key"] = {**KEY, "last_used_at": None, "key": "hero_x_y"}
    made = service.herosup("key", "create", "ci")
    assert (made.exit_code, made.stdout, made.stderr) == (0, "hero_x_y\n", "")
    made = service.herosup("key", "create", "ci", "--scope", "admin", "--expires-in", "60", "--json")
    assert json.loads(made.stdout)["key"] == "hero_x_y"
    assert service.calls == [
        ("create_key", {"name": "ci", "scope": "user"}),
        ("create_key", {"name": "ci", "scope": "admin", "expires_in_s": 60}),
    ]


def test_keys_are_listed(service: Service) -> None:
    service.answers["list_keys"] = [{**KEY, "last_used_at": None}, {**KEY, "name": "web", "last_used_at": ago(hours=1)}]
    lines = service.herosup("key", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "SCOPE", "CREATED", "EXPIRES", "USED"]
    assert lines[1].split() == ["4f0c8d2b91a7", "ci", "user", "3", "m", "ago", "never", "never"]
    assert lines[2].endswith("1 h ago")
    assert json.loads(service.herosup("--json", "key", "list").stdout)[1]["name"] == "web"


def test_a_key_is_removed(service: Service) -> None:
    service.answers["remove_key"] = KEY
    assert (service.herosup("key", "remove", "ci").stdout, service.calls) == ("", [("remove_key", {"key": "ci"})])
    service.answers["remove_key"] = Failure("key-not-found")
    assert service.herosup("key", "remove", "ci").exit_code == 4


def test_a_key_is_verified_without_being_in_the_list_of_processes(service: Service) -> None:
    service.answers["verify_key"] = {"is_valid": True, "name": "ci", "scope": "user", "expires_at": None}
    good = service.herosup("key", "verify", stdin="hero_x_y\n")
    assert (good.exit_code, good.stdout) == (0, "ci: user, until it is removed\n")
    assert service.calls == [("verify_key", {"key": "hero_x_y"})]
    service.answers["verify_key"] = {"is_valid": False, "name": None, "scope": None, "expires_at": None}
    wrong = service.herosup("key", "verify", "hero_x_y")
    assert (wrong.exit_code, wrong.stdout) == (6, "")
    assert "hero_x_y" not in wrong.stderr
    in_json = service.herosup("key", "verify", "hero_x_y", "--json")
    assert (in_json.exit_code, json.loads(in_json.stdout)["is_valid"]) == (6, False)


def test_the_audit_log_is_shown(service: Service) -> None:
    service.answers["get_audit_log"] = [ENTRY, {**ENTRY, "objects": {}, "result": "permission-denied\x1b[2J"}]
    shown = service.herosup("audit", "--method", "start_runner", "--who", "key ci", "-n", "5").stdout.splitlines()
    assert shown[0].split() == ["TIME", "WHO", "FROM", "METHOD", "ON", "RESULT", "TOOK"]
    assert shown[1].split()[2:] == ["key", "ci", "127.0.0.1", "start_runner", "runner", "a", "ok", "30", "ms"]
    assert "\\x1b" in shown[2]
    assert service.calls == [("get_audit_log", {"method": "start_runner", "who": "key ci", "limit": 5})]
    assert json.loads(service.herosup("audit", "--json").stdout)[0] == ENTRY
    service.herosup("audit", "--since", "-5m", "--after-cursor", "s=1")
    assert service.calls[-1][1].keys() == {"since", "limit", "after_cursor"}


@pytest.mark.parametrize("kind", ["permission-denied", "wrong-secret", "too-many-tries"])
def test_who_is_denied_sees_it_by_the_exit_status(service: Service, kind: str) -> None:
    service.answers["create_key"] = Failure(kind)
    assert service.herosup("key", "create", "ci").exit_code == 6
