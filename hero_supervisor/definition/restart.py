"""When a runner that exited is started again, as data.

systemd makes the first restarts, without us: after ``restart_delay_s`` each, as many as ``fast_retries``. A runner
that ends again and again is then given up by systemd, and the supervisor starts it from time to time, ever more
rarely. What systemd can do of that by itself differs between its versions (none of it before 254, and later it never
starts over after a good run), so it is done in one way for all.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from hero_supervisor.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

Seconds = Annotated[float, Meta(ge=0, le=86_400, description="Seconds, from 0 to 86400.")]
PositiveSeconds = Annotated[float, Meta(gt=0, le=86_400, description="Seconds, more than 0, at most 86400.")]


class RestartPolicy(StrEnum):
    """After which exits a runner is started again."""

    #: After every exit that nobody asked for.
    ALWAYS = "always"
    #: After an exit status other than 0, a signal, a timeout or a missed watchdog.
    ON_FAILURE = "on-failure"
    NEVER = "never"


class Backoff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often, and how soon, a runner that ends again and again is started."""

    #: Restarts by systemd within ``stable_after_s``; one more is the first slow one.
    fast_retries: Annotated[int, Meta(ge=0, le=100)] = 5
    #: Pause before the first slow restart.
    delay_s: PositiveSeconds = 1.0
    #: Longest pause between slow restarts.
    max_delay_s: PositiveSeconds = 300.0
    #: What each pause is multiplied by to give the next.
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    #: Part of a pause by which it is made longer or shorter at random, from 0 to 1.
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1
    #: Slow restarts after which the runner is given up; without it they go on for ever.
    give_up_after: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    #: A runner that ran this long has recovered: its retries count from the beginning.
    stable_after_s: Annotated[float, Meta(ge=1, le=86_400)] = 30.0


def faults_in(backoff: Backoff) -> Iterable[Fault]:
    """Yield what is wrong with a back-off whose types are right."""
    if backoff.delay_s > backoff.max_delay_s:
        yield Fault("backoff.delay_s", "must not be more than max_delay_s")
