"""Pure: what a unit needs, from what is wanted and what systemd says."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from hero_supervisor.definition.restart import RestartPolicy
from hero_supervisor.state import Desired

if TYPE_CHECKING:
    from hero_supervisor.unit import UnitStatus


class Verdict(Enum):
    """What is to be done about a unit."""

    #: Nothing: it is as it is meant to be, or systemd is at work on it.
    LEAVE = "leave"
    #: Start it: it is not there, because it was lost in a reboot or has never been started.
    START = "start"
    #: Start it again after a pause: it failed, and systemd has given it up.
    RETRY = "retry"
    #: Nothing any more: it ended, and its restart policy lets it be, or somebody stopped it with systemctl.
    ENDED = "ended"


def verdict(
    policy: RestartPolicy,
    desired: Desired,
    unit: UnitStatus,
    *,
    is_replaced: bool = False,
    has_ended_well: bool = False,
) -> Verdict:
    """Return what a unit needs.

    A unit that ended without failing and is not being restarted was meant to end: with ``Restart=always`` only a stop
    job does that, so somebody has stopped it, and that is respected.

    Args:
        policy: The runner's.
        desired: What is wanted of the runner.
        unit: What systemd says.
        is_replaced: Whether the supervisor stopped this run in order to start another one, and did not live to do it.
        has_ended_well: Whether a unit that systemd does not know any more has, and is not to be started for that.
    """
    if desired is not Desired.RUNNING or unit.is_running or unit.active_state == "deactivating":
        return Verdict.LEAVE
    if is_replaced:
        return Verdict.START
    if unit.active_state == "failed":
        return Verdict.ENDED if policy is RestartPolicy.NEVER else Verdict.RETRY
    return Verdict.ENDED if unit.invocation_id or has_ended_well else Verdict.START
