"""What a worker is told when it starts: by arguments, and else by the environment that the supervisor gives it."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from hero_supervisor import schema
from hero_supervisor.errors import Fault, InvalidSettings
from hero_supervisor.queue.claims import HolderRecord
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_REDIS_URL: Final = "redis://localhost:6379"
DEFAULT_NAMESPACE: Final = "hero"
#: Seconds that running jobs may go on after a stop: less than the ten that a unit has by default.
DEFAULT_STOP_GRACE_S: Final = 8.0
MAX_CONCURRENCY: Final = 1000
MAX_STOP_GRACE_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Valid options of a worker."""

    #: Id of the runner whose queue it serves.
    runner: str
    redis_url: str
    namespace: str
    #: Redis list of which what foreign clients push is taken into the queue.
    queue: str
    #: How many jobs it executes at a time.
    concurrency: int
    #: Seconds that running jobs may go on after a stop.
    stop_grace_s: float
    #: Which process of the runner it is, from 1.
    instance: int
    #: Who it is to Redis: this run of its unit, or nobody whom anybody knows.
    holder: str
    #: Its host and its unit, as its supervisor named them; '' without one.
    node: str
    unit: str
    #: Boot of its host, as its supervisor named it; '' without one.
    boot_id: str

    @property
    def is_supervised(self) -> bool:
        """Whether somebody sees when this process ends, and gives its jobs to others."""
        return bool(self.unit)

    def record(self) -> HolderRecord:
        """Return what others are to know of this process."""
        # Not read here: a strict sandbox hides the file.
        return HolderRecord(
            node=self.node, unit=self.unit, instance=self.instance, boot_id=self.boot_id, pid=os.getpid()
        )

    @classmethod
    def resolve(
        cls,
        environment: Mapping[str, str],
        *,
        runner: str | None = None,
        redis_url: str | None = None,
        namespace: str | None = None,
        queue: str | None = None,
        concurrency: int | None = None,
        stop_grace_s: float = DEFAULT_STOP_GRACE_S,
    ) -> Self:
        """Return the options that arguments and environment give; arguments win.

        Args:
            environment: HERO_RUNNER, HERO_REDIS_URL, HERO_NAMESPACE, HERO_QUEUE, HERO_CONCURRENCY, HERO_INSTANCE,
                HERO_UNIT, HERO_NODE_ID, HERO_BOOT_ID, and systemd's INVOCATION_ID, which counts together with HERO_UNIT
                only: every process started from a service inherits it.
            runner: Id of the runner.
            redis_url: ``redis://``, ``rediss://`` or ``unix://``.
            namespace: What all key names begin with.
            queue: Redis list for foreign clients.
            concurrency: From 1 to 1000.
            stop_grace_s: From 0 to 86,400 seconds.

        Raises:
            InvalidSettings: With every fault.
        """
        faults: list[Fault] = []
        runner = runner or environment.get("HERO_RUNNER") or ""
        namespace = namespace or environment.get("HERO_NAMESPACE") or DEFAULT_NAMESPACE
        invocation = environment.get("INVOCATION_ID") or ""
        unit = environment.get("HERO_UNIT", "") if invocation else ""
        options = cls(
            runner=runner,
            redis_url=redis_url or environment.get("HERO_REDIS_URL") or DEFAULT_REDIS_URL,
            namespace=namespace,
            queue=queue or environment.get("HERO_QUEUE") or Keys(namespace).work_queue(runner),
            concurrency=_number(concurrency, environment, "HERO_CONCURRENCY", faults),
            stop_grace_s=stop_grace_s,
            instance=_number(None, environment, "HERO_INSTANCE", faults),
            holder=invocation if unit else uuid.uuid4().hex,
            node=environment.get("HERO_NODE_ID", "") if unit else "",
            unit=unit,
            boot_id=environment.get("HERO_BOOT_ID", "") if unit else "",
        )
        faults += _faults_in(options)
        if faults:
            raise InvalidSettings(faults)
        return options


def _number(given: int | None, environment: Mapping[str, str], name: str, faults: list[Fault]) -> int:
    text = environment.get(name) or "1"
    if given is not None:
        return given
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        faults.append(Fault(name, "must be a whole number"))
        return 1
    return int(text)


def _faults_in(options: WorkerOptions) -> Iterable[Fault]:
    if not options.runner:
        yield Fault("runner", "is required: as an argument, or in HERO_RUNNER")
    for name in ("runner", "namespace", "queue", "holder", "unit", "node", "boot_id"):
        yield from schema.line_faults(name, getattr(options, name))
    if "{" in options.runner or "}" in options.runner:
        yield Fault("runner", "must not contain braces")  # they mark it in the names of its keys
    if not 1 <= options.concurrency <= MAX_CONCURRENCY:
        yield Fault("concurrency", f"must be from 1 to {MAX_CONCURRENCY}")
    if not 0 <= options.stop_grace_s <= MAX_STOP_GRACE_S:
        yield Fault("stop_grace_s", f"must be from 0 to {MAX_STOP_GRACE_S:.0f}")
    try:
        RedisServer.at(options.redis_url)
    except InvalidSettings as exc:
        yield from exc.faults
