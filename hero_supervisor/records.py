"""What the outside reports, as plain data: a runner's status, a summary of all, a line of its log."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class RunnerState(StrEnum):
    """A runner's status in one word, made from systemd's active and sub state."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    #: It exited and is going to be started again, by systemd or, after many failures, by the supervisor.
    BACKOFF = "backoff"
    #: It exited, or could not start, and nothing will start it again by itself.
    FAILED = "failed"


class InstanceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What systemd says of the unit of one instance of a runner. Source: org.freedesktop.systemd1(5)."""

    #: Id of the runner.
    id: str
    #: Number of the instance, from 1 up.
    instance: int
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
    #: When the supervisor starts it again, after systemd has given it up; null when it does not.
    next_start: datetime | None


class RunnerStatus(InstanceStatus, frozen=True, kw_only=True):
    """A runner: of its instances the one that is worst off, and all of them."""

    #: What is wanted of it: running, stopped, or ended when its run is over for good.
    desired: str
    #: All instances, by number.
    instances: tuple[InstanceStatus, ...]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What processes use. Figures are null while nothing runs, and as said at each.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html.
    """

    #: Seconds since it became ready; null before, and after its end.
    uptime_s: float | None
    #: How often systemd started it again by itself since it was started.
    restarts: int
    #: Processor time since the start of the run, in seconds.
    cpu_s: float | None
    #: Processor use in percent of one processor, so it may exceed 100: since the previous sample, whoever took it,
    #: or since the start of the run when there is none of the last hour.
    cpu_percent: float | None
    #: Memory in use, page cache included. Null, as the four below, where the host does not count it: its controllers
    #: are bound to cgroup version 1, or not delegated to the user manager.
    memory_bytes: int | None
    #: Most memory in use at any time of the run. Also null before Linux 5.19.
    memory_peak_bytes: int | None
    #: Threads of all processes.
    tasks: int | None
    #: Bytes read from and written to block devices; what the page cache served is not counted.
    io_read_bytes: int | None
    io_write_bytes: int | None
    #: Processes; 0 while nothing runs.
    processes: int


class InstanceStats(Usage, frozen=True, kw_only=True):
    """What the processes of one instance of a runner use."""

    #: Id of the runner.
    id: str
    #: Number of the instance, from 1 up.
    instance: int
    #: Name of its unit.
    unit: str
    #: systemd's id of the run that the figures belong to; null when it never ran.
    invocation_id: str | None


class RunnerStats(Usage, frozen=True, kw_only=True):
    """What the instances of a runner use together: the sum of what is known of each.

    So ``memory_peak_bytes`` is what they may have used at most. ``uptime_s`` is that of the youngest one.
    """

    id: str
    #: All instances, by number.
    instances: tuple[InstanceStats, ...]


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
    #: Whether it has been worked on.
    is_done: bool = False
    #: The status after the operation; null when it failed, and when the runner is gone.
    status: RunnerState | None = None
    #: Why it failed, its kind, and what to do about it; null when it did not.
    error: str | None = None
    kind: str | None = None
    hint: str | None = None


class Verb(StrEnum):
    """What can be done to many runners at once; each is what the method ``…_runner`` does to one."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    ROLL = "roll"
    REMOVE = "remove"
    RELOAD = "reload"
    SIGNAL = "signal"
    KILL = "kill"
    FREEZE = "freeze"
    THAW = "thaw"


class OperationState(StrEnum):
    """Where an operation on many runners is."""

    RUNNING = "running"
    #: All runners have been worked on; how that went is told for each.
    DONE = "done"
    #: It was stopped half way.
    CANCELLED = "cancelled"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation on many runners."""

    id: str
    verb: Verb
    state: OperationState
    started_at: datetime
    #: Null while it runs.
    ended_at: datetime | None
    #: One for each runner, in the order in which they are worked on.
    outcomes: tuple[RunnerOutcome, ...]


class ChangeEffect(StrEnum):
    """What the change of a field asks for."""

    #: It takes effect at once.
    LIVE = "live"
    #: It takes effect when the processes are started anew.
    RESTART = "restart"


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a definition that would change."""

    #: Path of the field, as in ``limits.tasks_max``.
    field: str
    before: Any
    after: Any
    effect: ChangeEffect


class PlanAction(StrEnum):
    """What would be done about a runner."""

    ADD = "add"
    NOTHING = "nothing"
    #: Changed while it runs.
    CHANGE = "change"
    #: Changed and, if it runs, restarted.
    RESTART = "restart"
    REMOVE = "remove"


class RunnerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a new definition would change."""

    id: str
    action: PlanAction
    changes: tuple[FieldChange, ...]


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
