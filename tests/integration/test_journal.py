"""The log of units from a real journald, through a real journalctl."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from typing import TYPE_CHECKING

import pytest

from hero_supervisor import errors
from hero_supervisor.journal import JOB_FIELD, MAX_MESSAGE_BYTES, JournalReader
from hero_supervisor.journal import reader as journal_reader
from hero_supervisor.systemd import SystemdManager
from tests.journal_fixtures import entry, own, ran, read, script
from tests.redis_fixtures import eventually
from tests.systemd_fixtures import IS_USER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hero_supervisor.systemd import SystemdManager
    from tests.journal_fixtures import MakeUnit


async def test_lines_of_a_unit_that_is_gone_are_read_oldest_first(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    began = time.time()
    unit = script(make_unit, "echo one; echo '<3>two'; echo three >&2")
    invocation_id = await ran(units, unit)
    records = await read(reader, unit.name, lines=100)
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
    messages = [record.message for record in await read(reader, unit.name, lines=100)]
    # Not "failed to locate executable": that line comes from the process that ends with it, see ``script``.
    assert any("status=203/EXEC" in message for message in messages)


async def test_the_newest_lines_are_read_without_a_cursor_and_the_next_with_one(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = script(make_unit, "for i in 1 2 3 4 5 6; do echo $i; done")
    await ran(units, unit)
    everything = await read(reader, unit.name, lines=100)
    assert await read(reader, unit.name, lines=3) == everything[-3:]
    page = await read(reader, unit.name, lines=2, after_cursor=everything[0].cursor)
    assert page == everything[1:3]
    assert await read(reader, unit.name, lines=100, after_cursor=page[-1].cursor) == everything[3:]
    assert await read(reader, unit.name, lines=100, after_cursor=everything[-1].cursor) == []


async def test_units_are_told_apart(reader: JournalReader, units: SystemdManager, make_unit: MakeUnit) -> None:
    for name in ("a", "a-b", "b"):
        await ran(units, script(make_unit, f"echo from {name}", name=name))
    assert own(await read(reader, make_unit("x", name="a").name, lines=100)) == ["from a"]
    assert await read(reader, make_unit("x", name="none").name, lines=100) == []


async def test_lines_of_one_job_are_picked(reader: JournalReader, units: SystemdManager, make_unit: MakeUnit) -> None:
    for job in ("j1", "j2"):
        await ran(units, entry(make_unit, f"b'MESSAGE=of {job}\\n{JOB_FIELD}={job}\\n'"))
    name = make_unit("x").name
    found = await read(reader, name, lines=100, job_id="j2")
    assert [(record.message, record.job_id) for record in found] == [("of j2", "j2")]
    assert await read(reader, name, lines=100, job_id="--help") == []
    assert await read(reader, name, lines=100, job_id="j1\nMESSAGE=of j1") == []


async def test_bytes_that_are_no_text_are_replaced(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = script(make_unit, r"printf 'a\377b\n'; printf 'c\001d\te\n'; printf 'ü☃\n'; echo; echo end")
    await ran(units, unit)
    assert own(await read(reader, unit.name, lines=100)) == ["a�b", "c\x01d\te", "ü☃", "end"]


async def test_a_message_of_many_lines_is_one_record(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = entry(make_unit, r"b'MESSAGE\n' + (9).to_bytes(8, 'little') + b'one\n\ntwo=' + b'\n'")
    await ran(units, unit)
    assert own(await read(reader, unit.name, lines=100)) == ["one\n\ntwo="]


async def test_a_field_that_occurs_twice_has_one_of_its_values(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = entry(make_unit, r"b'MESSAGE=one\nMESSAGE=two\nPRIORITY=4\nPRIORITY=5\n'")
    await ran(units, unit)
    (record,) = [record for record in await read(reader, unit.name, lines=100) if record.message in {"one", "two"}]
    assert record.priority in {4, 5}  # the journal does not keep their order


@pytest.mark.parametrize("char", ["x", "\\xff"])
async def test_a_huge_message_is_cut_and_says_so(
    char: str, reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = entry(make_unit, rf"b'MESSAGE=' + b'{char}' * 9_000_000 + b'\nPRIORITY=4\n'")
    await ran(units, unit)
    messages: list[str] = []

    async def is_there() -> bool:
        messages[:] = own(await read(reader, unit.name, lines=100))
        return bool(messages)

    await eventually(is_there, timeout_s=20)  # on 257 only root can make journald write all it has
    (message,) = messages
    assert len(message) < MAX_MESSAGE_BYTES + 100
    assert message.endswith(f" […, {9_000_000 - MAX_MESSAGE_BYTES} more bytes]")


async def test_an_answer_ends_when_it_has_enough_bytes(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = script(make_unit, "for i in 1 2 3 4 5 6; do echo ${i}xxxxxxxxx; done")
    await ran(units, unit)
    everything = await read(reader, unit.name, lines=100)
    monkeypatch.setattr(journal_reader, "MAX_TOTAL_BYTES", 20)
    second = next(index for index, record in enumerate(everything) if record.message.startswith("1"))
    after = await read(reader, unit.name, lines=100, after_cursor=everything[second - 1].cursor)
    assert after == everything[second : second + 2]
    newest = await read(reader, unit.name, lines=100)
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
        await read(JournalReader(program="no-such-journalctl"), "a.service", lines=1)
    assert caught.value.hint is not None


async def test_a_journalctl_that_fails_is_reported_with_what_it_says(fake: Callable[[str], JournalReader]) -> None:
    with pytest.raises(errors.JournalUnavailable, match="cannot read the journal: no rights") as caught:
        await read(fake("echo no rights >&2; exit 1"), "a.service", lines=1)
    assert caught.value.hint is not None


async def test_much_error_text_neither_blocks_nor_is_kept(fake: Callable[[str], JournalReader]) -> None:
    with pytest.raises(errors.JournalUnavailable) as caught:
        await read(fake("head -c 3000000 /dev/zero | tr '\\0' e >&2; exit 1"), "a.service", lines=1)
    assert len(caught.value.message) < 5000


async def test_output_that_is_no_journal_is_reported(fake: Callable[[str], JournalReader]) -> None:
    with pytest.raises(errors.JournalUnavailable, match="without cursor or time"):
        await read(fake("echo Usage=none; echo"), "a.service", lines=1)


async def test_a_journalctl_that_hangs_is_killed_at_the_deadline(
    fake: Callable[[str], JournalReader], tmp_path: Path
) -> None:
    with pytest.raises(errors.JournalUnavailable, match=r"within 0\.5 s"):
        await read(fake("exec sleep 1000"), "a.service", lines=1, timeout_s=0.5)
    assert not is_running(tmp_path)


async def test_a_cancelled_read_kills_journalctl(fake: Callable[[str], JournalReader], tmp_path: Path) -> None:
    reading = asyncio.create_task(read(fake("exec yes MESSAGE=x"), "a.service", lines=10))
    await executed(tmp_path / "pid")
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert not is_running(tmp_path)


async def test_an_endless_journal_is_left_when_there_is_enough(
    fake: Callable[[str], JournalReader], tmp_path: Path
) -> None:
    lines = "__CURSOR=s=1\n__REALTIME_TIMESTAMP=1\nMESSAGE=x\n"
    records = await read(fake(f"exec yes '{lines}'"), "a.service", lines=500)
    assert len(records) == 500
    assert not is_running(tmp_path)


@pytest.mark.skipif(IS_USER, reason="needs root, to be somebody else for a moment")
async def test_somebody_without_the_right_is_told_so(bus_address: str, fake: Callable[[str], JournalReader]) -> None:
    _ = bus_address
    journalctl = shutil.which("journalctl")
    as_nobody = f'exec setpriv --reuid=65534 --regid=65534 --clear-groups {journalctl} "$@"'
    with pytest.raises(errors.JournalUnavailable) as caught:
        await read(fake(as_nobody), "a.service", lines=1)
    assert "systemd-journal" in str(caught.value.hint)
