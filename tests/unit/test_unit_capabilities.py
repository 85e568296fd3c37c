"""What a manager cannot do of a runner is told by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.errors import InvalidRunner
from hero_supervisor.runner import Runner
from hero_supervisor.systemd.capabilities import read_capabilities
from hero_supervisor.unit import Capabilities, Site, faults_on

SYSTEM = Capabilities()
USER = Capabilities(is_user=True)
BARE = Capabilities(controllers=frozenset())
CLOSED = Capabilities(is_user=True, has_user_namespaces=False)


def _paths(capabilities: Capabilities, default: Sandbox = Sandbox.DEFAULT, **fields: Any) -> list[str]:
    runner = Runner.from_data({"id": "a", "command": ["/bin/true"], **fields})
    site = Site("hero", Path("/x"), default)
    return [fault.path for fault in faults_on(runner, site, capabilities)]


ALL_LIMITS = {
    "memory_high_bytes": "1M",
    "memory_max_bytes": "1M",
    "memory_swap_max_bytes": 0,
    "cpu_quota_percent": 1,
    "cpu_weight": 1,
    "io_weight": 1,
    "tasks_max": 1,
}


@pytest.mark.parametrize(
    ("capabilities", "fields", "paths"),
    [
        (SYSTEM, {}, []),
        (SYSTEM, {"user": "joe", "group": "joe", "limits": ALL_LIMITS, "sandbox": "strict"}, []),
        (SYSTEM, {"extra_properties": {"IOSchedulingClass": 3, "ReadWritePaths": ["/x"]}, "sandbox": "trusted"}, []),
        (SYSTEM, {"extra_properties": {"MemoryZSwapMax": 0}}, ["extra_properties.MemoryZSwapMax"]),
        (Capabilities(version=253), {"extra_properties": {"MemoryZSwapMax": 0}}, []),
        (BARE, {}, []),
        (BARE, {"limits": ALL_LIMITS}, [f"limits.{name}" for name in ALL_LIMITS]),
        (BARE, {"limits": {"open_files": 64}}, []),
        (
            Capabilities(controllers=frozenset({"pids"})),
            {"limits": {"tasks_max": 5, "cpu_weight": 5}},
            ["limits.cpu_weight"],
        ),
        (USER, {}, []),
        (USER, {"sandbox": "strict"}, []),
        (USER, {"user": "joe", "group": "joe"}, ["user", "group"]),
        (USER, {"extra_properties": {"IOSchedulingClass": 1}}, ["extra_properties.IOSchedulingClass"]),
        (USER, {"extra_properties": {"ReadOnlyPaths": ["/x"]}}, []),
        (
            USER,
            {"extra_properties": {"ReadOnlyPaths": ["/x"]}, "sandbox": "trusted"},
            ["extra_properties.ReadOnlyPaths"],
        ),
        (CLOSED, {}, ["sandbox"]),
        (CLOSED, {"sandbox": "trusted"}, []),
        (SYSTEM, {"command": ["/tmp/x"]}, ["command[0]"]),
        (SYSTEM, {"command": ["/tmpx/x"]}, []),
        (SYSTEM, {"command": ["/tmp/x"], "sandbox": "trusted"}, []),
        (SYSTEM, {"command": ["/home/joe/x"]}, []),
        (SYSTEM, {"command": ["/home/joe/x"], "sandbox": "strict"}, ["command[0]"]),
        (SYSTEM, {"command": ["/tmp/x"], "extra_properties": {"BindReadOnlyPaths": ["/tmp"]}}, []),
        (SYSTEM, {"working_directory": "/var/tmp/x"}, ["working_directory"]),
    ],
)
def test_a_field_that_a_manager_cannot_carry_out_is_told(
    capabilities: Capabilities, fields: dict[str, Any], paths: list[str]
) -> None:
    assert _paths(capabilities, **fields) == paths


def test_the_sandbox_that_counts_is_the_sites_when_the_runner_names_none() -> None:
    assert _paths(SYSTEM, Sandbox.STRICT, command=["/home/joe/x"]) == ["command[0]"]
    assert _paths(SYSTEM, Sandbox.TRUSTED, command=["/tmp/x"]) == []


def test_controllers_are_read_from_the_managers_own_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 7)
    users = tmp_path / "user.slice/user-7.slice/user@7.service"
    users.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    (users / "cgroup.controllers").write_text("memory pids\n")
    system = read_capabilities(252, is_user=False, cgroups=tmp_path, sysctls=tmp_path)
    user = read_capabilities(254, is_user=True, cgroups=tmp_path, sysctls=tmp_path)
    assert (system.version, system.controllers) == (252, frozenset({"cpu", "io", "memory", "pids"}))
    assert (user.version, user.controllers) == (254, frozenset({"memory", "pids"}))


def test_where_no_controllers_are_listed_nothing_is_known_against_them(tmp_path: Path) -> None:
    assert read_capabilities(252, is_user=False, cgroups=tmp_path, sysctls=tmp_path) == Capabilities()


@pytest.mark.parametrize(
    ("setting", "value", "has_namespaces"),
    [
        ("user/max_user_namespaces", "0", False),
        ("user/max_user_namespaces", "95000", True),
        ("kernel/unprivileged_userns_clone", "0", False),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", False),
        ("kernel/apparmor_restrict_unprivileged_userns", "0", True),
    ],
)
def test_the_kernel_may_forbid_user_namespaces(
    tmp_path: Path, setting: str, value: str, *, has_namespaces: bool
) -> None:
    (tmp_path / setting).parent.mkdir()
    (tmp_path / setting).write_text(f"{value}\n")
    found = read_capabilities(252, is_user=True, cgroups=tmp_path, sysctls=tmp_path)
    assert found.has_user_namespaces is has_namespaces


def test_a_refusal_names_the_field_and_the_way_out() -> None:
    runner = Runner(id="a", command=("/tmp/x",))
    with pytest.raises(InvalidRunner, match=r"command.*hidden by the sandbox 'default'.*'trusted'"):
        raise InvalidRunner(list(faults_on(runner, Site("hero", Path("/x")), SYSTEM)))
