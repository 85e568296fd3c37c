"""``logging`` for workers: lines go to the journal with the job they belong to, or to stderr where it is not there."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Final

from hero_supervisor.journald import JOURNAL_SOCKET, JournalSocket, encode

from .context import current_job
from .output import MAX_LINE_BYTES

if TYPE_CHECKING:
    from .options import WorkerOptions

#: Levels of ``logging`` as priorities of syslog(3), from the highest.
_PRIORITIES: Final = (
    *((logging.CRITICAL, "2"), (logging.ERROR, "3"), (logging.WARNING, "4"), (logging.INFO, "6")),
    (logging.NOTSET, "7"),
)


class JobLogHandler(logging.Handler):
    """Writes each record as an entry of the journal; one with ``job_id``, or logged by a handler, is that job's."""

    def __init__(self, runner: str, namespace: str, path: str = JOURNAL_SOCKET) -> None:
        """Args: the runner and its namespace, for the fields of entries; the socket of journald."""
        super().__init__()
        self._fields = {"SYSLOG_IDENTIFIER": runner, "HERO_RUNNER": runner, "HERO_NAMESPACE": namespace}
        self._socket = JournalSocket(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; to stderr when journald does not take it."""
        try:
            message = self.format(record)
            if not all(map(self._socket.send, self._entries(record, message))):
                sys.stderr.write(message + "\n")
        except Exception:  # what every handler does: a line that cannot be logged ends nobody
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _entries(self, record: logging.LogRecord, message: str) -> list[bytes]:
        head = encode({"PRIORITY": _priority(record.levelno), **self._fields, **_job_fields(record)})
        raw = message.encode(errors="backslashreplace")
        starts = range(0, max(len(raw), 1), MAX_LINE_BYTES)
        return [head + encode({"MESSAGE": raw[start : start + MAX_LINE_BYTES]}) for start in starts]


def set_up_logging(options: WorkerOptions) -> None:
    """Send what is logged to the journal, or to stderr if that goes elsewhere; not if logging is set up already."""
    if logging.getLogger().handlers:
        return
    handler = JobLogHandler(options.runner, options.namespace) if _is_stderr_journal() else logging.StreamHandler()
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])


def _is_stderr_journal() -> bool:
    """Whether stderr goes to the journal. Source: systemd.exec(5), JOURNAL_STREAM, which children inherit."""
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def _priority(level: int) -> str:
    return next(priority for least, priority in _PRIORITIES if level >= least)


def _job_fields(record: logging.LogRecord) -> dict[str, str]:
    context = current_job.get()
    job_id = getattr(record, "job_id", None) or (context and context.job_id)
    attempt = getattr(record, "attempt", None) or (context and context.attempt)
    fields = {"HERO_JOB_ID": job_id, "HERO_ATTEMPT": attempt}
    return {name: str(value) for name, value in fields.items() if value}
