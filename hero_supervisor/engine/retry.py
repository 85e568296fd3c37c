"""Pure: when a unit is started again that systemd has given up.

The *fast* retries are systemd's (``Restart=`` with a start limit), so they happen without us. When that limit is hit
the unit has failed for good, and the *slow* ones are ours: each waits longer than the one before, up to a longest
pause, and a bit more or less at random, so that runners that failed together do not start together. They go on for
ever, or until the runner's ``give_up_after``. In this phase the unit gets a start limit of one, so that each slow retry
is one start.

A unit that has run for its ``stable_after_s`` is forgiven: its next failure is its first. Retries are kept with the
runner, so a supervisor that is started anew goes on with them; their times are those of the wall clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hero_supervisor.state import Retry

if TYPE_CHECKING:
    from hero_supervisor.definition.restart import Backoff


def next_retry(backoff: Backoff, before: Retry | None, *, invocation_id: str, now: float, random: float) -> Retry:
    """Return the retry for a unit that has failed.

    Args:
        backoff: The runner's.
        before: The last failure, unless it was forgiven.
        invocation_id: The run that failed.
        now: The present time, in seconds since the epoch.
        random: From 0 to 1: as short as the jitter allows to as long.
    """
    failures = before.failures + 1 if before else 1
    due_at = None
    if backoff.give_up_after is None or failures <= backoff.give_up_after:
        due_at = now + pause_s(backoff, failures) * (1 + backoff.jitter * (2 * random - 1))
    return Retry(invocation_id=invocation_id, failures=failures, due_at=due_at)


def pause_s(backoff: Backoff, failures: int) -> float:
    """Return the pause after so many failures in a row, without jitter, in seconds."""
    pause = backoff.delay_s
    for _ in range(failures - 1):
        if pause >= backoff.max_delay_s:
            break
        pause *= backoff.factor
    return min(pause, backoff.max_delay_s)


def left_s(backoff: Backoff, due_at: float, *, now: float) -> float:
    """Return the seconds until a retry is due; 0 also when it is further ahead than any pause: a clock was set back."""
    left = due_at - now
    return left if 0 < left <= backoff.max_delay_s * (1 + backoff.jitter) else 0.0
