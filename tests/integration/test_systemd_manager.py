"""Units of a real systemd: what starting, stopping and looking at them does, with both D-Bus libraries."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.runner import Runner
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.unit import Property, Site, TransientUnit, UnitStatus, render
from tests.redis_fixtures import eventually
from tests.systemd_fixtures import IS_USER, loaded_units, stop_all, systemctl

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hero_supervisor.systemd.library import Library

    MakeUnit = Callable[..., TransientUnit]

SLEEP = ("/bin/sleep", "1000")
#: Writes its arguments after the first two, or its environment, to a file, byte for byte.
DUMP = "import sys; open(sys.argv[1], 'wb').write(open('/proc/self/' + sys.argv[2], 'rb').read())"
RESTART = (Property("Restart", "s", "always"), Property("RestartUSec", "t", 50_000))
AT_ONCE = (Property("Restart", "s", "always"), Property("RestartUSec", "t", 0))

HOSTILE = [
    "$HOME",
    "${HOME}",
    "$$",
    "%n %% %i",
    "a b\tc",
    "'\"`\\",
    "line\nbreak\r",
    "ünï ☃ \U0001f600",
    "",
    "--",
    ";",
    "\x01\x1b[0m\x7f",
    "@-:!+",
    "x" * 100_000,
]


async def changed(manager: SystemdManager, name: str, **wanted: object) -> UnitStatus:
    """Wait until a unit's status has these values. The manager tells of unit jobs only, so this has to look."""
    async with asyncio.timeout(10):
        while True:
            status = await manager.status(name)
            if all(getattr(status, field) == value for field, value in wanted.items()):
                return status
            await asyncio.sleep(0.02)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def proc(pid: int, name: str) -> Path:
    return Path("/proc", str(pid), name)


def arguments_of(pid: int) -> list[bytes]:
    return proc(pid, "cmdline").read_bytes().split(b"\0")[:-1]


async def run_systemctl(verb: str) -> None:
    process = await asyncio.create_subprocess_exec("systemctl", *(["--user"] if IS_USER else []), verb)
    assert await process.wait() == 0


# -- starting ------------------------------------------------------------------------------------------------------


async def test_a_started_unit_runs_and_its_status_is_true(manager: SystemdManager, make_unit: MakeUnit) -> None:
    before_usec = time.time_ns() // 1000
    unit = make_unit(*SLEEP)
    status = await manager.start(unit)
    assert (status.name, status.active_state, status.sub_state) == (unit.name, "active", "running")
    assert arguments_of(status.main_pid) == [b"/bin/sleep", b"1000"]
    assert len(status.invocation_id) == 32
    assert before_usec <= status.state_change_usec <= time.time_ns() // 1000
    assert (status.restarts, status.result, status.exec_main_code, status.exec_main_status) == (0, "success", 0, 0)
    assert await manager.status(unit.name) == status


async def test_a_runner_as_the_product_renders_it_starts(
    manager: SystemdManager, unit_prefix: str, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("HERO_REDIS_URL=redis://x\n")
    site = Site(unit_prefix, tmp_path / "env")
    status = await manager.start(render(Runner(id="a", command=SLEEP), site, queue="q"))
    environment = proc(status.main_pid, "environ").read_bytes().split(b"\0")
    assert {b"HERO_RUNNER=a", b"HERO_REDIS_URL=redis://x"} <= set(environment)
    await manager.stop(status.name, timeout_s=10)
    for slice_name in loaded_units(unit_prefix):
        systemctl("stop", slice_name)


@pytest.mark.parametrize("more", [(), RESTART, AT_ONCE], ids=["no-restart", "restart", "restart-at-once"])
@pytest.mark.parametrize(
    ("program", "reason"),
    [("/no/such/program", "does not exist"), ("/etc/passwd", "is not executable"), ("no-such-program", "search path")],
)
async def test_a_command_that_cannot_be_executed_is_named_and_not_tried_again(
    program: str, reason: str, more: tuple[Property, ...], manager: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = make_unit(program, more=more)
    with pytest.raises(errors.CommandNotExecutable, match=f"{program} .*{reason}"):
        await manager.start(unit)
    status = await manager.status(unit.name)
    assert status.active_state in {"failed", "inactive"}
    assert (status.exec_main_code, status.exec_main_status) == (1, 203)
    await asyncio.sleep(0.2)  # four restart delays: nothing tells that no restart will come
    assert await manager.status(unit.name) == status


@pytest.mark.parametrize(
    ("prop", "words"),
    [
        (Property("WorkingDirectory", "s", "/no/such/directory"), "200/CHDIR"),
        (Property("EnvironmentFiles", "a(sb)", [["/no/such/file", False]]), "a file it needs"),
        (Property("RootDirectory", "s", "/no/such/root"), "226/NAMESPACE|210/CHROOT"),
        pytest.param(
            Property("User", "s", "no-such-user"), "217/USER", marks=pytest.mark.skipif(IS_USER, reason="needs root")
        ),
        pytest.param(
            Property("Group", "s", "no-such-group"), "216/GROUP", marks=pytest.mark.skipif(IS_USER, reason="needs root")
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Property) else "",
)
async def test_what_systemd_cannot_set_up_is_named(
    prop: Property, words: str, manager: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = make_unit(*SLEEP, more=(prop, *RESTART))
    with pytest.raises(errors.UnitFailed, match=words) as caught:
        await manager.start(unit)
    assert type(caught.value) is errors.UnitFailed


@pytest.mark.parametrize(
    ("prop", "words"),
    [
        (Property("Nonsense", "s", "x"), "Nonsense"),
        (Property("Restart", "s", "sometimes"), "[Rr]estart"),
        (Property("RestartUSec", "s", "x"), "."),
    ],
)
async def test_a_property_that_systemd_does_not_know_is_named(
    prop: Property, words: str, manager: SystemdManager, make_unit: MakeUnit
) -> None:
    with pytest.raises(errors.SystemdRefused, match=f"cannot start unit .*{words}"):
        await manager.start(make_unit(*SLEEP, more=(prop,)))


async def test_a_name_that_is_none_is_refused(manager: SystemdManager) -> None:
    unit = TransientUnit("a/b.service", (), 5, 5)
    with pytest.raises(errors.SystemdRefused):
        await manager.start(unit)


async def test_arguments_arrive_byte_for_byte(manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DUMP, str(tmp_path / "out"), "cmdline", *HOSTILE]
    await manager.start(make_unit(*command, kind="oneshot"))
    assert (tmp_path / "out").read_bytes().split(b"\0")[:-1] == [word.encode() for word in command]


async def test_the_environment_arrives_byte_for_byte(
    manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path
) -> None:
    variables = [f"HOSTILE_{index}={value}" for index, value in enumerate(HOSTILE)]
    command = [sys.executable, "-c", DUMP, str(tmp_path / "out"), "environ"]
    await manager.start(make_unit(*command, kind="oneshot", more=(Property("Environment", "as", variables),)))
    found = (tmp_path / "out").read_bytes().split(b"\0")
    assert [entry for entry in found if entry.startswith(b"HOSTILE_")] == [entry.encode() for entry in variables]


async def test_a_program_that_ends_before_it_is_ready_failed(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit("/bin/sh", "-c", "exit 7", kind="notify")
    with pytest.raises(errors.UnitFailed) as caught:
        await manager.start(unit)
    assert caught.value.facts["result"] in {"exit-code", "protocol"}
    assert (await manager.status(unit.name)).exec_main_status == 7


async def test_a_program_that_is_never_ready_runs_out_of_time(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP, kind="notify", more=(Property("TimeoutStartUSec", "t", 200_000),))
    with pytest.raises(errors.UnitFailed, match="not ready within its start timeout"):
        await manager.start(unit)


async def test_a_stop_cancels_a_start(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP, kind="notify")
    start = asyncio.create_task(manager.start(unit))
    await changed(manager, unit.name, active_state="activating")
    await manager.stop(unit.name, timeout_s=10)
    with pytest.raises(errors.Conflict, match="a later stop canceled it"):
        await start


@pytest.mark.parametrize("verb", ["daemon-reload", "daemon-reexec"])
@pytest.mark.parametrize("words", [["plain 'words'", '%n \\ "x"\n\t', "", "ü"], HOSTILE], ids=["plain", "hostile"])
async def test_systemd_restarts_a_unit_with_the_same_command_after_it_has_reloaded(
    words: list[str], verb: str, manager: SystemdManager, make_unit: MakeUnit
) -> None:
    command = [sys.executable, "-c", "import time\ntime.sleep(1000)", *words]
    unit = make_unit(*command, more=RESTART)
    first = await manager.start(unit)
    await run_systemctl(verb)
    assert systemctl("show", "--property=LoadState,NeedDaemonReload", unit.name).split() == [
        "LoadState=loaded",
        "NeedDaemonReload=no",
    ]
    kill(first.main_pid)
    second = await changed(manager, unit.name, restarts=1, sub_state="running")
    assert arguments_of(second.main_pid) == [word.encode() for word in command]


async def test_a_start_that_loses_its_command_to_a_reload_is_made_again(
    manager: SystemdManager, make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = make_unit("/bin/sleep", "2", name="slow", kind="oneshot")
    unit = make_unit("/bin/sh", "-c", "sleep 1000; true", more=(Property("After", "as", [slow.name]),))
    correct, reloads = manager._starts._correct, iter(["daemon-reload"])

    async def reload_first(*unit: Any) -> None:
        for verb in reloads:
            await run_systemctl(verb)
        await correct(*unit)

    first = asyncio.create_task(manager.start(slow))
    await changed(manager, slow.name, active_state="activating")
    monkeypatch.setattr(manager._starts, "_correct", reload_first)
    status = await manager.start(unit)
    await first
    assert status.active_state == "active"
    assert arguments_of(status.main_pid) == [b"/bin/sh", b"-c", b"sleep 1000; true"]


async def test_a_command_survives_though_whoever_started_its_unit_died_before_it_corrected_the_file(
    bus_address: str, library: Library, make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object) -> None: ...

    unit = make_unit(sys.executable, "-c", "import time\ntime.sleep(1000)", *HOSTILE, more=RESTART)
    async with SystemdManager(user=IS_USER, address=bus_address, library=library) as first:
        monkeypatch.setattr(first._starts, "_correct", die)
        status = await first.start(unit)
    async with SystemdManager(user=IS_USER, address=bus_address, library=library) as second:
        await second.adopt(unit.name)
        await second.mend(unit)
        await run_systemctl("daemon-reload")
        before = arguments_of(status.main_pid)
        kill(status.main_pid)
        again = await changed(second, unit.name, restarts=1, sub_state="running")
        assert arguments_of(again.main_pid) == before
        await second.stop(unit.name, timeout_s=10)


@pytest.mark.parametrize("damage", ["[Service]\nExecStart=\n", None], ids=["bad", "gone"])
async def test_a_unit_whose_file_was_damaged_is_adopted_and_stopped_like_any_other(
    damage: str | None, manager: SystemdManager, make_unit: MakeUnit, bus_address: str, library: Library
) -> None:
    unit = make_unit(*SLEEP)
    status = await manager.start(unit)
    path = Path(systemctl("show", "--value", "--property=FragmentPath", unit.name).strip())
    path.unlink()
    if damage is not None:
        path.write_text(damage)
    await run_systemctl("daemon-reload")
    async with SystemdManager(user=IS_USER, address=bus_address, library=library) as second:
        assert await second.adopt(unit.name) == [status]
        ended = await second.stop(unit.name, timeout_s=5)
    assert not ended.is_running
    assert not Path(f"/proc/{status.main_pid}").exists()


async def test_a_program_that_fails_at_once_was_started_all_the_same(
    manager: SystemdManager, make_unit: MakeUnit
) -> None:
    for _ in range(20):  # whether systemd calls the unit job done is a race
        status = await manager.start(make_unit("/bin/false"))
        assert status.active_state in {"active", "deactivating", "failed"}
        await changed(manager, status.name, active_state="failed", exec_main_status=1)


# -- names ---------------------------------------------------------------------------------------------------------


async def test_a_unit_that_runs_is_not_started_again(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP)
    status = await manager.start(unit)
    with pytest.raises(errors.UnitExists, match="it is active already"):
        await manager.start(unit)
    assert await manager.status(unit.name) == status


@pytest.mark.parametrize("exit_status", [0, 3])
async def test_a_unit_that_ended_keeps_its_status_until_it_is_stopped(
    exit_status: int, manager: SystemdManager, make_unit: MakeUnit, unit_prefix: str
) -> None:
    unit = make_unit("/bin/sh", "-c", f"sleep 0.1; exit {exit_status}")
    invocation_id = (await manager.start(unit)).invocation_id
    state, result = ("failed", "exit-code") if exit_status else ("inactive", "success")
    for status in (
        await changed(manager, unit.name, active_state=state, main_pid=0),
        await manager.stop(unit.name, timeout_s=10),
    ):
        assert (status.result, status.exec_main_code, status.exec_main_status) == (result, 1, exit_status)
        assert (status.active_state, status.invocation_id) == (state, invocation_id)
    assert await manager.status(unit.name) == UnitStatus(unit.name)
    assert loaded_units(unit_prefix) == []


@pytest.mark.parametrize("exit_status", [0, 3])
async def test_the_name_of_a_unit_that_ended_can_be_used_again(
    exit_status: int, manager: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = make_unit("/bin/sh", "-c", f"sleep 0.1; exit {exit_status}")
    runs = set()
    for _ in range(7):  # more often than the start limit allows by default
        runs.add((await manager.start(unit)).invocation_id)
        await changed(manager, unit.name, main_pid=0)
    assert len(runs) == 7


async def test_a_failed_unit_of_an_earlier_process_does_not_block_its_name(
    make_unit: MakeUnit, bus_address: str, library: Library
) -> None:
    unit = make_unit("/bin/sh", "-c", "sleep 0.1; exit 1")
    async with SystemdManager(address=bus_address, library=library) as earlier:
        await earlier.start(unit)
        await changed(earlier, unit.name, active_state="failed")
    async with SystemdManager(address=bus_address, library=library) as later:
        assert (await later.status(unit.name)).active_state == "failed"
        assert (await later.start(make_unit(*SLEEP))).active_state == "active"
        await later.stop(unit.name, timeout_s=10)


async def test_asking_for_a_unit_that_does_not_exist_loads_nothing(manager: SystemdManager, unit_prefix: str) -> None:
    name = f"{unit_prefix}-none.service"
    assert await manager.status(name) == UnitStatus(name)
    assert await manager.stop(name, timeout_s=5) == UnitStatus(name)
    assert await manager.adopt(f"{unit_prefix}*") == []
    assert loaded_units(unit_prefix) == []


# -- stopping ------------------------------------------------------------------------------------------------------


async def test_a_stopped_unit_is_gone_with_all_its_processes(
    manager: SystemdManager, make_unit: MakeUnit, unit_prefix: str
) -> None:
    unit = make_unit("/bin/sh", "-c", "setsid sleep 1000 & exec sleep 1000")
    pid = (await manager.start(unit)).main_pid
    status = await manager.stop(unit.name, timeout_s=10)
    assert (status.active_state, status.result, status.main_pid) == ("inactive", "success", 0)
    assert (status.exec_main_code, status.exec_main_status) == (2, signal.SIGTERM)
    assert not proc(pid, "").exists()
    assert loaded_units(unit_prefix) == []


async def test_a_program_that_ignores_the_stop_is_killed_after_its_grace(
    manager: SystemdManager, make_unit: MakeUnit
) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(1000)"
    unit = make_unit(sys.executable, "-c", code, stop_timeout_s=0.5)
    pid = (await manager.start(unit)).main_pid
    await ignores_sigterm(pid)
    began = time.monotonic()
    status = await manager.stop(unit.name, timeout_s=0.5)
    assert 0.5 <= time.monotonic() - began < 3
    assert (status.active_state, status.result) == ("failed", "timeout")
    assert not proc(pid, "").exists()
    assert (await manager.status(unit.name)).active_state == "inactive"


async def ignores_sigterm(pid: int) -> None:
    async with asyncio.timeout(10):
        while True:
            status = dict(line.split(":\t", 1) for line in proc(pid, "status").read_text().splitlines())
            if int(status["SigIgn"], 16) & 1 << (signal.SIGTERM - 1):
                return
            await asyncio.sleep(0.02)


async def test_a_stop_ends_the_wait_for_a_restart(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit("/bin/false", more=(Property("Restart", "s", "always"), Property("RestartUSec", "t", 60_000_000)))
    await manager.start(unit)
    await changed(manager, unit.name, sub_state="auto-restart")
    assert (await manager.stop(unit.name, timeout_s=10)).active_state in {"inactive", "failed"}


async def test_a_unit_of_somebody_else_can_be_stopped_and_its_end_be_read(
    manager: SystemdManager, make_unit: MakeUnit, bus_address: str
) -> None:
    unit = make_unit(*SLEEP)
    async with SystemdManager(address=bus_address) as other:
        await other.start(unit)
    status = await manager.stop(unit.name, timeout_s=10)
    assert (status.exec_main_code, status.exec_main_status) == (2, signal.SIGTERM)


async def test_a_restarted_unit_counts_its_restarts(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit(*SLEEP, more=RESTART)
    first = await manager.start(unit)
    kill(first.main_pid)
    second = await changed(manager, unit.name, restarts=1, sub_state="running")
    assert first.main_pid != second.main_pid
    assert first.invocation_id != second.invocation_id


# -- adopting ------------------------------------------------------------------------------------------------------


async def test_units_outlive_the_manager_and_are_adopted_with_their_results(
    make_unit: MakeUnit, bus_address: str, unit_prefix: str, library: Library
) -> None:
    names = ["a", "b", "c"]
    async with SystemdManager(address=bus_address, library=library) as first:
        started = [await first.start(make_unit(*SLEEP, name=name)) for name in names]
    async with SystemdManager(address=bus_address, library=library) as second:
        assert await second.adopt(f"{unit_prefix}-*") == started
        os.kill(started[0].main_pid, signal.SIGTERM)  # a clean end: without a reference it would be gone
        status = await changed(second, started[0].name, active_state="inactive")
        assert (status.invocation_id, status.exec_main_code) == (started[0].invocation_id, 2)
        await stop_all(second, unit_prefix)


# -- many, and in bad weather --------------------------------------------------------------------------------------


async def start_all(manager: SystemdManager, make_unit: MakeUnit, count: int) -> list[UnitStatus]:
    units = [make_unit(*SLEEP, name=str(index)) for index in range(count)]
    return list(await asyncio.gather(*map(manager.start, units)))


async def test_a_hundred_units_start_at_once(manager: SystemdManager, make_unit: MakeUnit) -> None:
    statuses = await start_all(manager, make_unit, 100)
    assert {status.active_state for status in statuses} == {"active"}
    assert len({status.main_pid for status in statuses}) == 100


# -- signals, reload, freeze, properties ---------------------------------------------------------------------------


async def test_a_signal_reaches_the_main_process_or_all(
    manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path
) -> None:
    trap = f"trap 'echo $1 >> {tmp_path}/got' USR1; echo > {tmp_path}/ready-$1; while :; do sleep 0.05; done"
    unit = make_unit("/bin/sh", "-c", '/bin/sh -c "$0" child child & eval "$0"', trap, "main")
    await manager.start(unit)
    got = tmp_path / "got"
    await eventually(lambda: {path.name for path in tmp_path.glob("ready-*")} == {"ready-child", "ready-main"})
    await manager.kill(unit.name, signal=signal.SIGUSR1, main_only=True)
    await eventually(lambda: got.exists() and got.read_text().split() == ["main"])
    await manager.kill(unit.name, signal=signal.SIGUSR1)
    await eventually(lambda: sorted(got.read_text().split()) == ["child", "main", "main"])


async def test_a_unit_can_be_killed_while_it_stops(manager: SystemdManager, make_unit: MakeUnit) -> None:
    unit = make_unit("/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done", stop_timeout_s=60)
    await manager.start(unit)
    stopping = asyncio.create_task(manager.stop(unit.name, timeout_s=60))
    await changed(manager, unit.name, active_state="deactivating")
    await manager.kill(unit.name, signal=signal.SIGKILL)
    async with asyncio.timeout(5):
        assert (await stopping).exec_main_status == signal.SIGKILL


async def test_what_is_not_loaded_cannot_be_signalled(manager: SystemdManager, unit_prefix: str) -> None:
    with pytest.raises(errors.NotFound, match=f"cannot send a signal to unit '{unit_prefix}-none.service'"):
        await manager.kill(f"{unit_prefix}-none.service", signal=signal.SIGTERM)


async def test_a_reload_executes_the_command_and_tells_its_failure(
    manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path
) -> None:
    def reload(*words: str) -> Property:
        return Property("ExecReload", "a(sasb)", [[words[0], list(words), False]])

    good = make_unit(*SLEEP, name="good", more=(reload("/bin/touch", f"{tmp_path}/reloaded"),))
    bad = make_unit(*SLEEP, name="bad", more=(reload("/bin/false"),))
    await manager.start(good)
    await manager.start(bad)
    await manager.reload(good.name, timeout_s=5)
    assert (tmp_path / "reloaded").exists()
    with pytest.raises(errors.UnitFailed, match="reload command failed"):
        await manager.reload(bad.name, timeout_s=5)
    assert (await manager.status(bad.name)).active_state == "active"


async def test_a_frozen_unit_stands_still_until_it_is_thawed(
    manager: SystemdManager, make_unit: MakeUnit, tmp_path: Path
) -> None:
    file = tmp_path / "count"
    unit = make_unit("/bin/sh", "-c", f"while :; do echo x >> {file}; sleep 0.02; done")
    await manager.start(unit)
    await eventually(file.exists)
    await manager.freeze(unit.name)
    size = file.stat().st_size
    await asyncio.sleep(0.2)  # nothing tells that nothing happens
    assert file.stat().st_size == size
    await manager.freeze(unit.name, thaw=True)
    await eventually(lambda: file.stat().st_size > size)


async def test_resource_limits_change_while_a_unit_runs_and_others_are_refused(
    manager: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = make_unit(*SLEEP)
    before = await manager.start(unit)
    await manager.set_properties(unit.name, [Property("TasksMax", "t", 77)])
    assert systemctl("show", "--property=TasksMax", unit.name).strip() == "TasksMax=77"
    with pytest.raises(errors.SystemdRefused, match="RestartUSec"):
        await manager.set_properties(unit.name, [Property("RestartUSec", "t", 1)])
    assert await manager.status(unit.name) == before


# -- news ----------------------------------------------------------------------------------------------------------


class News:
    """What the manager tells."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.on_ended = self.told.put_nowait

    def on_doubt(self) -> None:
        self.told.put_nowait("doubt")


async def test_every_end_of_a_main_process_is_told_at_once(manager: SystemdManager, make_unit: MakeUnit) -> None:
    news = News()
    manager.watch(news)
    status = await manager.start(make_unit(*SLEEP, more=AT_ONCE))
    assert news.told.empty()
    for restarts in (1, 2):
        kill(status.main_pid)
        async with asyncio.timeout(5):
            assert await news.told.get() == status.name
        status = await changed(manager, status.name, restarts=restarts, sub_state="running")
        while not news.told.empty():
            assert news.told.get_nowait() == status.name


def cut(manager: SystemdManager) -> None:
    """Cut the bus connection, as a dying bus daemon does."""
    connection: Any = manager._bus._connection
    connection._bus._sock.shutdown(socket.SHUT_RDWR)


async def test_a_connection_cut_under_us_is_made_again(manager: SystemdManager, make_unit: MakeUnit) -> None:
    news = News()
    manager.watch(news)
    unit = make_unit(*SLEEP)
    before = await manager.start(unit)
    never_ready = asyncio.create_task(manager.start(make_unit(*SLEEP, name="notify", kind="notify")))
    await changed(manager, make_unit(*SLEEP, name="notify").name, active_state="activating")
    cut(manager)
    with pytest.raises(errors.SystemdUnavailable, match="cannot reach systemd over 'unix:path="):
        await never_ready
    with pytest.raises(errors.SystemdUnavailable):
        await manager.status(unit.name)
    assert await news.told.get() == "doubt"
    assert await manager.status(unit.name) == before
    os.kill(before.main_pid, signal.SIGTERM)  # its status stays only if it is referenced again
    assert (await changed(manager, unit.name, active_state="inactive")).invocation_id == before.invocation_id
    again = make_unit(*SLEEP, name="again")
    assert (await manager.start(again)).active_state == "active"  # signals arrive again


@pytest.mark.skipif(IS_USER, reason="needs root, to be somebody else for a moment")
async def test_somebody_without_the_right_is_told_so(bus_address: str, make_unit: MakeUnit, library: Library) -> None:
    manager = SystemdManager(address=bus_address, library=library)
    await as_nobody(manager.open)
    with pytest.raises(errors.PermissionDenied) as caught:
        await manager.start(make_unit(*SLEEP))
    assert caught.value.hint is not None
    await manager.close()


async def as_nobody(action: Callable[[], Awaitable[None]]) -> None:
    """The bus daemon asks the kernel who connects."""
    os.setresuid(65534, 65534, 0)
    try:
        await action()
    finally:
        os.setresuid(0, 0, 0)
