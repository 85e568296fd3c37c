"""What systemd reports of a unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """The properties of a unit that we look at, in systemd's words."""

    name: str
    active_state: str = "inactive"
    sub_state: str = "dead"
    main_pid: int = 0
    #: 32 hexadecimal digits; empty when the unit never ran.
    invocation_id: str = ""
    #: Microseconds since the epoch; 0 when the unit never ran.
    state_change_usec: int = 0
    restarts: int = 0
    result: str = "success"
    #: CLD_EXITED (1), CLD_KILLED (2), CLD_DUMPED (3), or 0 while no process of the unit has ended.
    exec_main_code: int = 0
    exec_main_status: int = 0
    #: Path of its control group below the mount point; empty while it has none.
    control_group: str = ""

    @property
    def is_running(self) -> bool:
        """Whether its start has been asked for and no stop has been since."""
        return self.active_state in {"active", "reloading", "activating"}
