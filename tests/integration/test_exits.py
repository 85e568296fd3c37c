"""Exit records on a real systemd and journald: every way to end, once each, whoever was there to see it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import stat
import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.exits import ExitWatcher, watcher
from hero_supervisor.records import ExitReason
from hero_supervisor.systemd import SystemdManager
from hero_supervisor.unit import Property
from tests.systemd_fixtures import IS_USER, stop_all, systemctl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hero_supervisor.records import ExitRecord
    from hero_supervisor.unit import TransientUnit, UnitStatus

    MakeUnit = Callable[..., TransientUnit]

ALWAYS = Property("Restart", "s", "always")
SOON = Property("RestartUSec", "t", 50_000)
NO_LIMIT = Property("StartLimitIntervalUSec", "t", 0)


class World:
    """One systemd, one state directory; watchers come and go."""

    def __init__(self, units: SystemdManager, make_unit: MakeUnit, prefix: str, path: Path) -> None:
        self.units = units
        self.prefix = prefix
        self.path = path
        self._make_unit = make_unit

    @asynccontextmanager
    async def watching(self, **options: Any) -> AsyncIterator[ExitWatcher]:
        """Run a watcher, which has read the journal to its end."""
        watcher = ExitWatcher(
            **{"namespace": self.prefix, "path": self.path, "processes": self.units, "user": IS_USER, **options}
        )
        await watcher.open()
        await watcher.exits("a")
        try:
            yield watcher
        finally:
            await watcher.close()

    def unit(self, *command: str, name: str = "a", **options: Any) -> TransientUnit:
        return self._make_unit(*command, name=f"runner-{name}", **options)

    async def run(self, *command: str, **options: Any) -> UnitStatus:
        """Start a unit, and let it do what it does."""
        return await self.units.start(self.unit(*command, **options))


@pytest.fixture
async def world(unit_prefix: str, bus_address: str, make_unit: MakeUnit, tmp_path: Path) -> AsyncIterator[World]:
    async with SystemdManager(user=IS_USER, address=bus_address) as units:
        yield World(units, make_unit, unit_prefix, tmp_path / "exits.jsonl")
        await stop_all(units, unit_prefix)


async def eventually(
    watcher: ExitWatcher, is_so: Callable[[list[ExitRecord]], object], runner: str = "a"
) -> list[ExitRecord]:
    """Wait until the records of a runner are as they should be. There is no event for an end that was recorded."""
    deadline = time.monotonic() + 15
    while not is_so(found := await watcher.exits(runner, limit=100)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)
    return found


async def until(is_so: Callable[[], object]) -> None:
    """Wait for something that no event tells of."""
    deadline = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.05)


async def only(watcher: ExitWatcher, runner: str = "a") -> ExitRecord:
    (record,) = await eventually(watcher, len, runner)
    return record


def program(text: str) -> tuple[str, ...]:
    """Return a command that runs Python; with a pause, so that systemd has called it started."""
    return (sys.executable, "-c", f"import os, signal, sys, time; time.sleep(0.1); {text}")


def killed_by(number: str) -> tuple[str, ...]:
    return program(f"os.kill(os.getpid(), signal.{number})")


# -- every way to end ------------------------------------------------------------------------------------------------


async def test_an_exit_with_an_error_is_recorded_with_all_that_is_known_of_it(world: World) -> None:
    began = datetime.now(UTC)
    async with world.watching() as watcher:
        status = await world.run("/bin/sh", "-c", "for i in $(seq 12); do echo line $i; done; sleep 0.3; exit 3")
        record = await only(watcher)
    assert (record.reason, record.result, record.exit_code, record.signal) == ("exit", "exit-code", 3, None)
    assert (record.runner, record.instance, record.unit) == ("a", 1, world.unit("x").name)
    assert record.invocation_id == status.invocation_id
    assert record.explanation == "its program ended by itself with exit status 3"
    assert record.log_tail == tuple(f"line {number}" for number in range(3, 13))
    assert record.started_at is not None
    assert began < record.started_at < record.ended_at < datetime.now(UTC)
    assert record.duration_s == pytest.approx((record.ended_at - record.started_at).total_seconds())
    assert 0.2 < (record.duration_s or 0) < 10
    assert not record.will_restart


async def test_a_clean_exit_has_its_status_though_the_journal_does_not_tell(world: World) -> None:
    async with world.watching() as watcher:
        await world.run(*program("sys.exit(0)"))
        record = await only(watcher)
    assert (record.reason, record.result, record.exit_code, record.signal) == ("exit", "success", 0, None)


async def test_an_end_by_a_polite_signal_is_told_from_an_exit(world: World) -> None:
    async with world.watching() as watcher:
        await world.run(*killed_by("SIGTERM"))
        record = await only(watcher)
    assert (record.reason, record.result, record.exit_code, record.signal) == ("exit", "success", None, "SIGTERM")


@pytest.mark.parametrize(
    ("number", "core_bytes", "reason"),
    [
        ("SIGKILL", 0, ExitReason.SIGNAL),
        ("SIGSEGV", 0, ExitReason.SIGNAL),
        ("SIGSEGV", resource.RLIM_INFINITY, ExitReason.CORE_DUMP),
    ],
)
async def test_a_signal_has_its_name(world: World, number: str, core_bytes: int, reason: str, tmp_path: Path) -> None:
    limit = Property("LimitCORE", "t", core_bytes % 2**64)
    async with world.watching() as watcher:
        where = Property("WorkingDirectory", "s", str(tmp_path))
        await world.run(*killed_by(number), more=(limit, where))
        record = await only(watcher)
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    if reason is ExitReason.CORE_DUMP and record.reason is ExitReason.SIGNAL:
        pytest.skip(f"no core is dumped here: {pattern}")
    assert (record.reason, record.signal, record.exit_code) == (reason, number, None)


async def test_a_start_timeout_is_recorded(world: World) -> None:
    async with world.watching() as watcher:
        with pytest.raises(errors.UnitFailed):
            await world.run("/bin/sleep", "60", kind="notify", more=(Property("TimeoutStartUSec", "t", 300_000),))
        record = await only(watcher)
    assert (record.reason, record.result) == ("timeout", "timeout")
    assert record.explanation == "it was not ready within its start timeout"


async def test_a_program_that_ends_before_it_is_ready_is_recorded(world: World) -> None:
    async with world.watching() as watcher:
        with pytest.raises(errors.UnitFailed):
            await world.run(*program("sys.exit(0)"), kind="notify")
        record = await only(watcher)
    assert (record.reason, record.result, record.exit_code) == ("exit", "protocol", 0)
    assert "without having said that it is ready" in record.explanation


async def test_a_watchdog_that_ran_out_is_recorded(world: World) -> None:
    ready = "import socket; s = socket.socket(1, 2); s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])"
    async with world.watching() as watcher:
        watchdog = Property("WatchdogUSec", "t", 300_000)
        await world.run(*program(f"{ready}; time.sleep(60)"), kind="notify", more=(watchdog,))
        record = await only(watcher)
    assert (record.reason, record.signal) == ("watchdog", "SIGABRT")


async def test_a_program_that_cannot_be_executed_was_not_started(world: World) -> None:
    async with world.watching() as watcher:
        with pytest.raises(errors.UnitFailed):
            await world.run("/bin/true", more=(Property("WorkingDirectory", "s", "/no/such"), ALWAYS))
        (record,) = await eventually(watcher, lambda found: found and not found[0].will_restart)
    assert (record.reason, record.exit_code) == ("not-started", 200)
    assert record.explanation.endswith("its working directory cannot be entered (200/CHDIR)")
    assert any("No such file or directory" in line for line in record.log_tail)


async def test_a_missing_environment_file_is_a_run_that_was_not_started(world: World) -> None:
    async with world.watching() as watcher:
        with pytest.raises(errors.UnitFailed):
            await world.run("/bin/true", more=(Property("EnvironmentFiles", "a(sb)", [["/no/such", False]]),))
        record = await only(watcher)
    assert (record.reason, record.result, record.started_at) == ("not-started", "resources", None)


async def test_cpu_time_is_recorded(world: World) -> None:
    async with world.watching() as watcher:
        await world.run(*program("[None for _ in iter(lambda: time.process_time() > 1.2, True)]"))
        (record,) = await eventually(watcher, lambda found: found and found[0].cpu_s)
    assert 1.2 <= (record.cpu_s or 0) < 10


# -- stops -----------------------------------------------------------------------------------------------------------


async def test_a_strangers_stop_is_an_operators(world: World) -> None:
    async with world.watching() as watcher:
        status = await world.run("/bin/sleep", "60")
        systemctl("stop", status.name)
        record = await only(watcher)
    assert (record.reason, record.result, record.will_restart) == ("operator", "success", False)


async def test_a_stop_that_needed_sigkill_says_so(world: World) -> None:
    async with world.watching() as watcher:
        ignores = program("signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)")
        status = await world.run(*ignores, stop_timeout_s=0.5)
        await asyncio.sleep(1)  # until it ignores it
        await world.units.stop(status.name, timeout_s=5)
        record = await only(watcher)
    assert (record.reason, record.result, record.signal) == ("operator", "timeout", "SIGKILL")
    assert "did not end by its stop timeout and was killed" in record.explanation


async def test_a_stop_while_it_starts_is_an_operators(world: World) -> None:
    async with world.watching() as watcher:
        starting = asyncio.create_task(world.run("/bin/sleep", "60", kind="notify"))
        name = world.unit("x").name
        await until(lambda: "ActiveState=activating" in systemctl("show", "--property=ActiveState", name))
        systemctl("stop", name)
        with pytest.raises(errors.Conflict):
            await starting
        record = await only(watcher)
    assert record.reason == "operator"


async def test_our_own_cause_is_in_the_record_even_if_another_makes_it(world: World) -> None:
    async with world.watching() as first:
        status = await world.run("/bin/sleep", "60")
        await first.expect(status.name, status.invocation_id, ExitReason.MAX_AGE)
    systemctl("stop", status.name)
    async with world.watching() as second:
        assert (await only(second)).reason == "max-age"


async def test_a_cause_does_not_hide_a_crash_that_came_first(world: World) -> None:
    async with world.watching() as watcher:
        status = await world.run(*program("sys.exit(3)"))
        await watcher.expect(status.name, status.invocation_id, ExitReason.UNHEALTHY)
        assert (await only(watcher)).reason == "exit"


async def test_an_operators_stop_takes_the_place_of_a_cause_that_did_not_come_about(world: World) -> None:
    async with world.watching() as watcher:
        status = await world.run("/bin/sleep", "60")
        for reason in (ExitReason.MAX_AGE, ExitReason.OPERATOR):
            await watcher.expect(status.name, status.invocation_id, reason)
        systemctl("stop", status.name)
        assert (await only(watcher)).reason == "operator"


# -- many ends -------------------------------------------------------------------------------------------------------


async def test_every_run_of_a_crash_loop_is_recorded_once(world: World) -> None:
    async with world.watching() as watcher:
        await world.run("/bin/sh", "-c", "echo $$; exit 3", more=(ALWAYS, SOON, NO_LIMIT))
        await eventually(watcher, lambda found: len(found) >= 20)
        await world.units.stop(world.unit("x").name, timeout_s=5)
        records = await eventually(watcher, lambda found: found and not found[0].will_restart)
    assert len(records) >= 20
    assert len({record.invocation_id for record in records}) == len(records)
    assert {(record.exit_code, record.will_restart) for record in records[1:]} == {(3, True)}
    tails = [record.log_tail for record in records[1:] if record.log_tail]
    # journald cannot tell the unit of a user's process that is gone already.
    assert IS_USER or len(tails) == len(records) - 1
    assert {len(tail) for tail in tails} == {1}
    assert len(set(tails)) == len(tails)
    assert records == sorted(records, key=lambda record: record.ended_at, reverse=True)
    assert len(world.path.read_text().splitlines()) < 4 * len(records) + 20


async def test_the_last_run_before_the_start_limit_says_that_it_is_over(world: World) -> None:
    async with world.watching() as watcher:
        limit = (Property("StartLimitBurst", "u", 3), Property("StartLimitIntervalUSec", "t", 30_000_000))
        await world.run(*program("sys.exit(3)"), more=(ALWAYS, SOON, *limit))
        records = await eventually(watcher, lambda found: found and found[0].reason == "start-limit")
    assert [(record.reason, record.will_restart) for record in records] == [
        ("start-limit", False),
        ("exit", True),
        ("exit", True),
    ]
    assert (records[0].result, records[0].exit_code) == ("exit-code", 3)


async def test_a_long_pause_before_the_restart_is_seen_and_its_end_by_a_stop_too(world: World) -> None:
    async with world.watching() as watcher:
        status = await world.run(*program("sys.exit(3)"), more=(ALWAYS, Property("RestartUSec", "t", 60_000_000)))
        await eventually(watcher, lambda found: found and found[0].will_restart)
        systemctl("stop", status.name)
        (record,) = await eventually(watcher, lambda found: not found[0].will_restart)
    assert record.reason == "exit"


async def test_instances_and_runners_are_told_apart_and_other_units_left_alone(world: World) -> None:
    async with world.watching() as watcher:
        for name in ("a", "a@2", "b", "a-b"):
            await world.run(*program("sys.exit(3)"), name=name)
        await world.units.start(world._make_unit(*program("sys.exit(4)"), name="redis"))
        await eventually(watcher, len, "a-b")
        assert sorted(record.instance for record in await eventually(watcher, lambda found: len(found) == 2)) == [1, 2]
        (second,) = await watcher.exits("a", instance=2)
        assert second.unit == f"{world.prefix}-runner-a@2.service"
        assert [record.runner for record in await watcher.exits("a-b")] == ["a-b"]
        assert len(world.path.read_text().split('"type":"exit"')) <= 9


async def test_entries_that_only_look_like_the_managers_are_not_believed(world: World) -> None:
    fields = (
        "MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c",
        f"UNIT={world.prefix}-runner-a.service\nUSER_UNIT={world.prefix}-runner-a.service",
        f"INVOCATION_ID={'1' * 32}\nUSER_INVOCATION_ID={'1' * 32}",
        "UNIT_RESULT=oom-kill\nMESSAGE=forged\n",
    )
    async with world.watching() as watcher:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto("\n".join(fields).encode(), "/run/systemd/journal/socket")
        await world.run(*program("sys.exit(3)"))
        assert (await only(watcher)).exit_code == 3


# -- nobody was there ------------------------------------------------------------------------------------------------


async def test_ends_without_a_supervisor_are_recorded_by_the_next(world: World) -> None:
    async with world.watching() as first:
        long = await world.run("/bin/sleep", "60", name="long")
        await world.run(*program("sys.exit(3)"))
        await only(first)  # so the beginning of the other was read, too
    for code in (4, 5):
        await world.run(*program(f"print('code', {code}); sys.exit({code})"))
        await until_failed(world.unit("x").name)
    systemctl("stop", long.name)
    async with world.watching() as second:
        assert [record.exit_code for record in await second.exits("a")] == [5, 4, 3]
        assert (await second.exits("a"))[0].log_tail == ("code 5",)
        (record,) = await second.exits("long")
    assert (record.invocation_id, record.reason) == (long.invocation_id, "operator")
    assert record.started_at is not None  # it began when there was somebody


async def test_nothing_is_recorded_twice_by_the_next(world: World) -> None:
    async with world.watching() as first:
        await world.run(*program("sys.exit(3)"))
        before = await only(first)
    async with world.watching() as second:
        assert await second.exits("a") == [before]
    assert world.path.read_text().count('"type":"exit"') == 1


@pytest.mark.parametrize("position", ["s=1;i=1;b=1;m=1;t=1;x=1", "nonsense", None])
async def test_a_lost_position_costs_nothing_but_time(world: World, position: str | None) -> None:
    async with world.watching() as first:
        await world.run(*program("sys.exit(3)"))
        before = await only(first)
    await world.run(*program("sys.exit(4)"))
    await until_failed(world.unit("x").name)
    line = f'{{"type":"position","cursor":"{position}"}}\n'
    kept = [each for each in world.path.read_text().splitlines(keepends=True) if '"position"' not in each]
    world.path.write_text("".join(kept) + (line if position else ""))
    async with world.watching() as second:
        after = await second.exits("a")
    assert [record.exit_code for record in after] == [4, 3]
    assert after[1] == before


async def until_failed(name: str) -> None:
    await until(lambda: "ActiveState=failed" in systemctl("show", "--property=ActiveState", name))


# -- when journalctl is not what it should be ------------------------------------------------------------------------


def children(name: str) -> list[int]:
    """Return our child processes of a name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            command, _, rest = path.read_text().partition(" (")[2].rpartition(") ")
            if command == name and int(rest.split()[1]) == os.getpid():
                found.append(int(path.parent.name))
    return found


async def test_a_journalctl_that_was_killed_is_started_again_and_nothing_is_missed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.watching() as watcher:
        await until(lambda: children("journalctl"))
        for pid in children("journalctl"):
            os.kill(pid, signal.SIGKILL)
        await world.run(*program("sys.exit(3)"))
        assert (await only(watcher)).exit_code == 3
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_no_process_is_left_behind(world: World) -> None:
    async with world.watching():
        pass
    assert children("journalctl") == []


@pytest.mark.parametrize("program_text", ["echo no rights >&2; exit 1", "exit 0", "head -c 100 /dev/urandom; exit 0"])
async def test_a_journal_that_cannot_be_read_is_said_once_and_tried_again(
    world: World,
    program_text: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watcher, "MIN_PAUSE_S", 0.05)
    monkeypatch.setattr(watcher, "MAX_PAUSE_S", 1)
    fake = tmp_path / "journalctl"
    fake.write_text(f"#!/bin/sh\necho >> {tmp_path}/calls\n{program_text}\n")
    fake.chmod(stat.S_IRWXU)
    async with world.watching(program=str(fake)) as watching:
        assert await watching.exits("a") == []
        await until(lambda: (tmp_path / "calls").read_text().count("\n") >= 4)
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
        fake.unlink()
        fake.symlink_to("/usr/bin/journalctl")
        await world.run(*program("sys.exit(3)"))
        assert (await only(watching)).exit_code == 3


async def test_a_missing_journalctl_does_not_keep_anybody_waiting(world: World) -> None:
    async with world.watching(program="no-such-journalctl") as watching:
        assert await watching.exits("a") == []
