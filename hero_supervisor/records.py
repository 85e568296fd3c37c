"""What the outside reports, as plain data: a runner's status, a summary of all, a line of its log, the end of a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from .schema import Moment


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
    #: How it is, in one word.
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
    since: Moment | None
    #: How often systemd started it again by itself since it was started.
    restarts: int
    #: systemd's word for how the last run ended: success, exit-code, signal, oom-kill, …
    result: str
    #: Exit status or signal number of the main process's last end; null while none is known.
    exit_status: int | None
    #: When the supervisor starts it again, after systemd has given it up; null when it does not.
    next_start: Moment | None


class RunnerStatus(InstanceStatus, frozen=True, kw_only=True):
    """A runner: of its instances the one that is worst off, and all of them."""

    #: What is wanted of it: running, stopped, drained (to finish its jobs and stop), or ended when its run is over for
    #: good.
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


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the supervisor can do its work, and what is in its way."""

    is_ready: bool
    #: Why systemd, or Redis, cannot be used now; ``None`` when it can.
    systemd: str | None
    redis: str | None


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
    DRAIN = "drain"
    RESET = "reset"
    RELOAD = "reload"
    SIGNAL = "signal"
    KILL = "kill"
    FREEZE = "freeze"
    THAW = "thaw"
    #: Make runners as a declared set says; it has a method of its own, ``apply_runners``.
    APPLY = "apply"


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
    started_at: Moment
    #: Null while it runs.
    ended_at: Moment | None
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
    #: What it is and what it would be.
    before: Any
    after: Any
    #: What it takes to make the change.
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


class RenderedProperty(msgspec.Struct, frozen=True, kw_only=True):
    """One property of a unit. Source: org.freedesktop.systemd1(5)."""

    #: Its name on D-Bus.
    name: str
    #: The D-Bus type of its value.
    signature: str
    #: Arrays of bytes are texts here.
    value: Any


class RenderedUnit(msgspec.Struct, frozen=True, kw_only=True):
    """The unit that a definition of a runner makes."""

    name: str
    properties: tuple[RenderedProperty, ...]
    #: A ``systemd-run`` line for a shell that starts a unit with the same properties.
    command_line: str
    #: Names of properties that the line cannot say.
    unsayable: tuple[str, ...]
    #: Names of properties that the unit should have and that this systemd does not know.
    left_out: tuple[str, ...]


class LogKind(StrEnum):
    """What a log record stands for."""

    #: A journal entry.
    LINE = "line"
    #: journald dropped lines of the unit here, because it wrote more than its rate limit; also a journal entry.
    DROPPED = "dropped"
    #: No entry: records are missing here. The journal no longer has them, or a follower was too slow for them.
    GAP = "gap"
    #: No entry: a search ended here before it had seen everything; nothing is lost.
    CUT = "cut"


class Priority(StrEnum):
    """syslog's priorities, the most important one first. Source: syslog(3), journalctl(1)."""

    EMERG = "emerg"
    ALERT = "alert"
    CRIT = "crit"
    ERR = "err"
    WARNING = "warning"
    NOTICE = "notice"
    INFO = "info"
    DEBUG = "debug"

    @property
    def level(self) -> int:
        """Its number, from 0 (emergency) to 7 (debug)."""
        return list(Priority).index(self)


class LogRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One journal entry of a runner, or a note on what the log does not have."""

    #: Position in the journal; give it as ``after_cursor`` to read on from here.
    cursor: str
    #: When it was written.
    timestamp: Moment
    #: Everything but ``line`` tells of lines that are not here.
    kind: LogKind = LogKind.LINE
    #: syslog priority, from 0 (emergency) to 7 (debug).
    priority: int
    #: What was written.
    message: str
    #: Process that wrote it; null when unknown.
    pid: int | None
    #: Run of the unit it belongs to; null when unknown.
    invocation_id: str | None
    #: Instance of the runner, from 1 up.
    instance: int = 1
    #: Job that was executed, for lines that the bundled runner tags.
    job_id: str | None
    #: How many lines are missing, for ``dropped`` and ``gap``; 0 when unknown.
    dropped: int = 0
    #: The line does not end here: journald breaks lines at its ``LineMax``, 48 KiB, and where another process of the
    #: unit goes on with one. The rest, if there is any, is in the unit's next records.
    continues: bool = False


class ExitReason(StrEnum):
    """Why a run of a runner ended, in one word. docs/runners.md says what each means."""

    EXIT = "exit"
    SIGNAL = "signal"
    CORE_DUMP = "core-dump"
    OOM_KILL = "oom-kill"
    TIMEOUT = "timeout"
    WATCHDOG = "watchdog"
    #: It ended by itself, and systemd refused to start it yet again.
    START_LIMIT = "start-limit"
    #: Somebody stopped it; the three after it are the supervisor's own causes.
    OPERATOR = "operator"
    REPLACED = "replaced"
    MAX_AGE = "max-age"
    UNHEALTHY = "unhealthy"
    #: Its program was never executed.
    NOT_STARTED = "not-started"


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How one run of a runner ended. There is one for each run, known by its invocation id."""

    runner: str
    #: Which of the runner's instances, from 1.
    instance: int
    #: Name of its unit.
    unit: str
    #: systemd's id of the run.
    invocation_id: str
    #: Why it ended, in a word.
    reason: ExitReason
    #: The reason as a sentence for people.
    explanation: str
    #: systemd's word for how the unit ended: success, exit-code, signal, timeout, oom-kill, …
    result: str
    #: Exit status of the main process; null when a signal ended it, or when systemd did not tell.
    exit_code: int | None
    #: Name of the signal that ended the main process, as in SIGKILL; null likewise.
    signal: str | None
    #: When systemd began to start it; null when it never executed anything, or the journal does not reach back so far.
    started_at: Moment | None
    ended_at: Moment
    #: Seconds from the one to the other.
    duration_s: float | None
    #: Most memory the run used, in bytes; null when systemd does not tell (it does from version 256 on).
    memory_peak_bytes: int | None
    #: CPU time of the run in seconds; null when systemd does not tell (it does from one second on).
    cpu_s: float | None
    #: Whether systemd was to start it again by itself.
    will_restart: bool
    #: The last lines that it wrote, oldest first.
    log_tail: tuple[str, ...]
    #: Position of the end in the journal.
    cursor: str


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a queue allows; null is the usual."""

    #: Most jobs of it that are executed at a time, over all processes and hosts; usually no limit.
    max_running: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    #: How many jobs may be taken in a second, on average; usually no limit.
    rate: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    #: How many may be taken at once when none were for a while; usually 1. Only with ``rate``.
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    #: Most jobs that wait in it; further ones are refused. Usually 5,000,000.
    max_length: Annotated[int, Meta(ge=1, le=100_000_000)] | None = None
    #: Most ended jobs that are kept; usually 50,000.
    max_ended: Annotated[int, Meta(ge=0, le=10_000_000)] | None = None


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """How full the queue of a runner is, and what went through it."""

    runner: str
    #: Whether no jobs are taken from it.
    is_paused: bool
    #: The limits in force.
    limits: QueueLimits
    #: Jobs that may be taken; whose time has not come; that wait for others; that were handed out to be executed.
    pending: int
    scheduled: int
    waiting: int
    taken: int
    #: Dead letters, and all jobs that are known, ended ones included.
    dead: int
    known: int
    #: Seconds that the oldest pending job has waited; null when there is none.
    oldest_s: float | None
    #: What has happened since the queue was made: ``queued``, ``finished``, ``error``, ``cancelled``, ``retried``,
    #: ``recovered``, ``dead``.
    counts: dict[str, int]
    #: The same for each second of the last minute; empty as long as there are no two samples.
    per_second: dict[str, float] = {}
    #: Why demand last changed the number of instances; null when it never did.
    scaling: str | None = None
    #: When this was so.
    at: Moment


class QueuedJob(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one of several jobs that were to be queued."""

    #: Its id, or that of the job with its idempotency key; null when it was not accepted.
    job_id: str | None
    #: Why it was not, and the kind of that error; null when it was.
    error: str | None = None
    kind: str | None = None
