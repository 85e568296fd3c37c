"""How the one run of a job's unit ended, as systemd keeps it."""

from __future__ import annotations

from dataclasses import dataclass

#: The sub-states in which a run is over and its end is kept, and the one of a unit that is not loaded.
EXITED = "exited"
FAILED = "failed"
DEAD = "dead"
#: Our word for a unit that systemd calls dead because its start is still queued.
QUEUED = "queued"


@dataclass(frozen=True, slots=True)
class UnitEnd:
    """The properties that tell an end, in systemd's words. Times are in microseconds of the monotonic clock, 0: never.

    A process that is stopped ends after its unit has left the state ``active``; one that ends by itself, before.
    """

    sub_state: str
    result: str = "success"
    #: CLD_EXITED (1), CLD_KILLED (2), CLD_DUMPED (3), or 0 while the process has not ended.
    exec_main_code: int = 0
    exec_main_status: int = 0
    started_usec: int = 0
    ended_usec: int = 0
    left_active_usec: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, and the unit with it."""
        return self.sub_state in {EXITED, FAILED, DEAD}

    @property
    def was_stopped(self) -> bool:
        """Whether its unit was stopped, by somebody or by systemd, before its process ended."""
        return self.sub_state == DEAD or 0 < self.left_active_usec < self.ended_usec

    @property
    def duration_s(self) -> float:
        """How long its process ran."""
        return max(0, self.ended_usec - self.started_usec) / 1e6
