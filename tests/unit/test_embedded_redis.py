"""The private Redis as a unit: reachable by every user, of use to none without the password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hero_supervisor import embedded_redis
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.settings import Manager

CONFIG, DATA = Path("/var/lib/x/redis.conf"), Path("/var/lib/x/redis")


def _properties(manager: Manager) -> dict[str, Any]:
    unit = embedded_redis.render("/usr/bin/redis-server", "hero", manager, CONFIG, DATA)
    return {prop.name: prop.value for prop in unit.properties}


def test_the_url_has_the_password_and_is_one_that_we_read() -> None:
    url = embedded_redis.url("hero", Manager.SYSTEM, "s3cret")
    assert url == "unix://:s3cret@/run/hero-redis/redis.sock"
    assert RedisServer.at(url).address == "/run/hero-redis/redis.sock"


@pytest.mark.parametrize("manager", Manager)
def test_the_password_is_in_a_file_and_not_among_the_arguments(manager: Manager) -> None:
    ((program, words, _),) = _properties(manager)["ExecStartEx"]
    assert words[:2] == [program, str(CONFIG)]
    assert "--requirepass" not in words


def test_systemd_never_gives_it_up() -> None:
    found = _properties(Manager.SYSTEM)
    assert (found["Restart"], found["StartLimitIntervalUSec"]) == ("always", 0)


def test_every_user_may_connect_but_not_look_around() -> None:
    ((_, words, _),) = _properties(Manager.SYSTEM)["ExecStartEx"]
    assert words[words.index("--unixsocketperm") + 1] == "777"
    assert _properties(Manager.SYSTEM)["RuntimeDirectoryMode"] == 0o711


def test_it_may_write_to_its_data_only_and_has_none_of_roots_rights() -> None:
    found = _properties(Manager.SYSTEM)
    assert (found["ProtectSystem"], found["ReadWritePaths"]) == ("strict", [str(DATA)])
    assert found["CapabilityBoundingSet"] == 0
    assert found["RestrictAddressFamilies"] == [True, ["AF_UNIX"]]


def test_for_a_users_manager_what_it_cannot_do_is_left_out() -> None:
    assert not {"CapabilityBoundingSet", "PrivateDevices", "ProtectSystem"} & _properties(Manager.USER).keys()
    assert _properties(Manager.USER)["NoNewPrivileges"]
