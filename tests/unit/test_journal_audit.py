"""The audit log: what is sent to journald, what is asked of ``journalctl``, and what is made of its answer."""

from __future__ import annotations

import asyncio
import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from hero_supervisor.access_records import AuditNote, AuditQuery
from hero_supervisor.errors import InvalidInput, JournalUnavailable
from hero_supervisor.journal import AuditJournal
from hero_supervisor.journal.audit import entry_of, own_unit
from hero_supervisor.journald import JournalSocket
from hero_supervisor.rpc.audit import objects_in
from hero_supervisor.runner import Runner
from tests.unit.test_worker_journal_log import decode, listening

if TYPE_CHECKING:
    from pathlib import Path

CURSOR = "s={0};i=1;b={0};m=1;t=1;x=1".format("0" * 32)
NOTE = AuditNote(
    who="key ci", peer="127.0.0.1", method="start_runner", objects={"runner": "a"}, result="ok", duration_s=0.0125
)


def journal_with(tmp_path: Path, answer: str, *, status: int = 0) -> AuditJournal:
    """Return a journal whose ``journalctl`` notes its arguments and answers like this."""
    program = tmp_path / "journalctl"
    (tmp_path / "answer").write_text(answer)
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/asked\ncat {tmp_path}/answer\nexit {status}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return AuditJournal(namespace="hero", socket=JournalSocket(str(tmp_path / "socket")), program=str(program))


def exported(number: int, **changes: str) -> str:
    fields = {
        "__CURSOR": CURSOR.replace("i=1", f"i={number}"),
        "__REALTIME_TIMESTAMP": str(1_000_000 * number),
        "HERO_AUDIT_WHO": "uid 0",
        "HERO_AUDIT_PEER": "process 1",
        "HERO_AUDIT_METHOD": f"method{number}",
        "HERO_AUDIT_OBJECTS": '{"runner":"a"}',
        "HERO_AUDIT_RESULT": "ok",
        "HERO_AUDIT_DURATION_USEC": "1500",
        **changes,
    }
    return "".join(f"{name}={value}\n" for name, value in fields.items()) + "\n"


async def test_calls_that_wait_for_journald_are_put_together_if_they_are_alike(tmp_path: Path) -> None:
    with listening(tmp_path / "socket") as journald:
        journal = journal_with(tmp_path, "")
        ids = ["a", "b", "c, …", "a"]
        notes = [replace(NOTE, objects={"runner": "r", "job": id}, duration_s=i + 1.0) for i, id in enumerate(ids)]
        others = [replace(NOTE, result="conflict"), replace(NOTE, who="uid 0"), replace(NOTE, method="stop_runner")]
        await asyncio.gather(*map(journal.write, [*notes, *others]))
        await journal.close()
        written = [decode(journald.recv(65536)) for _ in range(4)]
    assert written[0]["HERO_AUDIT_CALLS"] == b"4"
    assert written[0]["HERO_AUDIT_OBJECTS"].decode() == '{"runner":"r","job":"a, b, c, …"}'
    assert written[0]["HERO_AUDIT_DURATION_USEC"] == b"4000000"
    assert written[0]["MESSAGE"].decode().endswith("called start_runner 4 times on runner r, job a, b, c, …: ok")
    assert [fields["HERO_AUDIT_CALLS"] for fields in written[1:]] == [b"1"] * 3


async def test_an_entry_has_its_fields(tmp_path: Path) -> None:
    with listening(tmp_path / "socket") as journald:
        journal = journal_with(tmp_path, "")
        await journal.write(NOTE)
        await journal.close()
        fields = decode(journald.recv(65536))
    assert fields == {
        "MESSAGE": b"audit: key ci from 127.0.0.1 called start_runner on runner a: ok",
        "PRIORITY": b"5",
        "SYSLOG_IDENTIFIER": b"hero-supervisor",
        "HERO_AUDIT": b"hero",
        "HERO_AUDIT_WHO": b"key ci",
        "HERO_AUDIT_PEER": b"127.0.0.1",
        "HERO_AUDIT_METHOD": b"start_runner",
        "HERO_AUDIT_OBJECTS": b'{"runner":"a"}',
        "HERO_AUDIT_RESULT": b"ok",
        "HERO_AUDIT_DURATION_USEC": b"12500",
        "HERO_AUDIT_CALLS": b"1",
    }


async def test_without_journald_it_is_a_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await journal_with(tmp_path, "").write(NOTE)
    assert "key ci" in caplog.text


async def test_the_newest_entries_come_newest_last(tmp_path: Path) -> None:
    journal = journal_with(tmp_path, exported(2) + "__CURSOR=x\nMESSAGE=forged\n\n" + exported(1))
    found = await journal.read(AuditQuery(limit=5, method="m", who="key a b", since=datetime(1970, 1, 1, tzinfo=UTC)))
    assert [(entry.method, entry.at.timestamp(), entry.duration_s) for entry in found] == [
        ("method1", 1.0, 0.0015),
        ("method2", 2.0, 0.0015),
    ]
    asked = (tmp_path / "asked").read_text().splitlines()
    for argument in ("--reverse", "--lines=5", "--since=@0.000000", "HERO_AUDIT_METHOD=m", "HERO_AUDIT_WHO=key a b"):
        assert argument in asked
    # Only what the service itself wrote counts.
    assert f"_UID={os.geteuid()}" in asked
    assert "HERO_AUDIT=hero" in asked


async def test_after_a_cursor_the_next_entries_come(tmp_path: Path) -> None:
    journal = journal_with(tmp_path, exported(1) + exported(2) + exported(3) + exported(4))
    since = datetime.fromtimestamp(3, UTC)
    assert [e.method for e in await journal.read(AuditQuery(after_cursor=CURSOR, limit=2))] == ["method2", "method3"]
    assert [e.method for e in await journal.read(AuditQuery(after_cursor=CURSOR, since=since))] == [
        "method3",
        "method4",
    ]
    assert f"--cursor={CURSOR}" in (tmp_path / "asked").read_text().splitlines()


@pytest.mark.parametrize("cursor", ["", "x", f"{CURSOR}\n", f"{CURSOR} --rotate"])
async def test_what_is_no_cursor_is_refused(tmp_path: Path, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        await journal_with(tmp_path, "").read(AuditQuery(after_cursor=cursor))


async def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable):
        await journal_with(tmp_path, "", status=1).read(AuditQuery())


@pytest.mark.parametrize(
    "changes", [{"HERO_AUDIT_OBJECTS": "[]"}, {"HERO_AUDIT_DURATION_USEC": "x"}, {"__REALTIME_TIMESTAMP": "9" * 30}]
)
def test_what_is_no_entry_of_ours_is_left_out(changes: dict[str, str]) -> None:
    lines = exported(1, **changes).strip().splitlines()
    assert entry_of({name: value.encode() for name, _, value in (line.partition("=") for line in lines)}) is None


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/hero-supervisor.service\n", "hero-supervisor.service"),
        ("0::/system.slice/a.service/sub\n", "a.service"),
        ("3:pids:/x\n1:name=systemd:/system.slice/a.service\n0::/\n", "a.service"),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/b.service\n", "b.service"),
        ("0::/user.slice/user-7.slice/session-1.scope\n", "session-1.scope"),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_the_services_own_unit_is_found(cgroups: str, unit: str) -> None:
    assert own_unit(cgroups) == unit


@pytest.mark.parametrize(
    ("arguments", "objects"),
    [
        ({}, {}),
        ({"runner": "a", "signal": "SIGHUP"}, {"runner": "a"}),
        ({"runner": {"id": "a", "env": {"id": "no"}}}, {"runner": "a"}),
        ({"runner": Runner(id="a", command=("/bin/true",))}, {"runner": "a"}),
        ({"job": {"id": "j", "runner": "a", "payload": "no"}}, {"runner": "a", "job": "j"}),
        ({"runner": "a", "job": {"payload": "no"}}, {"runner": "a"}),
        ({"job_id": "j"}, {"job": "j"}),
        ({"runners": ["a", "b-*", {"id": "c"}]}, {"runner": "a, b-*, c"}),
        ({"jobs": [{"id": str(number)} for number in range(99)]}, {"job": "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"}),
        ({"runner": "a\nb\x1b[0m" + "x" * 200}, {"runner": "a?b?[0m" + "x" * 73}),
        ({"runner": 5, "job": None, "schedule": [[{}]]}, {}),
        ({"payload": "no", "secret": "no", "grep": "no"}, {}),
    ],
)
def test_of_arguments_only_ids_are_written_down(arguments: dict[str, object], objects: dict[str, str]) -> None:
    assert objects_in(arguments) == objects
