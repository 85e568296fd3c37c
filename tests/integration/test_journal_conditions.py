"""What a query selects from a real journal, and what an answer says of lines that are missing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.journal import JOB_FIELD, JournalReader
from hero_supervisor.journal import reader as journal_reader
from hero_supervisor.log_query import LogQuery
from hero_supervisor.records import LogKind
from hero_supervisor.unit import Property, Site
from tests.journal_fixtures import (
    entry,
    journalctl,
    messages,
    needs_own_rate_limit,
    needs_throw_away_machine,
    own,
    ran,
    read,
    script,
)

if TYPE_CHECKING:
    from pathlib import Path

    from hero_supervisor.records import LogRecord
    from hero_supervisor.systemd import SystemdManager
    from tests.journal_fixtures import MakeUnit

LOST = "s=00000000000000000000000000000001;i=1;b=00000000000000000000000000000001;m=1;t={};x=1"
LINES = "echo '<3>Error 1'; echo two; echo '<4>three'; echo error 4"


@pytest.fixture
async def everything(reader: JournalReader, units: SystemdManager, make_unit: MakeUnit) -> list[LogRecord]:
    """Let unit ``a`` write lines, and return all that the journal has of it."""
    await ran(units, script(make_unit, LINES))
    return await read(reader, make_unit("x").name)


async def test_times_select_and_include_both_ends(
    reader: JournalReader, make_unit: MakeUnit, everything: list[LogRecord]
) -> None:
    name = make_unit("x").name
    first, last = everything[1].timestamp, everything[-2].timestamp
    expected = [record for record in everything if first <= record.timestamp <= last]
    assert await read(reader, name, since=first, until=last) == expected
    assert await read(reader, name, since=first, until=last, lines=2) == expected[-2:]
    after = everything[0].cursor
    assert await read(reader, name, since=first, until=last, after_cursor=after) == expected
    assert await read(reader, name, since=last + timedelta(hours=1)) == []
    assert await read(reader, name, until=first - timedelta(hours=1)) == []


async def test_a_priority_selects_it_and_more_important_ones(
    reader: JournalReader, make_unit: MakeUnit, everything: list[LogRecord]
) -> None:
    name = make_unit("x").name
    assert messages(await read(reader, name, priority=3)) == ["Error 1"]
    assert messages(await read(reader, name, priority=4)) == ["Error 1", "three"]
    assert await read(reader, name, priority=6) == everything


async def test_text_is_found_however_it_is_cased_and_is_no_pattern(
    reader: JournalReader, make_unit: MakeUnit, everything: list[LogRecord]
) -> None:
    name = make_unit("x").name
    assert messages(await read(reader, name, grep="ERROR")) == ["Error 1", "error 4"]
    assert messages(await read(reader, name, grep="ERROR", lines=1)) == ["error 4"]
    assert messages(await read(reader, name, grep="error", after_cursor=everything[0].cursor, lines=1)) == ["Error 1"]
    assert await read(reader, name, grep="err.r") == []


async def test_a_long_search_ends_where_it_says_and_can_be_taken_up_there(
    reader: JournalReader,
    make_unit: MakeUnit,
    everything: list[LogRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = make_unit("x").name
    monkeypatch.setattr(journal_reader, "MAX_SEARCH_BYTES", 1)
    found, cursor = [], everything[0].cursor
    while page := await read(reader, name, grep="error", after_cursor=cursor):
        found += [record for record in page if record.kind is LogKind.LINE]
        assert all(record.kind is LogKind.CUT for record in page if record not in everything)
        cursor = page[-1].cursor
    assert messages(found) == ["Error 1", "error 4"]
    newest = await read(reader, name, grep="Error 1")
    assert newest[0].kind is LogKind.CUT
    assert newest[0].timestamp == everything[-1].timestamp


async def test_a_run_is_told_from_the_one_before(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = script(make_unit, "echo one; echo two")
    runs = [await ran(units, unit) for _ in range(2)]
    everything = await read(reader, unit.name)
    for run in runs:
        of_run = await read(reader, unit.name, invocation_id=run)
        assert of_run == [record for record in everything if record.invocation_id == run]
        assert own(of_run) == ["one", "two"]
        assert len(of_run) > 2  # systemd's own messages
        assert messages(await read(reader, unit.name, invocation_id=run, grep="two", priority=6)) == ["two"]


async def test_the_lines_of_a_job_are_those_of_one_run_when_asked(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = entry(make_unit, f"b'MESSAGE=hi\\n{JOB_FIELD}=j\\nPRIORITY=5\\n'")
    runs = [await ran(units, unit) for _ in range(2)]
    assert len(await read(reader, unit.name, job_id="j")) == 2
    (record,) = await read(reader, unit.name, job_id="j", invocation_id=runs[0], priority=5)
    assert record.invocation_id == runs[0]


async def test_instances_are_read_together_and_apart(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit, unit_prefix: str, tmp_path: Path
) -> None:
    site = Site(unit_prefix, tmp_path)
    for runner, instance in (("a", 1), ("a", 2), ("a", 10), ("a-b", 1), ("ab", 2)):
        name = site.unit_name(runner, instance).removeprefix(f"{unit_prefix}-").removesuffix(".service")
        await ran(units, script(make_unit, f"echo {runner} {instance}", name=name))
    together = await reader.read(LogQuery(units=site.log_units("a")))
    assert own(together) == ["a 1", "a 2", "a 10"]
    assert {record.instance for record in together if record.message == "a 10"} == {10}
    assert {record.instance for record in together} == {1, 2, 10}
    assert own(await reader.read(LogQuery(units=(site.unit_name("a", 2),)))) == ["a 2"]
    assert await reader.read(LogQuery(units=site.log_units("none"))) == []


async def test_going_on_after_a_record_loses_none_that_another_condition_selects(
    reader: JournalReader, make_unit: MakeUnit, everything: list[LogRecord]
) -> None:
    """journalctl's --after-cursor would skip the first one, because it is not the cursor's."""
    name = make_unit("x").name
    two = next(record for record in everything if record.message == "two")
    assert messages(await read(reader, name, priority=4, after_cursor=two.cursor)) == ["three"]


@pytest.mark.parametrize("time", ["1", "7fffffffffffff"])
async def test_an_unknown_cursor_is_a_gap_and_one_can_go_on_after_it(
    time: str, reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    name = make_unit("x").name
    (gap,) = await read(reader, name, after_cursor=LOST.format(time))
    assert gap.kind is LogKind.GAP
    await ran(units, script(make_unit, "echo next"))
    following = await read(reader, name, after_cursor=gap.cursor)
    assert own(following) == ["next"]
    assert {record.kind for record in following} == {LogKind.LINE}


async def test_what_follows_an_unknown_cursor_comes_after_the_gap(
    reader: JournalReader, make_unit: MakeUnit, everything: list[LogRecord]
) -> None:
    answer = await read(reader, make_unit("x").name, after_cursor=LOST.format("1"), lines=2)
    assert [record.kind for record in answer] == [LogKind.GAP, LogKind.LINE, LogKind.LINE]
    assert answer[1:] == everything[:2]


@needs_throw_away_machine
async def test_a_cursor_whose_file_is_removed_is_a_gap_before_what_is_left(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit, everything: list[LogRecord]
) -> None:
    await journalctl("--rotate")
    await ran(units, script(make_unit, "echo left"))
    await asyncio.sleep(1.5)  # vacuuming goes by time, too
    await journalctl("--vacuum-time=1s")
    answer = await read(reader, make_unit("x").name, after_cursor=everything[0].cursor)
    assert answer[0].kind is LogKind.GAP
    assert own(answer[1:]) == ["left"]
    # Both, because systemd's message may come first or last: its first one and ours are not lost.
    assert answer[1:] == await read(reader, make_unit("x").name)


@needs_own_rate_limit
async def test_lines_that_journald_drops_are_counted(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    # journald tells of dropped lines when the next line after the interval comes.
    limits = (Property("LogRateLimitIntervalUSec", "t", 1_000_000), Property("LogRateLimitBurst", "u", 20))
    unit = script(make_unit, "for i in $(seq 500); do echo $i; done; sleep 1.5; echo after", more=limits)
    run = await ran(units, unit)
    began = datetime.now(UTC) - timedelta(minutes=1)
    records = await read(reader, unit.name, lines=1000)
    (dropped,) = [record for record in records if record.kind is LogKind.DROPPED]
    lines = [record for record in records if record.message.isdigit()]
    assert (dropped.dropped, dropped.invocation_id) == (500 - len(lines), run)
    assert str(dropped.dropped) in dropped.message
    assert await read(reader, unit.name, priority=3) == [dropped]
    assert await read(reader, unit.name, priority=3, invocation_id=run, grep="x", since=began) == [dropped]


async def test_pieces_of_a_long_line_say_that_it_goes_on(
    reader: JournalReader, units: SystemdManager, make_unit: MakeUnit
) -> None:
    unit = script(make_unit, "printf '%0100000d\\n' 0; echo end")
    await ran(units, unit)
    pieces = [record for record in await read(reader, unit.name) if record.message.startswith("0")]
    assert "".join(piece.message for piece in pieces) == "0" * 100_000
    assert [piece.continues for piece in pieces] == [True] * (len(pieces) - 1) + [False]
