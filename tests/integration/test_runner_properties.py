"""Every field of a runner, read back from the real systemd: what we ask for is what it says it does."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hero_supervisor.definition.limits import Limits, LogRate
from hero_supervisor.definition.restart import Backoff
from hero_supervisor.errors import CommandNotExecutable
from hero_supervisor.reachability import reach_faults
from hero_supervisor.runner import Runner
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.systemd.unit_starts import UnitStarts
from hero_supervisor.unit import Capabilities, Site, TransientUnit, UnitStatus, render, systemd_run_line, unsayable
from tests.redis_fixtures import eventually
from tests.systemd_fixtures import IS_USER, forget_state, systemctl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Start = Callable[..., Awaitable[UnitStatus]]

CAPABILITIES = Capabilities(is_user=IS_USER)

#: What a field is set to, and what ``systemctl show`` then says: a property and its value.
READ_BACK: list[tuple[str, Any, str, str]] = [
    ("description", 'OCR "é" %n $HOME', "Description", 'OCR "é" %n $HOME'),
    ("command", ["/bin/sleep", "60"], "ExecStart", "argv[]=/bin/sleep 60 ;"),
    ("env", {"A": "b"}, "Environment", "A=b HERO_RUNNER="),
    ("env", {"DB_PASSWORD": "b"}, "Environment", "DB_PASSWORD=b"),
    ("credentials", {"key": "/etc/hostname"}, "LoadCredential", '"key" "/etc/hostname"'),
    ("working_directory", "/usr", "WorkingDirectory", "/usr"),
    ("user", "daemon", "User", "daemon"),
    ("group", "daemon", "Group", "daemon"),
    ("readiness", "exec", "Type", "exec"),
    ("readiness", "notify", "Type", "notify"),
    ("restart", "always", "Restart", "always"),
    ("restart", "on-failure", "Restart", "on-failure"),
    ("restart", "never", "Restart", "no"),
    ("restart_delay_s", 0.25, "RestartUSec", "250ms"),
    ("backoff.fast_retries", 7, "StartLimitBurst", "8"),
    ("backoff.stable_after_s", 90, "StartLimitIntervalUSec", "1min 30s"),
    ("start_timeout_s", 3, "TimeoutStartUSec", "3s"),
    ("stop_timeout_s", 4.5, "TimeoutStopUSec", "4.500000s"),
    ("stop_signal", "SIGTERM", "KillSignal", "15"),
    ("stop_signal", "SIGUSR2", "KillSignal", "12"),
    ("stop_signal", "SIGUSR2", "SuccessExitStatus", "USR2"),
    ("reload_command", ["/bin/echo", "$A", "%n"], "ExecReloadEx", "argv[]=/bin/echo $A %n ; flags=no-env-expand ;"),
    ("watchdog_s", 20, "WatchdogUSec", "20s"),
    ("watchdog_s", 20, "NotifyAccess", "main"),
    ("limits.memory_high_bytes", "64M", "MemoryHigh", str(64 << 20)),
    ("limits.memory_max_bytes", 1 << 30, "MemoryMax", str(1 << 30)),
    ("limits.memory_swap_max_bytes", 0, "MemorySwapMax", "0"),
    ("limits.cpu_quota_percent", 150, "CPUQuotaPerSecUSec", "1.500000s"),
    ("limits.cpu_weight", 50, "CPUWeight", "50"),
    ("limits.io_weight", 60, "IOWeight", "60"),
    ("limits.tasks_max", 77, "TasksMax", "77"),
    ("limits.open_files", 333, "LimitNOFILE", "333"),
    ("limits.open_files", 333, "LimitNOFILESoft", "333"),
    ("oom_policy", "kill", "OOMPolicy", "kill"),
    ("oom_policy", "stop", "OOMPolicy", "stop"),
    ("oom_policy", "continue", "OOMPolicy", "continue"),
    ("log_rate.burst", 5, "LogRateLimitBurst", "5"),
    ("log_rate.interval_s", 2, "LogRateLimitIntervalUSec", "2s"),
    ("extra_properties", {"BindReadOnlyPaths": ["/usr/bin"]}, "BindReadOnlyPaths", "/usr/bin:/usr/bin"),
    ("extra_properties", {"InaccessiblePaths": ["/usr/games"]}, "InaccessiblePaths", "/usr/games"),
    ("extra_properties", {"ReadOnlyPaths": ["/usr"]}, "ReadOnlyPaths", "/usr"),
    ("extra_properties", {"ReadWritePaths": ["/var/log"]}, "ReadWritePaths", "/var/log"),
    ("extra_properties", {"IOSchedulingClass": 3}, "IOSchedulingClass", "3"),
    ("extra_properties", {"IOSchedulingPriority": 7}, "IOSchedulingPriority", "7"),
    ("extra_properties", {"LimitCORE": 0}, "LimitCORE", "0"),
    ("extra_properties", {"LimitMEMLOCK": 65536}, "LimitMEMLOCK", "65536"),
    ("extra_properties", {"MemoryLow": 4096}, "MemoryLow", "4096"),
    ("extra_properties", {"MemoryMin": 4096}, "MemoryMin", "4096"),
    ("extra_properties", {"Nice": 5}, "Nice", "5"),
    ("drain_signal", "SIGUSR2", "RestartPreventExitStatus", "100"),
    ("extra_properties", {"OOMScoreAdjust": 100}, "OOMScoreAdjust", "100"),
    ("extra_properties", {"PrivateNetwork": True}, "PrivateNetwork", "yes"),
    ("extra_properties", {"TimerSlackNSec": 50_000}, "TimerSlackNSec", "50000"),
]

#: What is not read back above: what the supervisor itself acts on, and what has tests of its own below or elsewhere.
OF_THE_SUPERVISOR = {
    *("labels", "autostart", "instances", "queue", "after", "allow_secret_env", "id", "executor", "sandbox"),
    *("protocol", "concurrency", "demand", "idle_ping", "external"),
    *("reload_signal", "max_age_s", "max_age_jitter_s", "restart_calendar", "readiness_probe", "liveness_probe"),
    *(f"backoff.{name}" for name in ("delay_s", "max_delay_s", "factor", "jitter", "give_up_after")),
}

_SAY_READY = """
import os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
    sock.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\\0"))
time.sleep(60)
"""


@pytest.fixture
def site(unit_prefix: str, tmp_path: Path) -> Site:
    environment = tmp_path / "runner.env"
    environment.write_text("HERO_REDIS_URL=unix:///x\n")
    environment.chmod(0o600)
    return Site(unit_prefix, environment)


@pytest.fixture
async def start(unit_prefix: str, bus_address: str, site: Site) -> AsyncIterator[Start]:
    """Start runners: ``start({"id": "a", ...})``, with the arguments of ``render``."""
    async with SystemdManager(user=IS_USER, address=bus_address) as manager:

        async def started(definition: dict[str, Any], **options: Any) -> UnitStatus:
            runner = Runner.from_data({"id": "a", "command": ["/bin/sleep", "60"]} | definition)
            return await manager.start(render(runner, site, queue="q", capabilities=CAPABILITIES, **options))

        yield started
        for status in await manager.adopt(f"{unit_prefix}*.service"):
            await manager.stop(status.name, timeout_s=20)
        systemctl("stop", f"{unit_prefix}.slice")
    forget_state(unit_prefix)


def _show(unit_name: str, name: str) -> str:
    shown = systemctl("show", "--value", f"--property={name}", unit_name).strip()
    return _on_the_bus(unit_name, name) if "[unprintable]" in shown else shown


def _on_the_bus(unit_name: str, name: str) -> str:
    """Return a property that systemctl has no form for, as busctl writes it."""
    escaped = "".join(char if char.isalnum() else f"_{ord(char):02x}" for char in unit_name)
    address = ["org.freedesktop.systemd1", f"/org/freedesktop/systemd1/unit/{escaped}"]
    command = ["busctl", *(["--user"] if IS_USER else []), "get-property", *address, "org.freedesktop.systemd1.Service"]
    return subprocess.run([*command, name], capture_output=True, text=True, check=True, timeout=20).stdout


def _definition(field: str, value: Any) -> dict[str, Any]:
    outer, _, inner = field.partition(".")
    return {outer: {inner: value} if inner else value}


@pytest.mark.parametrize(("field", "value", "name", "shown"), READ_BACK)
async def test_a_field_is_read_back_from_systemd(start: Start, field: str, value: Any, name: str, shown: str) -> None:
    if IS_USER and field in {"user", "group"}:
        pytest.skip("only the system manager can change it")
    definition = _definition(field, value)
    if "DB_PASSWORD" in str(value):
        definition["allow_secret_env"] = ["DB_PASSWORD"]
    if value == "notify":
        definition["command"] = ["/usr/bin/python3", "-c", _SAY_READY]
    if "PrivateNetwork" in str(value) or "Paths" in str(value):
        definition["sandbox"] = "default"
    unit = (await start(definition)).name
    assert shown in _show(unit, name)


def test_every_field_is_read_back_or_is_the_supervisors_own() -> None:
    names = set()
    for struct, prefix in ((Runner, ""), (Backoff, "backoff."), (Limits, "limits."), (LogRate, "log_rate.")):
        names |= {prefix + field.name for field in msgspec.structs.fields(struct)}
    assert names - {"backoff", "limits", "log_rate"} == OF_THE_SUPERVISOR | {field for field, *_ in READ_BACK}


async def test_accounting_is_on_so_that_there_are_statistics(start: Start) -> None:
    unit = (await start({})).name
    for name in ("CPUAccounting", "IOAccounting", "MemoryAccounting", "TasksAccounting"):
        assert _show(unit, name) == "yes"


async def test_further_instances_have_their_number_in_name_environment_and_log(start: Start, site: Site) -> None:
    first, third = await start({}), await start({}, instance=3)
    assert (first.name, third.name) == (f"{site.namespace}-runner-a.service", f"{site.namespace}-runner-a@3.service")
    assert "HERO_INSTANCE=1" in _show(first.name, "Environment")
    assert "HERO_INSTANCE=3" in _show(third.name, "Environment")
    assert "HERO_INSTANCE=3" in _show(third.name, "LogExtraFields")


async def test_in_slow_retry_a_unit_that_has_recovered_is_restarted_by_systemd_itself(start: Start) -> None:
    definition = {"restart_delay_s": 0, "backoff": {"stable_after_s": 1}}
    status = await start(definition, burst=1)
    assert _show(status.name, "StartLimitBurst") == "1"
    await eventually(lambda: _age_s(status.main_pid) > 1.2)
    os.kill(status.main_pid, 9)
    await eventually(lambda: _show(status.name, "MainPID") not in {str(status.main_pid), "0"})
    # This run was shorter than the second in which one start is allowed.
    os.kill(int(_show(status.name, "MainPID")), 9)
    await eventually(lambda: _show(status.name, "ActiveState") == "failed")


def _age_s(pid: int) -> float:
    shown = subprocess.run(["ps", "-o", "etimes=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return float(shown.stdout)


#: Looks around in its sandbox, and writes what it found into its state directory.
_LOOK_AROUND = """
import json, os, pathlib, socket, time

def outcome(action):
    try:
        return action() or "done"
    except OSError as exc:
        return type(exc).__name__

state = pathlib.Path(os.environ["STATE_DIRECTORY"])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
found = {
    "user": os.getuid(),
    "url": os.environ.get("HERO_REDIS_URL"),
    "credential": outcome(lambda: pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"], "key").read_text().strip()),
    "write /usr": outcome(lambda: open("/usr/x", "w")),
    "write /tmp": outcome(lambda: pathlib.Path("/tmp/x").write_text("x") and ""),
    "files in /tmp": os.listdir("/tmp"),
    "sees home": os.path.exists(os.environ.get("IN_HOME", "/home")),
    "disks": [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "loop", "kmsg"))],
    "inet": outcome(lambda: socket.socket(socket.AF_INET).close()),
    "netlink": outcome(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()),
    "no new privileges": status["NoNewPrivs"].strip(),
    "capabilities": int(status["CapBnd"], 16),
    "umask": oct(os.umask(0o77)),
    "foreign processes": sum(name.isdigit() and int(name) != os.getpid() for name in os.listdir("/proc")) > 0,
    "kernel version": outcome(lambda: open("/proc/version").close()),
}
(state / "new").write_text(json.dumps(found))
(state / "new").rename(state / "found")
time.sleep(60)
"""


@pytest.fixture
def in_home() -> Iterator[Path]:
    """A directory in /home, or in this user's home."""
    path = Path("/home/herotest") if os.getuid() == 0 else Path.home() / "herotest"
    path.mkdir()
    yield path
    shutil.rmtree(path)


async def _looked_around(start: Start, sandbox: str, **definition: Any) -> dict[str, Any]:
    own = {"command": ["/usr/bin/python3", "-c", _LOOK_AROUND], "credentials": {"key": "/etc/hostname"}}
    status = await start({**own, "sandbox": sandbox, **definition})
    found = _state_directory(status) / "found"
    await eventually(found.exists, timeout_s=20)
    return dict(msgspec.json.decode(found.read_bytes()))


def _state_directory(status: UnitStatus) -> Path:
    variables = Path(f"/proc/{status.main_pid}/environ").read_bytes().split(b"\0")
    (found,) = [each for each in variables if each.startswith(b"STATE_DIRECTORY=")]
    return Path(found.partition(b"=")[2].decode())


async def test_a_runner_in_the_default_sandbox_can_read_and_work_and_change_only_what_is_its_own(
    start: Start, in_home: Path
) -> None:
    found = await _looked_around(start, "default", env={"IN_HOME": str(in_home)})
    assert found["url"] == "unix:///x"
    assert found["credential"] == Path("/etc/hostname").read_text().strip()
    assert found["write /usr"] != "done"
    assert found["write /tmp"] == "done"
    assert found["files in /tmp"] == ["x"]
    assert found["sees home"]
    assert (found["disks"], found["inet"], found["netlink"]) == ([], "done", "done")
    assert (found["no new privileges"], found["umask"]) == ("1", "0o77")
    if not IS_USER:
        assert 61184 <= found["user"] <= 65519


async def test_a_runner_in_the_strict_sandbox_sees_and_does_even_less(start: Start, in_home: Path) -> None:
    found = await _looked_around(start, "strict", env={"IN_HOME": str(in_home)})
    assert found["credential"] == Path("/etc/hostname").read_text().strip()
    assert found["write /usr"] != "done"
    assert not found["sees home"]
    assert (found["disks"], found["inet"], found["netlink"]) == ([], "done", "OSError")
    assert (found["capabilities"], found["no new privileges"], found["umask"]) == (0, "1", "0o77")
    if not IS_USER:
        assert not found["foreign processes"]
        assert found["kernel version"] == "FileNotFoundError"


@pytest.mark.skipif(IS_USER, reason="a user's manager changes no user")
async def test_a_named_user_takes_the_place_of_the_dynamic_one(start: Start) -> None:
    assert (await _looked_around(start, "default", user="daemon"))["user"] == 1


async def test_a_trusted_runner_is_what_its_manager_is(start: Start) -> None:
    status = await start({"sandbox": "trusted"})
    assert _show(status.name, "DynamicUser") == "no"
    assert _show(status.name, "ProtectSystem") == "no"
    assert Path(f"/proc/{status.main_pid}").stat().st_uid == os.getuid()


async def test_instances_of_a_runner_share_its_user_and_its_state_directory(start: Start) -> None:
    first = await start({"sandbox": "default"})
    second = await start({"sandbox": "default"}, instance=2)
    assert _state_directory(first) == _state_directory(second)
    owners = {Path(f"/proc/{status.main_pid}").stat().st_uid for status in (first, second)}
    assert owners == {_state_directory(first).stat().st_uid}


@pytest.mark.parametrize("sandbox", ["default", "strict"])
async def test_the_bundled_runner_starts_in_a_sandbox_wherever_it_is_installed_or_it_is_told(
    start: Start, site: Site, bus_address: str, sandbox: str
) -> None:
    definition = {"command": [], "executor": "shell", "sandbox": sandbox}
    async with SystemdManager(user=IS_USER, address=bus_address) as manager:
        capabilities = manager.capabilities
    if list(reach_faults(Runner.from_data({"id": "a"} | definition), site, capabilities)):
        with pytest.raises(CommandNotExecutable):
            await start(definition)
        return
    status = await start(definition)
    words = Path(f"/proc/{status.main_pid}/cmdline").read_bytes().split(b"\0")
    assert b"hero_supervisor.worker" in words
    # It tries to reach the Redis of its URL, so its package was found.
    await eventually(lambda: "Redis" in _log(status.name), timeout_s=30)


def _log(unit_name: str) -> str:
    command = ["journalctl", *(["--user"] if IS_USER else []), "--output=cat", f"--unit={unit_name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


HOSTILE = ["$HOME", "${HOME}", "$$", "%n %%", "a b\tc", "'\"`\\", "line\nbreak", "ünï ☃", "", "--", ";", "x:y"]

EVERYTHING: dict[str, Any] = {
    "command": ["/bin/sh", "-c", "exec sleep 60", *HOSTILE],
    "description": 'OCR "é" %n $HOME \'',
    "env": {f"V{number}": value for number, value in enumerate(HOSTILE)},
    "credentials": {"key": "/etc/hostname", "other": "/etc/os-release"},
    "working_directory": "/usr",
    "stop_signal": "SIGUSR2",
    "drain_signal": "SIGUSR1",
    "reload_command": ["/bin/echo", *HOSTILE],
    "watchdog_s": 20.5,
    "limits": {
        "memory_high_bytes": "64M",
        "memory_max_bytes": "1G",
        "memory_swap_max_bytes": 0,
        "tasks_max": 77,
        "cpu_quota_percent": 150,
        "cpu_weight": 50,
        "io_weight": 60,
        "open_files": 333,
    },
    "extra_properties": {
        "Nice": 5,
        "LimitCORE": 0,
        "OOMScoreAdjust": 100,
        "PrivateNetwork": True,
        "TimerSlackNSec": 50_000,
        "BindReadOnlyPaths": ["/usr/bin"],
        "ReadWritePaths": ["/var/log", "/var/mail"],
        "MemoryLow": 4096,
    },
}


@pytest.mark.parametrize("sandbox", ["trusted", "default", "strict"])
async def test_the_systemd_run_line_makes_the_same_unit(start: Start, site: Site, sandbox: str) -> None:
    definition = EVERYTHING | {"sandbox": sandbox}
    if sandbox == "trusted" and IS_USER:
        definition["extra_properties"] = {"Nice": 5}
    unit = render(Runner.from_data({"id": "a", **definition}), site, queue="q", capabilities=CAPABILITIES)
    ours = _snapshot(await start(definition), unit)
    other = replace(unit, name=site.unit_name("b"))
    _run_shell(systemd_run_line(other, is_user=IS_USER))
    theirs = _snapshot(UnitStatus(other.name, main_pid=int(_show(other.name, "MainPID"))), unit)
    systemctl("stop", other.name)
    # Here `$` is left alone by a flag, there it is doubled.
    assert theirs == ours | {"reload": str(ours["reload"]).replace("$", "$$")}
    assert unsayable(unit) == ("AddRef",)


@pytest.mark.parametrize("sandbox", ["trusted", "strict"])
async def test_a_runner_is_the_same_after_systemd_has_reloaded_its_unit(start: Start, site: Site, sandbox: str) -> None:
    definition = EVERYTHING | {"sandbox": sandbox}
    if sandbox == "trusted" and IS_USER:
        definition["extra_properties"] = {"Nice": 5}
    unit = render(Runner.from_data({"id": "a", **definition}), site, queue="q", capabilities=CAPABILITIES)
    status = await start(definition | {"restart_delay_s": 0})
    before = _snapshot(status, unit)
    systemctl("daemon-reload")
    assert _snapshot(status, unit) == before
    os.kill(status.main_pid, 9)
    await eventually(lambda: _show(unit.name, "MainPID") not in {str(status.main_pid), "0"})
    again = UnitStatus(unit.name, main_pid=int(_show(unit.name, "MainPID")))
    await eventually(lambda: _snapshot(again, unit) == before)


@pytest.mark.parametrize("name", ["a b", "a:b", 'a"b', "a'b", "a\\b", "a%n", "a$HOME", "a;b", "ü"])
async def test_paths_are_the_same_after_systemd_has_reloaded_their_units(
    start: Start, in_home: Path, name: str
) -> None:
    path = in_home / name
    path.mkdir()
    properties = ("BindReadOnlyPaths", "InaccessiblePaths", "ReadOnlyPaths", "ReadWritePaths")
    units = {}
    for number, each in enumerate(properties):
        # Quotes are refused in that one.
        extra = {each: ["/usr/games", *([] if each == "BindReadOnlyPaths" and name in {'a"b', "a'b"} else [str(path)])]}
        units[each] = (await start({"id": f"p{number}", "extra_properties": extra, "sandbox": "default"})).name
    before = {each: _on_the_bus(unit, each) for each, unit in units.items()}
    systemctl("daemon-reload")
    assert {each: _on_the_bus(unit, each) for each, unit in units.items()} == before


async def test_paths_survive_a_reload_though_whoever_started_their_unit_died_before_it_corrected_the_file(
    start: Start, site: Site, bus_address: str, in_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object) -> None: ...

    monkeypatch.setattr(UnitStarts, "_correct", die)
    path = in_home / "a b"
    path.mkdir()
    properties = ("BindReadOnlyPaths", "InaccessiblePaths", "ReadOnlyPaths", "ReadWritePaths")
    extra = {each: ["/usr/games", str(path)] for each in properties}
    definition = {"id": "a", "command": ["/bin/sleep", "60"], "extra_properties": extra, "sandbox": "default"}
    status = await start(definition)
    before = {each: _on_the_bus(status.name, each) for each in properties}
    async with SystemdManager(user=IS_USER, address=bus_address) as adopting:
        await adopting.adopt(status.name)
        await adopting.mend(render(Runner.from_data(definition), site, queue="q", capabilities=CAPABILITIES))
    systemctl("daemon-reload")
    assert {each: _on_the_bus(status.name, each) for each in properties} == before


def _run_shell(line: str) -> None:
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def _snapshot(status: UnitStatus, unit: TransientUnit) -> dict[str, object]:
    """Return what a unit's properties are to systemd, and the arguments and environment of its process."""
    names = {prop.name for prop in unit.properties} - {"ExecStartEx", "ExecReloadEx", "AddRef"}
    shown: dict[str, object] = {name: _show(status.name, name) for name in sorted(names)}
    process = Path(f"/proc/{status.main_pid}")
    variables = {each for each in (process / "environ").read_bytes().split(b"\0") if each.startswith((b"V", b"HERO"))}
    reload = _show(status.name, "ExecReload").partition("argv[]=")[2].partition(" ; ignore")[0]
    return shown | {"environ": variables, "reload": reload}
