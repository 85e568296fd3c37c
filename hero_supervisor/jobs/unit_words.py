"""The last words of a job that failed: the end of what it wrote to standard error.

They are in the journal, and each reading is a process. So only some are read at a time; when many jobs fail at once the
errors of some have the reason alone, and their words are found in their logs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import HeroError
from hero_supervisor.log_query import LogQuery

if TYPE_CHECKING:
    from hero_supervisor.ports import LogSource

#: Readings at once, and the longest time for one, in seconds.
MAX_READINGS: Final = 4
READING_TIMEOUT_S: Final = 2.0
#: Most lines, and most characters of them together.
MAX_LINES: Final = 20
MAX_CHARACTERS: Final = 8 * 1024


class LastWords:
    """Reads the last words of jobs."""

    def __init__(self, logs: LogSource) -> None:
        self._logs = logs
        self._readings = 0

    async def of(self, unit: str, job_id: str) -> str:
        """Return the last lines that the unit of a job wrote; '' when there are none, or too many ask."""
        if self._readings >= MAX_READINGS:
            return ""
        self._readings += 1
        try:
            async with asyncio.timeout(READING_TIMEOUT_S):
                records = await self._logs.read(LogQuery(units=(unit,), job_id=job_id, lines=MAX_LINES))
        except (HeroError, TimeoutError):  # the reason is enough
            return ""
        finally:
            self._readings -= 1
        return "\n".join(record.message for record in records)[-MAX_CHARACTERS:]
