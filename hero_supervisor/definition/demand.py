"""How many instances a runner has when its jobs decide, and how it is asked whether it is well, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from hero_supervisor.errors import Fault

from .restart import PositiveSeconds, Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable


class Demand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds within which the number of instances follows the queue."""

    #: Fewest and most instances; with 0, the first job starts one.
    min_instances: Annotated[int, Meta(ge=0, le=64)] = 0
    max_instances: Annotated[int, Meta(ge=1, le=64)] = 1
    #: How many jobs, waiting and being executed, each instance is to have.
    jobs_per_instance: Annotated[int, Meta(ge=1, le=100_000)] = 1
    #: One more instance each time that the next job has waited this long.
    max_wait_s: PositiveSeconds | None = None
    #: Instances are taken away when for so long fewer would have done.
    cool_down_s: Seconds = 60.0


class IdlePing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asking a runner that has had no job for a while whether it is well: by a job with the payload ``ping``."""

    #: Seconds without a job after which it is asked. The original's are 600.
    after_s: PositiveSeconds = 600.0
    #: Seconds that it has for the answer; then its instances are restarted.
    timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 30


def faults_in(demand: Demand) -> Iterable[Fault]:
    """Yield what is wrong with a demand whose types are right."""
    if demand.min_instances > demand.max_instances:
        yield Fault("demand.min_instances", "must not be more than max_instances")
