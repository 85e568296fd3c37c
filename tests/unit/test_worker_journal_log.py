"""The encoder and the sending, against a socket that stands for journald's."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.journald import encode
from hero_supervisor.worker.journal_log import JobLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENTRY = encode({"PRIORITY": "6", "HERO_JOB_ID": "j1"})


@pytest.fixture
def log(tmp_path: Path) -> Iterator[JobLog]:
    log = JobLog(str(tmp_path / "journal"))
    yield log
    log.close()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with listening(tmp_path / "journal") as sock:
        yield sock


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(str(path))
    return sock


def decode(record: bytes) -> dict[str, bytes]:
    """Read an entry as journald does."""
    fields = {}
    while record:
        line, _, record = record.partition(b"\n")
        name, is_text, value = line.partition(b"=")
        if not is_text:
            size = int.from_bytes(record[:8], "little")
            value, record = record[8 : 8 + size], record[8 + size + 1 :]
        fields[name.decode()] = value
    return fields


@pytest.mark.parametrize("value", [b"", b"plain", b"a=b", b"two\nlines\n", b"\xff\x00\n", "π".encode()])
def test_any_value_survives_the_encoding(value: bytes) -> None:
    assert decode(encode({"A": "1", "MESSAGE": value, "B": "2"})) == {"A": b"1", "MESSAGE": value, "B": b"2"}


async def test_a_line_arrives_with_the_fields_of_its_job(log: JobLog, journald: socket.socket) -> None:
    await log.write(ENTRY, b"hello \xff", stream="stdout")
    assert decode(journald.recv(10_000)) == {"PRIORITY": b"6", "HERO_JOB_ID": b"j1", "MESSAGE": b"hello \xff"}


async def test_the_longest_piece_fits_a_datagram(log: JobLog, journald: socket.socket) -> None:
    await log.write(ENTRY, b"x" * 48 * 1024, stream="stdout")
    assert len(decode(journald.recv(100_000))["MESSAGE"]) == 48 * 1024


async def test_a_flood_waits_for_journald_and_loses_nothing(log: JobLog, journald: socket.socket) -> None:
    async def flood() -> None:
        for number in range(2000):
            await log.write(ENTRY, str(number).encode(), stream="stdout")

    flooding = asyncio.create_task(flood())
    loop = asyncio.get_running_loop()
    received = [decode(await loop.sock_recv(journald, 10_000))["MESSAGE"] for _ in range(2000)]
    await flooding
    assert received == [str(number).encode() for number in range(2000)]


async def test_a_new_journald_is_found(log: JobLog, tmp_path: Path) -> None:
    with listening(tmp_path / "journal"):
        await log.write(ENTRY, b"one", stream="stdout")
    (tmp_path / "journal").unlink()
    with listening(tmp_path / "journal") as journald:
        await log.write(ENTRY, b"two", stream="stdout")
        assert decode(journald.recv(10_000))["MESSAGE"] == b"two"


async def test_without_journald_lines_are_printed(log: JobLog, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    await log.write(ENTRY, b"out \xff", stream="stdout")
    await log.write(ENTRY, b"err", stream="stderr")
    assert capfdbinary.readouterr() == (b"out \xff\n", b"err\n")
