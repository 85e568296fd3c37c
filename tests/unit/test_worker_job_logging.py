"""Log records of workers, as entries of a socket that stands for journald's."""

from __future__ import annotations

import contextvars
import logging
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.job import Job
from hero_supervisor.worker import JobContext, JobLogHandler
from hero_supervisor.worker.context import current_job
from tests.unit.test_worker_journal_log import decode, listening

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with listening(tmp_path / "journal") as sock:
        yield sock


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[logging.Logger]:
    handler = JobLogHandler("r", "hero", str(tmp_path / "journal"))
    for logger in (logging.getLogger(), logging.getLogger("hero_supervisor.job")):
        logger.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)
    yield logging.getLogger("somebody")
    logging.getLogger().removeHandler(handler)
    logging.getLogger().setLevel(logging.WARNING)
    handler.close()


def entry(sock: socket.socket) -> dict[str, bytes]:
    return decode(sock.recv(1_000_000))


@pytest.fixture
def context() -> JobContext:
    return JobContext(Job(id="j1", payload=""), 2, lambda _: None)


OWN = {"SYSLOG_IDENTIFIER": b"r", "HERO_RUNNER": b"r", "HERO_NAMESPACE": b"hero"}
JOB = {"HERO_JOB_ID": b"j1", "HERO_ATTEMPT": b"2"}


def test_a_line_of_no_job_has_the_runner(logger: logging.Logger, journald: socket.socket) -> None:
    logger.warning("a\nb")
    assert entry(journald) == {**OWN, "PRIORITY": b"4", "MESSAGE": b"a\nb"}


def test_what_a_handler_logs_has_its_job(logger: logging.Logger, journald: socket.socket, context: JobContext) -> None:
    def handler() -> None:
        current_job.set(context)
        logger.info("inside")

    contextvars.copy_context().run(handler)
    logger.info("outside")
    assert entry(journald) == {**OWN, **JOB, "PRIORITY": b"6", "MESSAGE": b"inside"}
    assert "HERO_JOB_ID" not in entry(journald)


def test_the_logger_of_a_job_has_its_job_everywhere_and_keeps_what_is_given(
    logger: logging.Logger, journald: socket.socket, context: JobContext, caplog: pytest.LogCaptureFixture
) -> None:
    context.log.error("boom", extra={"mine": 1})
    assert entry(journald) == {**OWN, **JOB, "PRIORITY": b"3", "MESSAGE": b"boom"}
    assert caplog.records[0].__dict__["mine"] == 1


def test_a_long_line_comes_in_pieces(logger: logging.Logger, journald: socket.socket) -> None:
    logger.info("x" * 100_000)
    pieces = [entry(journald)["MESSAGE"] for _ in range(3)]
    assert b"".join(pieces) == b"x" * 100_000


def test_without_journald_a_line_is_on_stderr(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logger.info("hello")
    assert capsys.readouterr().err == "hello\n"


def test_text_that_is_not_unicode_is_logged(logger: logging.Logger, journald: socket.socket) -> None:
    logger.info("\ud800")
    assert entry(journald)["MESSAGE"] == b"\\ud800"
