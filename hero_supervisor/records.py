"""What the outside reports, as plain data: a runner's status, a summary of all, a line of its log."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class RunnerState(StrEnum):
    """A runner's status in one word, made from systemd's active and sub state."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    #: It exited and systemd waits before it starts it again.
    BACKOFF = "backoff"
    #: It exited, or could not start, and nothing will start it again by itself.
    FAILED = "failed"


class RunnerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What systemd says of a runner's unit. Source: org.freedesktop.systemd1(5)."""

    id: str
    status: RunnerState
    #: Name of its unit, for ``systemctl status`` and ``journalctl -u``.
    unit: str
    #: systemd's words.
    active_state: str
    sub_state: str
    #: Process id of the main process; null while there is none.
    main_pid: int | None
    #: systemd's id of this run of the unit; null when it never ran.
    invocation_id: str | None
    #: When the status last changed; null when it never ran.
    since: datetime | None
    #: How often systemd started it again by itself since it was started.
    restarts: int
    #: systemd's word for how the last run ended: success, exit-code, signal, oom-kill, …
    result: str
    #: Exit status or signal number of the main process's last end; null while none is known.
    exit_status: int | None


class StatusSummary(msgspec.Struct, frozen=True, kw_only=True):
    """All runners at a glance."""

    total: int
    #: How many runners are in each status; every status is present.
    counts: dict[str, int]
    #: Runner id to status.
    runners: dict[str, RunnerState]


class RunnerOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one runner in an operation on many."""

    id: str
    #: The status after the operation; null when it failed.
    status: RunnerState | None = None
    #: Why it failed; null when it did not.
    error: str | None = None
    #: The error's kind; null when it did not fail.
    kind: str | None = None


class LogRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One journal entry of a runner."""

    #: Position in the journal; give it as ``after_cursor`` to read on from here.
    cursor: str
    timestamp: datetime
    #: syslog priority, from 0 (emergency) to 7 (debug).
    priority: int
    message: str
    #: Process that wrote it; null when unknown.
    pid: int | None
    #: Run of the unit it belongs to; null when unknown.
    invocation_id: str | None
    #: Job that was executed, for lines that the bundled runner tags.
    job_id: str | None
