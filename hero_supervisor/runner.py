"""A runner as data: the configuration of one long-lived worker process, and what makes it valid.

A runner owns no process and no connection; ``unit/`` renders it into what systemd runs. Parts of a definition that are
nouns of their own have their types and rules in ``restart``, ``limits``, ``environment``, ``sandbox`` and
``extra_properties``; what concerns several parts is here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, cast

import msgspec
from msgspec import Meta

from . import schema
from .definition import demand as demands
from .definition import environment, extra_properties, limits, probe, restart
from .definition.command import command_faults
from .definition.demand import Demand, IdlePing
from .definition.environment import Credentials
from .definition.extra_properties import ExtraProperties
from .definition.labels import LabelKey, LabelValue
from .definition.limits import Limits, LogRate, OomPolicy
from .definition.original import from_original, is_original
from .definition.probe import Probe
from .definition.restart import Backoff, PositiveSeconds, RestartPolicy, Seconds
from .definition.sandbox import Sandbox
from .errors import Fault, InvalidRunner

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What a runner id looks like. It becomes part of a unit name and of a Redis key, so nothing in it needs escaping.
#: The look-ahead is for Python, whose ``$`` also matches before a final newline.
RUNNER_ID_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$(?!\n)"

#: Fields about processes that stay, which a runner does not have whose jobs are units.
_OF_PROCESSES: Final = (
    *("readiness_probe", "liveness_probe", "watchdog_s", "reload_signal", "reload_command", "drain_signal"),
    *("max_age_s", "restart_calendar"),
)

#: Fields that a runner may have whose processes are not ours.
_OF_EXTERNAL: Final = frozenset({"external", "description", "labels", "autostart", "queue", "protocol"})

RunnerId = Annotated[
    str,
    Meta(
        pattern=RUNNER_ID_PATTERN,
        description="Id of a runner: lower-case letters, digits, '-' and '_'; at most 63 characters.",
    ),
]
LongSeconds = Annotated[float, Meta(gt=0, le=366 * 86_400, description="Seconds, more than 0, at most a year.")]

#: Signals that programs take for "end" or "read your configuration again".
StopSignal = Literal["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"]
ReloadSignal = Literal["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"]


class Executor(StrEnum):
    """What the bundled runner does with a job's payload."""

    PYTHON = "python"
    SHELL = "shell"


class JobProtocol(StrEnum):
    """How the jobs of a runner are executed. docs/protocol.md describes each."""

    #: Its processes take ids from a Redis list with BLPOP, and write into the jobs' hashes themselves.
    LIST = "list"
    #: Its processes take jobs with the scripts of this package, as ``hero_supervisor.worker`` does.
    CLAIM = "claim"
    #: It has no processes: each job is a unit of its own.
    UNIT = "unit"


class Readiness(StrEnum):
    """When systemd calls a runner started."""

    #: As soon as its program has been executed.
    EXEC = "exec"
    #: When it sends ``READY=1`` (sd_notify(3)).
    NOTIFY = "notify"


class Milestone(StrEnum):
    """What another runner must have reached before a runner is started."""

    #: systemd calls it started, as its ``readiness`` says.
    STARTED = "started"
    #: It is started, and its probe, if it has one, says that it works.
    READY = "ready"


class Runner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of a worker, which runs as one process or as several alike.

    Either ``command`` or ``executor`` is given: a program of the user's own, or the bundled runner. Or it is
    ``external``: its processes are somebody else's, and only its jobs are ours.
    """

    #: Identity of the runner, unique in its namespace.
    id: RunnerId
    #: Program and arguments, given to the process byte for byte. The program is an absolute path, or a bare name
    #: that systemd looks up in its own fixed search path.
    command: tuple[str, ...] = ()
    #: Run the bundled ``hero-runner`` with this executor instead of a ``command``.
    executor: Executor | None = None
    #: Its processes are started and watched by others, and take jobs from its queue.
    external: bool = False
    #: Environment variables of the process, beside the ones the supervisor sets.
    env: dict[str, str] = {}
    #: Variables of ``env`` that may be set although their names look like those of secrets.
    allow_secret_env: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    #: Files that only the runner can read, by the names under which it finds them in ``$CREDENTIALS_DIRECTORY``.
    credentials: Credentials = {}
    #: Absolute path of the directory the process starts in; systemd's default otherwise.
    working_directory: str | None = None
    #: Account the process runs under; only the system manager can change it.
    user: str | None = None
    #: Group the process runs under; only the system manager can change it.
    group: str | None = None
    #: One line for people.
    description: Annotated[str, Meta(max_length=200)] = ""
    #: What operations select runners by.
    labels: Annotated[dict[LabelKey, LabelValue], Meta(max_length=64)] = {}
    #: Start it as soon as it is added.
    autostart: bool = False
    #: How many processes of it are to run, each in a unit of its own; without meaning with the protocol ``unit``.
    instances: Annotated[int, Meta(ge=0, le=64)] = 1
    #: Redis list the runner takes job ids from; ``{namespace}:q:work:type:{id}`` when not given.
    queue: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    #: How its jobs are executed; ``claim`` for the bundled runner and ``list`` for a ``command`` when not given.
    protocol: JobProtocol | None = None
    #: How many jobs each of its processes executes at a time; with ``unit``, how many there are at a time.
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 1
    #: Let the number of instances follow the queue; ``instances`` is then how many there are at first.
    demand: Demand | None = None
    #: Ask it whether it is well when it has had no job for a while.
    idle_ping: IdlePing | None = None
    #: What it takes to be called started.
    readiness: Readiness = Readiness.EXEC
    #: What has to answer before it counts as running; until then those that come after it wait.
    readiness_probe: Probe | None = None
    #: What has to answer while it runs; an instance that does not is replaced.
    liveness_probe: Probe | None = None
    #: Runners that are started before it and stopped after it, and what they must have reached.
    after: Annotated[dict[RunnerId, Milestone], Meta(max_length=64)] = {}
    #: When systemd starts it again by itself.
    restart: RestartPolicy = RestartPolicy.ALWAYS
    #: Pause between an exit and a fast restart.
    restart_delay_s: Seconds = 1.0
    #: What happens when it ends again and again.
    backoff: Backoff = Backoff()
    #: Longest time to reach readiness.
    start_timeout_s: PositiveSeconds = 30.0
    #: Longest time between the stop signal and SIGKILL to the whole control group.
    stop_timeout_s: PositiveSeconds = 10.0
    #: Signal that asks it to stop.
    stop_signal: StopSignal = "SIGTERM"
    #: Signal that asks it to read its configuration again.
    reload_signal: ReloadSignal | None = None
    #: Program and arguments that make it read its configuration again; executed beside it, byte for byte.
    reload_command: tuple[str, ...] = ()
    #: Signal that asks it to take no more jobs and, when it has finished, to end with exit status 100. The bundled
    #: runner has SIGUSR1.
    drain_signal: ReloadSignal | None = None
    #: Longest time between two ``WATCHDOG=1`` (sd_notify(3)); systemd kills it when that is over.
    watchdog_s: PositiveSeconds | None = None
    #: Age at which an instance is replaced by a new one.
    max_age_s: LongSeconds | None = None
    #: Each instance gets up to this much older, at random, so that they are not all replaced at once.
    max_age_jitter_s: Annotated[float, Meta(ge=0, le=366 * 86_400)] = 0.0
    #: When to restart it, as a calendar expression of systemd.time(7).
    restart_calendar: Annotated[str, Meta(pattern=r"^[A-Za-z0-9*:.,/~ _+-]{1,200}$(?!\n)")] | None = None
    #: What it may take of the machine.
    limits: Limits = Limits()
    #: What happens when one of its processes is killed for want of memory.
    oom_policy: OomPolicy = OomPolicy.KILL
    #: How far it is shut in; the service's ``default_sandbox`` when not given.
    sandbox: Sandbox | None = None
    #: How much it may log.
    log_rate: LogRate = LogRate()
    #: Further unit properties, of a closed list; only an administrator may set them.
    extra_properties: ExtraProperties = {}

    @property
    def job_protocol(self) -> JobProtocol:
        """How its jobs are executed."""
        return self.protocol or (JobProtocol.CLAIM if self.executor else JobProtocol.LIST)

    @property
    def has_processes(self) -> bool:
        """Whether it has processes that stay, and that we start: else its jobs are units, or it is ``external``."""
        return not self.external and self.job_protocol is not JobProtocol.UNIT

    @property
    def processes(self) -> int:
        """How many processes of it are to run."""
        return self.instances if self.has_processes else 0

    @classmethod
    def from_data(cls, data: object) -> Self:
        """Build a runner from decoded JSON or TOML, in our form or in the original's.

        Raises:
            InvalidRunner: With the path of every fault.
        """
        data = from_original(cast("Any", data)) if is_original(data) else data
        return schema.convert(data, cls, error=InvalidRunner, rules=faults_in)

    def checked(self) -> Self:
        """Return this runner, built in code, if it is valid.

        Raises:
            InvalidRunner: With the path of every fault.
        """
        return self.from_data(msgspec.to_builtins(self))


def runners_from(data: object, *, path: str = "runners") -> list[Runner]:
    """Build runners from a decoded array of definitions.

    Args:
        data: What arrived.
        path: Where it was, for faults.

    Raises:
        InvalidRunner: With the path of every fault of all of them.
    """
    if not isinstance(data, list | tuple):
        raise InvalidRunner([Fault(path, "must be an array of definitions")])
    runners, faults = [], []
    for index, entry in enumerate(data):
        try:
            runners.append(Runner.from_data(entry))
        except InvalidRunner as exc:
            faults += [Fault(f"{path}[{index}].{fault.path}", fault.message) for fault in exc.faults]
    if faults:
        raise InvalidRunner(faults)
    return runners


def faults_in(runner: Runner) -> Iterable[Fault]:
    """Yield what is wrong with a runner whose types are right."""
    if not runner.external and bool(runner.command) == bool(runner.executor):
        yield Fault("command", "exactly one of command and executor is needed")
    yield from _external_faults(runner)
    yield from command_faults("command", runner.command)
    yield from environment.env_faults(runner.env, runner.allow_secret_env)
    yield from environment.credential_faults(runner.credentials)
    yield from _single_line_faults(runner)
    if runner.id in runner.after:
        yield Fault(f"after.{runner.id}", "must be another runner")
    yield from restart.faults_in(runner.backoff)
    yield from _job_faults(runner)
    yield from _reload_faults(runner)
    yield from _process_faults(runner)
    yield from _age_faults(runner)
    yield from limits.faults_in(runner.limits)
    yield from _probe_faults(runner)
    yield from extra_properties.faults_in(runner.extra_properties)


def _single_line_faults(runner: Runner) -> Iterable[Fault]:
    for name in ("description", "queue", "user", "group"):
        yield from schema.line_faults(name, getattr(runner, name) or "")
    if runner.working_directory is not None:
        yield from schema.path_faults("working_directory", runner.working_directory)


def _probe_faults(runner: Runner) -> Iterable[Fault]:
    for name in ("readiness_probe", "liveness_probe"):
        found: Probe | None = getattr(runner, name)
        if found is not None:
            yield from (Fault(f"{name}.{fault.path}", fault.message) for fault in probe.faults_in(found))


def _job_faults(runner: Runner) -> Iterable[Fault]:
    if runner.demand is not None:
        yield from demands.faults_in(runner.demand)
    if runner.job_protocol is JobProtocol.UNIT and runner.demand is not None:
        yield Fault("demand", "must not be given with protocol 'unit': that has no instances, see concurrency")
    if runner.job_protocol is JobProtocol.UNIT and runner.idle_ping is not None:
        yield Fault("idle_ping", "must not be given with protocol 'unit': that has no processes to ask")


def _external_faults(runner: Runner) -> Iterable[Fault]:
    """Yield what is asked for of processes that are not ours."""
    if not runner.external:
        return
    if runner.job_protocol is JobProtocol.UNIT:
        yield Fault("protocol", "must be 'list' or 'claim' with external")
    usual = Runner(id=runner.id)
    for name in Runner.__struct_fields__:
        if name not in _OF_EXTERNAL and getattr(runner, name) != getattr(usual, name):
            yield Fault(name, "must not be given with external: it is about processes, and those are not ours")


def _reload_faults(runner: Runner) -> Iterable[Fault]:
    if runner.reload_command and runner.reload_signal:
        yield Fault("reload_command", "at most one of reload_command and reload_signal can be given")
    yield from command_faults("reload_command", runner.reload_command)


def _process_faults(runner: Runner) -> Iterable[Fault]:
    """Yield what is asked for of the processes of a runner that has none."""
    if runner.job_protocol is not JobProtocol.UNIT:
        return
    given = [name for name in _OF_PROCESSES if getattr(runner, name)]
    for name in ["readiness", *given] if runner.readiness is Readiness.NOTIFY else given:
        yield Fault(name, "must not be given with protocol 'unit': that has no processes beside its jobs")


def _age_faults(runner: Runner) -> Iterable[Fault]:
    if runner.max_age_jitter_s and runner.max_age_s is None:
        yield Fault("max_age_jitter_s", "needs max_age_s")
