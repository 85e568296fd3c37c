"""A runner as data: the configuration of one long-lived worker process, and what makes it valid.

A runner owns no process and no connection; ``unit.py`` renders it into what systemd runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Self

import msgspec
from msgspec import Meta

from . import schema
from .errors import Fault, InvalidRunner

#: What a runner id looks like. It becomes part of a unit name and of a Redis key, so nothing in it needs escaping.
#: The look-ahead is for Python, whose ``$`` also matches before a final newline.
RUNNER_ID_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$(?!\n)"

#: Most bytes that all words of a command, or all entries of an environment, may take.
#: The kernel refuses a single word of 128 KiB (MAX_ARG_STRLEN, execve(2)).
MAX_COMMAND_BYTES: Final = 128 * 1024 - 1

#: Set by the supervisor for every runner, so not up to its definition. See docs/runners.md.
RESERVED_ENV: Final = frozenset({"HERO_RUNNER", "HERO_NAMESPACE", "HERO_QUEUE", "HERO_REDIS_URL"})

RunnerId = Annotated[
    str,
    Meta(
        pattern=RUNNER_ID_PATTERN,
        description="Id of a runner: lower-case letters, digits, '-' and '_'; at most 63 characters.",
    ),
]
Seconds = Annotated[float, Meta(ge=0, le=86_400, description="Seconds, from 0 to 86400.")]
PositiveSeconds = Annotated[float, Meta(gt=0, le=86_400, description="Seconds, more than 0, at most 86400.")]


class Executor(StrEnum):
    """What the bundled runner does with a job's payload."""

    PYTHON = "python"
    SHELL = "shell"


class Readiness(StrEnum):
    """When systemd calls a runner started."""

    #: As soon as its program has been executed.
    EXEC = "exec"
    #: When it sends ``READY=1`` (sd_notify(3)).
    NOTIFY = "notify"


class RestartPolicy(StrEnum):
    """After which exits systemd starts a runner again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class Runner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of one worker process.

    Either ``command`` or ``executor`` is given: a program of the user's own, or the bundled runner.
    """

    #: Identity of the runner, unique in its namespace.
    id: RunnerId
    #: Program and arguments, given to the process byte for byte. The program is an absolute path, or a bare name
    #: that systemd looks up in its own fixed search path.
    command: tuple[str, ...] = ()
    #: Run the bundled ``hero-runner`` with this executor instead of a ``command``.
    executor: Executor | None = None
    #: Environment variables of the process, beside the ones the supervisor sets.
    env: dict[str, str] = {}
    #: Absolute path of the directory the process starts in; systemd's default otherwise.
    working_directory: str | None = None
    #: Account the process runs under; only the system manager can change it.
    user: str | None = None
    #: Group the process runs under; only the system manager can change it.
    group: str | None = None
    #: One line for people.
    description: Annotated[str, Meta(max_length=200)] = ""
    #: Redis list the runner takes job ids from; ``{namespace}:q:work:type:{id}`` when not given.
    queue: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    readiness: Readiness = Readiness.EXEC
    restart: RestartPolicy = RestartPolicy.ALWAYS
    #: Pause between an exit and the next start.
    restart_delay_s: Seconds = 1.0
    #: Longest time to reach readiness.
    start_timeout_s: PositiveSeconds = 30.0
    #: Longest time between SIGTERM and SIGKILL to the whole control group.
    stop_timeout_s: PositiveSeconds = 10.0

    @classmethod
    def from_data(cls, data: object) -> Self:
        """Build a runner from decoded JSON or TOML, in our form or in the original's.

        Raises:
            InvalidRunner: With the path of every fault.
        """
        data = _from_original(data) if isinstance(data, Mapping) and "binary_path" in data else data
        return schema.convert(data, cls, error=InvalidRunner, rules=faults_in)

    def checked(self) -> Self:
        """Return this runner, built in code, if it is valid.

        Raises:
            InvalidRunner: With the path of every fault.
        """
        return self.from_data(msgspec.to_builtins(self))


def faults_in(runner: Runner) -> Iterable[Fault]:
    """Yield what is wrong with a runner whose types are right."""
    if bool(runner.command) == bool(runner.executor):
        yield Fault("command", "exactly one of command and executor is needed")
    if runner.command:
        yield from _command_faults(runner.command)
    yield from _env_faults(runner.env)
    yield from _single_line_faults(runner)
    if runner.working_directory is not None and not runner.working_directory.startswith("/"):
        yield Fault("working_directory", "must be an absolute path")


def _command_faults(command: tuple[str, ...]) -> Iterable[Fault]:
    program = command[0]
    if not program or program in {".", ".."} or ("/" in program and not program.startswith("/")):
        yield Fault("command[0]", "must be an absolute path or a bare program name")
    for index, word in enumerate(command):
        yield from schema.text_faults(f"command[{index}]", word)
    if _size_of(command) > MAX_COMMAND_BYTES:
        yield Fault("command", f"must be at most {MAX_COMMAND_BYTES} bytes in all")


def _env_faults(env: Mapping[str, str]) -> Iterable[Fault]:
    for name, value in env.items():
        path = f"env.{name[:80]}"
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
            yield Fault(path, "must be a variable name: letters, digits and '_'")
        if name in RESERVED_ENV:
            yield Fault(path, "is set by the supervisor")
        yield from schema.text_faults(path, value)
    if _size_of([*env, *env.values()]) > MAX_COMMAND_BYTES:
        yield Fault("env", f"must be at most {MAX_COMMAND_BYTES} bytes in all")


def _single_line_faults(runner: Runner) -> Iterable[Fault]:
    for name in ("description", "queue", "user", "group", "working_directory"):
        value = getattr(runner, name)
        if value and any(ord(char) < 32 or ord(char) == 127 for char in value):
            yield Fault(name, "must not contain control characters")
        if value:
            yield from schema.text_faults(name, value)


def _size_of(words: Iterable[str]) -> int:
    # One byte each for the NUL that ends it; surrogates are reported elsewhere.
    return sum(len(word.encode(errors="replace")) + 1 for word in words)


def _from_original(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Translate the original's runner definition.

    It names ``id``, ``name``, ``binary_path``, ``db_path``, ``redis_url`` and ``process_manager``. Its binaries take
    their id as first argument and the two addresses as options. Its two process managers are both systemd here.
    """
    rest = {key: value for key, value in data.items() if key not in _ORIGINAL_FIELDS}
    faults = [Fault(key, "must be a string") for key in _ORIGINAL_FIELDS if not isinstance(data.get(key, ""), str)]
    if not re.fullmatch("simple|tmux(:.+)?|", str(data.get("process_manager", ""))):
        faults.append(Fault("process_manager", "must be 'simple' or 'tmux:<session>'"))
    if faults:
        raise InvalidRunner(faults)
    options = [("--db-path", data.get("db_path")), ("--redis-url", data.get("redis_url"))]
    words = [word for option, value in options if value for word in (option, value)]
    command = [data["binary_path"], str(data.get("id", "")), *words]
    return {"description": data.get("name", ""), "command": command, **rest}


_ORIGINAL_FIELDS: Final = ("name", "binary_path", "db_path", "redis_url", "process_manager")
