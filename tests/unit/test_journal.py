"""Pure: journal export format into entries, and entries into log records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.errors import JournalUnavailable
from hero_supervisor.journal import ExportParser
from hero_supervisor.journal.entry import MESSAGE_ID_COREDUMP, MESSAGE_ID_DROPPED, record_of, unit_of
from hero_supervisor.records import LogKind

if TYPE_CHECKING:
    from collections.abc import Mapping

META = {"__CURSOR": b"s=1;i=2", "__REALTIME_TIMESTAMP": b"1700000000123456"}


def binary(name: str, value: bytes) -> bytes:
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


STREAM = (
    b"__CURSOR=s=1;i=2\nMESSAGE=a=b\nEMPTY=\n\n"
    + binary("MESSAGE", b"two\nlines\n\n=\xff")
    + binary("EMPTY", b"")
    + b"PRIORITY=3\n\n"
    + b"MESSAGE=first\nMESSAGE=second\n\n"
)
ENTRIES = [
    {"__CURSOR": b"s=1;i=2", "MESSAGE": b"a=b", "EMPTY": b""},
    {"MESSAGE": b"two\nlines\n\n=\xff", "EMPTY": b"", "PRIORITY": b"3"},
    {"MESSAGE": b"first"},
]


def parsed(data: bytes, chunk_size: int, parser: ExportParser) -> list[Mapping[str, bytes]]:
    chunks = [data[start : start + chunk_size] for start in range(0, len(data), chunk_size)]
    return [entry for chunk in chunks for entry in parser.feed(chunk)]


@pytest.mark.parametrize("chunk_size", [*range(1, 20), 1000])
def test_entries_are_the_same_however_the_stream_is_cut(chunk_size: int) -> None:
    assert parsed(STREAM, chunk_size, ExportParser()) == ENTRIES


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
@pytest.mark.parametrize("field", [b"MESSAGE=0123456789\n", binary("MESSAGE", b"0123456789")])
def test_a_long_value_is_cut_and_says_so(field: bytes, chunk_size: int) -> None:
    entries = parsed(field + b"PRIORITY=3\n\n", chunk_size, ExportParser(max_value_bytes=8))
    assert entries == [{"MESSAGE": "01234567 […, 2 more bytes]".encode(), "PRIORITY": b"3"}]


def test_a_value_of_exactly_the_limit_is_whole() -> None:
    assert parsed(b"MESSAGE=01234567\n\n", 3, ExportParser(max_value_bytes=8)) == [{"MESSAGE": b"01234567"}]


@pytest.mark.parametrize("head", [b"MESSAGE=", b"MESSAGE\n" + (1 << 40).to_bytes(8, "little")])
def test_an_endless_value_takes_no_memory(head: bytes) -> None:
    parser = ExportParser(max_value_bytes=100)
    assert list(parser.feed(head)) == []
    for _ in range(100):
        assert list(parser.feed(b"x" * 10_000)) == []
    assert len(parser._buffer) + len(parser._value) <= 100


def test_a_record_has_what_the_journal_knows() -> None:
    entry = {**META, "MESSAGE": b"hi", "PRIORITY": b"3", "_PID": b"7", "_SYSTEMD_INVOCATION_ID": b"ab"}
    record = record_of({**entry, "HERO_JOB_ID": b"j1"})
    assert (record.cursor, record.message, record.priority, record.pid) == ("s=1;i=2", "hi", 3, 7)
    assert (record.invocation_id, record.job_id) == ("ab", "j1")
    assert record.timestamp == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)


def test_what_the_manager_says_of_a_jobs_unit_is_no_line_of_the_job() -> None:
    entry = {**META, "_PID": b"1", "UNIT": b"hero-job-a@j1:1.service", "HERO_JOB_ID": b"j1"}
    assert record_of(entry).job_id is None


def test_a_record_without_details_has_defaults() -> None:
    record = record_of(META)
    assert (record.message, record.priority, record.pid) == ("", 6, None)
    assert (record.invocation_id, record.job_id) == (None, None)


@pytest.mark.parametrize("priority", [b"8", b"-1", b"", b"\xff", b"99999999999999999999", b"7.5"])
def test_a_priority_that_is_none_is_the_default(priority: bytes) -> None:
    assert record_of({**META, "PRIORITY": priority, "_PID": b"\xff"}).priority == 6


@pytest.mark.parametrize(
    ("entry", "invocation_id"),
    [
        ({"_PID": b"1", "INVOCATION_ID": b"unit"}, "unit"),
        ({"_PID": b"9", "INVOCATION_ID": b"forged", "_SYSTEMD_INVOCATION_ID": b"own"}, "own"),
        ({"_PID": b"9", "_SYSTEMD_USER_UNIT": b"init.scope", "USER_INVOCATION_ID": b"unit"}, "unit"),
        ({"_PID": b"1", "_SYSTEMD_INVOCATION_ID": b"own"}, "own"),
    ],
)
def test_only_a_manager_may_name_the_run_it_speaks_of(entry: dict[str, bytes], invocation_id: str) -> None:
    assert record_of({**META, **entry}).invocation_id == invocation_id


@pytest.mark.parametrize("missing", ["__CURSOR", "__REALTIME_TIMESTAMP"])
def test_an_entry_that_is_none_is_reported(missing: str) -> None:
    with pytest.raises(JournalUnavailable):
        record_of({name: value for name, value in META.items() if name != missing})


DROPPED = {"MESSAGE_ID": MESSAGE_ID_DROPPED.encode(), "N_DROPPED": b"130", "_TRANSPORT": b"driver", "_UID": b"0"}


def test_journalds_word_on_dropped_lines_is_a_kind_of_its_own_with_their_number() -> None:
    run = {"_SYSTEMD_INVOCATION_ID": b"journald", "OBJECT_SYSTEMD_INVOCATION_ID": b"unit"}
    record = record_of({**META, **DROPPED, **run, "MESSAGE": b"Suppressed 130 messages from a"})
    assert (record.kind, record.dropped, record.invocation_id) == (LogKind.DROPPED, 130, "unit")


@pytest.mark.parametrize("forged", [{"_TRANSPORT": b"journal"}, {"MESSAGE_ID": b"another"}])
def test_only_journald_can_say_that_lines_were_dropped(forged: dict[str, bytes]) -> None:
    record = record_of({**META, **DROPPED, **forged})
    assert (record.kind, record.dropped) == (LogKind.LINE, 0)


@pytest.mark.parametrize(("reason", "continues"), [(b"line-max", True), (b"pid-change", True), (b"eof", False)])
def test_a_piece_of_a_line_says_that_it_goes_on(reason: bytes, continues: bool) -> None:
    assert record_of({**META, "_LINE_BREAK": reason}).continues is continues
    assert record_of(META).continues is False


@pytest.mark.parametrize(
    ("entry", "user", "unit"),
    [
        ({"_SYSTEMD_UNIT": b"a"}, False, "a"),
        ({"_SYSTEMD_UNIT": b"user@1.service", "_SYSTEMD_USER_UNIT": b"a"}, True, "a"),
        ({"_SYSTEMD_UNIT": b"user@1.service", "_SYSTEMD_USER_UNIT": b"a"}, False, "user@1.service"),
        ({"_SYSTEMD_UNIT": b"init.scope", "_PID": b"1", "UNIT": b"a"}, False, "a"),
        ({"_SYSTEMD_USER_UNIT": b"init.scope", "_PID": b"9", "USER_UNIT": b"a"}, True, "a"),
        ({"_SYSTEMD_UNIT": b"b", "_PID": b"9", "UNIT": b"forged"}, False, "b"),
        ({"_SYSTEMD_UNIT": b"journald", "_UID": b"0", "OBJECT_SYSTEMD_UNIT": b"a"}, False, "a"),
        ({"_SYSTEMD_UNIT": b"b", "_UID": b"7", "OBJECT_SYSTEMD_UNIT": b"forged"}, False, "b"),
        ({"_UID": b"0", "MESSAGE_ID": MESSAGE_ID_COREDUMP.encode(), "COREDUMP_UNIT": b"a"}, False, "a"),
        ({"_UID": b"0", "MESSAGE_ID": b"another", "COREDUMP_UNIT": b"a", "_SYSTEMD_UNIT": b"b"}, False, "b"),
        ({}, False, ""),
    ],
)
def test_the_unit_an_entry_is_about_is_the_one_that_journalctl_finds_it_by(
    entry: dict[str, bytes], user: bool, unit: str
) -> None:
    assert unit_of(entry, user=user) == unit


@pytest.mark.parametrize(("unit", "instance"), [("hero-runner-a.service", 1), ("hero-runner-a@12.service", 12)])
def test_a_record_names_the_instance(unit: str, instance: int) -> None:
    assert record_of(META, unit).instance == instance
