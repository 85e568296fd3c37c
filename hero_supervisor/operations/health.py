"""Whether the supervisor can do its work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import HeroError
from hero_supervisor.records import Health

from .parts import Parts

if TYPE_CHECKING:
    from collections.abc import Awaitable

#: Seconds that systemd and Redis have to answer.
ANSWER_S: Final = 2.0


class HealthOperations(Parts):
    """Looking at what the supervisor stands on."""

    async def get_health(self) -> Health:
        """Say whether systemd and Redis answer now, and if not, why. Runners run on in any case.

        Returns:
            What was found, within some two seconds.
        """
        systemd, redis = await asyncio.gather(
            _fault_of(self._processes.status(self._site.unit_name("any"))), _fault_of(self._ping())
        )
        return Health(is_ready=systemd is None and redis is None, systemd=systemd, redis=redis)

    async def _ping(self) -> None:
        await self._jobs.ping()


async def _fault_of(question: Awaitable[object]) -> str | None:
    """Ask a question; return why there is no answer."""
    try:
        async with asyncio.timeout(ANSWER_S):
            await question
    except HeroError as exc:
        return exc.message
    except TimeoutError:
        return f"no answer within {ANSWER_S:g} s"
    return None
