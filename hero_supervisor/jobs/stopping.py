"""Ending the processes that execute a job which does not end otherwise."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

from hero_supervisor.records import ExitReason

if TYPE_CHECKING:
    from hero_supervisor.ports import ExitSource, ProcessManager

logger = logging.getLogger(__name__)


async def kill_unit(processes: ProcessManager, exits: ExitSource, unit: str, run: str, *, job_id: str) -> None:
    """Kill a unit for a job; what else it has goes to others, and is not counted as a crash.

    Args:
        processes: Who runs units.
        exits: Who records why they end.
        unit: The unit.
        run: The run of it that has the job.
        job_id: The job.

    Raises:
        HeroError: As ``ProcessManager.kill``.
    """
    extra = {"job_id": job_id, "unit": unit}
    logger.warning("killing unit %s: job %s is to be stopped", unit, job_id, extra=extra)
    await exits.expect(unit, run, ExitReason.REPLACED)
    await processes.kill(unit, signal=signal.SIGKILL)
