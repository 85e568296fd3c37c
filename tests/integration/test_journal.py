"""The log of units from a real journald, through a real journalctl."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import time
from functools import cache
from typing import TYPE_CHECKING

import pytest

from hero_supervisor import errors, journal
from hero_supervisor.journal import JOB_FIELD, MAX_MESSAGE_BYTES, JournalReader
from hero_supervisor.systemd import SystemdManager
from tests.systemd_fixtures import IS_USER, stop_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from hero_supervisor.records import LogRecord
    from hero_supervisor.unit import TransientUnit

    MakeUnit = Callable[..., TransientUnit]

#: Sends one journal entry, given as a Python expression, in journald's own protocol; of any size.
SEND = """
import fcntl, os, socket, sys
fd = os.memfd_create("entry", os.MFD_ALLOW_SEALING)
os.write(fd, eval(sys.argv[1]))
fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
    sock.connect("/run/systemd/journal/socket")
    socket.send_fds(sock, [b""], [fd])
"""


@pytest.fixture
def reader() -> JournalReader:
    return JournalReader(user=IS_USER)


@pytest.fixture
async def units(unit_prefix: str, bus_address: str) -> AsyncIterator[SystemdManager]:
    async with SystemdManager(user=IS_USER, address=bus_address) as manager:
        yield manager
        await stop_all(manager, unit_prefix)


async def ran(units: SystemdManager, unit: TransientUnit) -> str:
    """Run a unit to its end, unload it, make journald write all it has, and return the run's id."""
    invocation_id = (await units.start(unit)).invocation_id
    await units.stop(unit.name, timeout_s=10)
    flush = await asyncio.create_subprocess_exec("journalctl", "--sync")
    await flush.wait()
    return invocation_id


def script(make_unit: MakeUnit, text: str, name: str = "a") -> TransientUnit:
    """Return a unit that runs a shell script, with a pause before it and after it.

    journald reads systemd's messages and a program's lines from two sockets, in any order, and looks up the run that a
    line belongs to when it reads the line: the program may be gone by then.
    """
    return make_unit("/bin/sh", "-c", f"sleep 0.1; {text}; sleep 0.1", kind="oneshot", name=name)


def entry(make_unit: MakeUnit, expression: str) -> TransientUnit:
    """Return a unit that sends an entry; what it is made of is a Python expression."""
    return make_unit(sys.executable, "-c", SEND, expression, kind="oneshot")


def own(records: list[LogRecord]) -> list[str]:
    """Return the messages that are not systemd's; theirs may come before or after its own first one."""
    return [record.message for record in records if record.pid != manager_pid()]


@cache
def manager_pid() -> int:
    """Return the process that tells of the start and the end of units: systemd."""
    if not IS_USER:
        return 1
    command = ["systemctl", "show", "--property=MainPID", "--value", f"user@{os.getuid()}.service"]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


async def test_lines_of_a_unit_that_is_gone_are_read_oldest_first(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    began = time.time()
    unit = script(make_unit, "echo one; echo '<3>two'; echo three >&2")
    invocation_id = await ran(units, unit)
    records = await reader.read(unit.name, lines=100)
    assert own(records) == ["one", "two", "three"]
    assert [record.priority for record in records if record.message in {"one", "two", "three"}] == [6, 3, 6]
    assert {record.invocation_id for record in records} == {invocation_id}
    assert all(began - 1 < record.timestamp.timestamp() < time.time() + 1 for record in records)
    assert [record.timestamp for record in records] == sorted(record.timestamp for record in records)


async def test_systemds_own_messages_are_among_them(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = make_unit("/no/such/program")
    with pytest.raises(errors.CommandNotExecutable):
        await units.start(unit)
    await ran(units, script(make_unit, "echo", name="flush"))
    messages = [record.message for record in await reader.read(unit.name, lines=100)]
    assert any("/no/such/program" in message for message in messages)
    assert any("status=203/EXEC" in message for message in messages)


async def test_the_newest_lines_are_read_without_a_cursor_and_the_next_with_one(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = script(make_unit, "for i in 1 2 3 4 5 6; do echo $i; done")
    await ran(units, unit)
    everything = await reader.read(unit.name, lines=100)
    assert await reader.read(unit.name, lines=3) == everything[-3:]
    page = await reader.read(unit.name, lines=2, after_cursor=everything[0].cursor)
    assert page == everything[1:3]
    assert await reader.read(unit.name, lines=100, after_cursor=page[-1].cursor) == everything[3:]
    assert await reader.read(unit.name, lines=100, after_cursor=everything[-1].cursor) == []


async def test_a_cursor_that_the_journal_does_not_have_is_no_error(reader: JournalReader, unit_prefix: str) -> None:
    lost = "s=00000000000000000000000000000001;i=1;b=00000000000000000000000000000001;m=1;t=1;x=1"
    assert await reader.read(f"{unit_prefix}-a.service", lines=5, after_cursor=lost) == []


async def test_units_are_told_apart(reader: JournalReader, units: SystemdManager, make_unit: MakeUnit) -> None:
    for name in ("a", "a-b", "b"):
        await ran(units, script(make_unit, f"echo from {name}", name=name))
    assert own(await reader.read(make_unit("x", name="a").name, lines=100)) == ["from a"]
    assert await reader.read(make_unit("x", name="none").name, lines=100) == []


async def test_lines_of_one_job_are_picked(reader: JournalReader, units: SystemdManager, make_unit: MakeUnit) -> None:
    for job in ("j1", "j2"):
        await ran(units, entry(make_unit, f"b'MESSAGE=of {job}\\n{JOB_FIELD}={job}\\n'"))
    name = make_unit("x").name
    found = await reader.read(name, lines=100, job_id="j2")
    assert [(record.message, record.job_id) for record in found] == [("of j2", "j2")]
    assert await reader.read(name, lines=100, job_id="--help") == []
    assert await reader.read(name, lines=100, job_id="j1\nMESSAGE=of j1") == []


async def test_bytes_that_are_no_text_are_replaced(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = script(make_unit, r"printf 'a\377b\n'; printf 'c\001d\te\n'; printf 'ü☃\n'; echo; echo end")
    await ran(units, unit)
    assert own(await reader.read(unit.name, lines=100)) == ["a�b", "c\x01d\te", "ü☃", "end"]


async def test_a_message_of_many_lines_is_one_record(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = entry(make_unit, r"b'MESSAGE\n' + (9).to_bytes(8, 'little') + b'one\n\ntwo=' + b'\n'")
    await ran(units, unit)
    assert own(await reader.read(unit.name, lines=100)) == ["one\n\ntwo="]


async def test_a_field_that_occurs_twice_has_one_of_its_values(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = entry(make_unit, r"b'MESSAGE=one\nMESSAGE=two\nPRIORITY=4\nPRIORITY=5\n'")
    await ran(units, unit)
    (record,) = [record for record in await reader.read(unit.name, lines=100) if record.message in {"one", "two"}]
    assert record.priority in {4, 5}  # the journal does not keep their order


@pytest.mark.parametrize("char", ["x", "\\xff"])
async def test_a_huge_message_is_cut_and_says_so(
    char: str, reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = entry(make_unit, rf"b'MESSAGE=' + b'{char}' * 9_000_000 + b'\nPRIORITY=4\n'")
    await ran(units, unit)
    (message,) = own(await reader.read(unit.name, lines=100))
    assert len(message) < MAX_MESSAGE_BYTES + 100
    assert message.endswith(f" […, {9_000_000 - MAX_MESSAGE_BYTES} more bytes]")


async def test_an_answer_ends_when_it_has_enough_bytes(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = script(make_unit, "for i in 1 2 3 4 5 6; do echo ${i}xxxxxxxxx; done")
    await ran(units, unit)
    everything = await reader.read(unit.name, lines=100)
    monkeypatch.setattr(journal, "MAX_TOTAL_BYTES", 20)
    second = next(index for index, record in enumerate(everything) if record.message.startswith("1"))
    after = await reader.read(unit.name, lines=100, after_cursor=everything[second - 1].cursor)
    assert after == everything[second : second + 2]
    newest = await reader.read(unit.name, lines=100)
    assert newest == everything[-1:]  # systemd's last message alone is longer


# -- when journalctl is not what it should be ------------------------------------------------------------------------


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str], JournalReader]:
    """Make a reader that runs a shell script in place of journalctl."""

    def make(text: str) -> JournalReader:
        program = tmp_path / "journalctl"
        program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{text}\n")
        program.chmod(stat.S_IRWXU)
        return JournalReader(program=str(program))

    return make


def is_running(tmp_path: Path) -> bool:
    try:
        os.kill(int((tmp_path / "pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


async def executed(pid_file: Path) -> None:
    async with asyncio.timeout(5):
        while True:
            if pid_file.exists() and pid_file.read_text():
                return
            await asyncio.sleep(0.01)


async def test_a_missing_journalctl_is_reported_with_a_hint() -> None:
    with pytest.raises(errors.JournalUnavailable, match="no-such-journalctl") as caught:
        await JournalReader(program="no-such-journalctl").read("a.service", lines=1)
    assert caught.value.hint is not None


async def test_a_journalctl_that_fails_is_reported_with_what_it_says(fake: Callable[[str], JournalReader]) -> None:
    with pytest.raises(errors.JournalUnavailable, match="cannot read the journal: no rights") as caught:
        await fake("echo no rights >&2; exit 1").read("a.service", lines=1)
    assert caught.value.hint is not None


async def test_much_error_text_neither_blocks_nor_is_kept(fake: Callable[[str], JournalReader]) -> None:
    with pytest.raises(errors.JournalUnavailable) as caught:
        await fake("head -c 3000000 /dev/zero | tr '\\0' e >&2; exit 1").read("a.service", lines=1)
    assert len(caught.value.message) < 5000


async def test_output_that_is_no_journal_is_reported(fake: Callable[[str], JournalReader]) -> None:
    with pytest.raises(errors.JournalUnavailable, match="without cursor or time"):
        await fake("echo Usage=none; echo").read("a.service", lines=1)


async def test_a_journalctl_that_hangs_is_killed_at_the_deadline(
    fake: Callable[[str], JournalReader], tmp_path: Path
) -> None:
    with pytest.raises(errors.JournalUnavailable, match=r"within 0\.5 s"):
        await fake("exec sleep 1000").read("a.service", lines=1, timeout_s=0.5)
    assert not is_running(tmp_path)


async def test_a_cancelled_read_kills_journalctl(fake: Callable[[str], JournalReader], tmp_path: Path) -> None:
    reading = asyncio.create_task(fake("exec yes MESSAGE=x").read("a.service", lines=10))
    await executed(tmp_path / "pid")
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert not is_running(tmp_path)


async def test_an_endless_journal_is_left_when_there_is_enough(
    fake: Callable[[str], JournalReader], tmp_path: Path
) -> None:
    lines = "__CURSOR=s=1\n__REALTIME_TIMESTAMP=1\nMESSAGE=x\n"
    records = await fake(f"exec yes '{lines}'").read("a.service", lines=500)
    assert len(records) == 500
    assert not is_running(tmp_path)


@pytest.mark.skipif(IS_USER, reason="needs root, to be somebody else for a moment")
async def test_somebody_without_the_right_is_told_so(bus_address: str, fake: Callable[[str], JournalReader]) -> None:
    _ = bus_address
    journalctl = shutil.which("journalctl")
    as_nobody = f'exec setpriv --reuid=65534 --regid=65534 --clear-groups {journalctl} "$@"'
    with pytest.raises(errors.JournalUnavailable) as caught:
        await fake(as_nobody).read("a.service", lines=1)
    assert "systemd-journal" in str(caught.value.hint)
