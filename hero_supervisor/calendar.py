"""When a calendar expression comes true next. systemd's own program answers that: nothing here knows its language.

Source: systemd.time(7), systemd-analyze(1).
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Final

from .errors import Fault, InvalidInput, OperationTimeout

PROGRAM: Final = "systemd-analyze"
TIMEOUT_S: Final = 10.0
#: Most answers that are remembered; runners have one each.
MAX_REMEMBERED: Final = 1000

_MOMENT: Final = re.compile(r"(?:\(in UTC\)|Next elapse): \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")


class Calendar:
    """Asks ``systemd-analyze``, and remembers its answers."""

    def __init__(self, program: str = PROGRAM) -> None:
        """Args: the program to run, found on PATH."""
        self._program = program
        self._answers: dict[tuple[str, datetime], datetime | None] = {}

    async def next_after(self, expression: str, moment: datetime) -> datetime | None:
        """Return when a calendar expression comes true for the first time after a moment; ``None``: never.

        Raises:
            InvalidInput: It is not a calendar expression.
            OperationTimeout: The program did not answer.
        """
        key = (expression, moment)
        if key not in self._answers:
            if len(self._answers) >= MAX_REMEMBERED:
                self._answers.clear()
            self._answers[key] = await self._ask(expression, moment)
        return self._answers[key]

    async def _ask(self, expression: str, moment: datetime) -> datetime | None:
        base = f"--base-time=@{int(moment.timestamp())}"
        process = await asyncio.create_subprocess_exec(
            *(self._program, "calendar", "--iterations=1", base, "--", expression),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                output, _ = await process.communicate()
        except TimeoutError:
            raise OperationTimeout(f"cannot look up '{expression}' in time: {self._program} does not answer") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise InvalidInput([Fault("restart_calendar", "is not a calendar expression of systemd.time(7)")])
        found = _MOMENT.findall(output.decode(errors="replace"))
        return datetime.strptime(found[-1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if found else None
