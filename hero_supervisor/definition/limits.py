"""What a runner may take of the machine, as data. Each instance has these limits for itself.

systemd enforces them on the control group, so on all processes of an instance together.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from hero_supervisor.errors import Fault
from hero_supervisor.schema import READ

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MAX_BYTES: Final = 1 << 50

#: Processes and threads of an instance when its definition does not say how many: enough for a server with many
#: threads, few enough that a fork bomb does not take the machine down.
DEFAULT_TASKS: Final = 1024


def parse_size(text: str) -> int:
    """Return the bytes that a text like ``512M`` stands for; K, M, G, T are powers of 1024.

    Raises:
        ValueError: It is no size.
    """
    found = re.fullmatch(r"([0-9]{1,16})([KMGT]?)", text)
    if found is None:
        raise ValueError("must be a number of bytes, or a text like '512M' (K, M, G, T are powers of 1024)")
    return int(found[1]) * _UNITS[found[2]]


#: How sizes are told in JSON schemas.
_NUMBER_OR_TEXT: Final = {"type": ["integer", "string"]}

Bytes = Annotated[
    int,
    Meta(
        ge=0,
        le=MAX_BYTES,
        description="Bytes, or a text like '512M'.",
        extra={READ: parse_size},
        extra_json_schema=_NUMBER_OR_TEXT,
    ),
]
#: Not even a shell can be started with less.
MemoryBytes = Annotated[
    int,
    Meta(
        ge=1 << 20,
        le=MAX_BYTES,
        description="Bytes, from 1048576, or a text like '512M'.",
        extra={READ: parse_size},
        extra_json_schema=_NUMBER_OR_TEXT,
    ),
]
Weight = Annotated[int, Meta(ge=1, le=10_000, description="Share beside others' 100, from 1 to 10000.")]


class OomPolicy(StrEnum):
    """What becomes of a runner when the kernel kills one of its processes for want of memory."""

    #: All its processes are killed, and its run ends with the result ``oom-kill``.
    KILL = "kill"
    #: It is stopped, and its run ends with the result ``oom-kill``.
    STOP = "stop"
    #: It goes on without that process.
    CONTINUE = "continue"


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one instance. What is not given is not limited, except the number of tasks."""

    #: Above this it is slowed down and its memory reclaimed.
    memory_high_bytes: MemoryBytes | None = None
    #: At this the kernel kills; see ``oom_policy``.
    memory_max_bytes: MemoryBytes | None = None
    #: Most swap; 0 for none.
    memory_swap_max_bytes: Bytes | None = None
    #: CPU time per time that passes; 100 is one core.
    cpu_quota_percent: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    #: Shares of what others want too, from 1 to 10000; 100 is usual.
    cpu_weight: Weight | None = None
    io_weight: Weight | None = None
    #: Most processes and threads.
    tasks_max: Annotated[int, Meta(ge=1, le=4_194_304)] = DEFAULT_TASKS
    #: Most open files of each process, as both soft and hard limit.
    open_files: Annotated[int, Meta(ge=8, le=1 << 30)] | None = None


class JobLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one job that is a unit of its own; they count where they are less than those of its runner."""

    memory_max_bytes: MemoryBytes | None = None
    #: CPU time per time that passes; 100 is one core.
    cpu_quota_percent: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    #: Most processes and threads.
    tasks_max: Annotated[int, Meta(ge=1, le=4_194_304)] | None = None

    def within(self, limits: Limits) -> Limits:
        """Return the limits of a runner, lowered to these where they are higher."""
        lowered = {name: _lower(getattr(self, name), getattr(limits, name)) for name in self.__struct_fields__}
        highest, high = lowered["memory_max_bytes"], limits.memory_high_bytes
        return replace(limits, **lowered, memory_high_bytes=_lower(highest, high) if high is not None else None)


class LogRate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast an instance may log: what comes faster is dropped by journald, which notes how much.

    journald allows some times more while its disk has space. Source: journald.conf(5), RateLimitBurst=.
    """

    #: Most lines in an interval; the defaults make 1000 lines a second.
    burst: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 30_000
    interval_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 30.0


def _lower(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def faults_in(limits: Limits) -> Iterable[Fault]:
    """Yield what is wrong with limits whose types are right."""
    high, highest = limits.memory_high_bytes, limits.memory_max_bytes
    if high is not None and highest is not None and high > highest:
        yield Fault("limits.memory_high_bytes", "must not be more than memory_max_bytes")
