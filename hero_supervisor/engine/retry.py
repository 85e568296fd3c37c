"""Pure: when a unit is started again that systemd has given up.

The *fast* retries are systemd's (``Restart=`` with a start limit), so they happen without us. When that limit is hit
the unit has failed for good, and the *slow* ones are ours: each waits longer than the one before, up to a longest
pause, and a bit more or less at random, so that runners that failed together do not start together. They go on for
ever, or until the runner's ``give_up_after``. In this phase the unit gets a start limit of one, so that each slow retry
is one start.

A unit that has run for its ``stable_after_s`` is forgiven: its next failure is its first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hero_supervisor.restart import Backoff


@dataclass(frozen=True, slots=True)
class Retry:
    """A unit that failed for good as far as systemd is concerned, and what we will do about it."""

    #: The run that failed; empty when none came about.
    invocation_id: str
    #: How often in a row this has happened, from 1 up.
    failures: int
    #: When to start it again, on the caller's clock in seconds; ``None``: it has been given up.
    due_s: float | None


def next_retry(backoff: Backoff, before: Retry | None, *, invocation_id: str, now_s: float, random: float) -> Retry:
    """Return the retry for a unit that has failed.

    Args:
        backoff: The runner's.
        before: The last failure, unless it was forgiven.
        invocation_id: The run that failed.
        now_s: The present time.
        random: From 0 to 1: as short as the jitter allows to as long.
    """
    failures = before.failures + 1 if before else 1
    if backoff.give_up_after is not None and failures > backoff.give_up_after:
        return Retry(invocation_id, failures, None)
    pause = pause_s(backoff, failures) * (1 + backoff.jitter * (2 * random - 1))
    return Retry(invocation_id, failures, now_s + pause)


def pause_s(backoff: Backoff, failures: int) -> float:
    """Return the pause after so many failures in a row, without jitter, in seconds."""
    pause = backoff.delay_s
    for _ in range(failures - 1):
        if pause >= backoff.max_delay_s:
            break
        pause *= backoff.factor
    return min(pause, backoff.max_delay_s)
