"""The private Redis of a supervisor, kept running while the supervisor does.

systemd restarts it when it ends by itself. A unit that somebody stopped is gone, and nobody but us can make it again:
so it is looked at when its process has ended, when news may have been missed, and every ten seconds.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hero_supervisor import embedded_redis
from hero_supervisor.errors import HeroError

if TYPE_CHECKING:
    from hero_supervisor.ports import ProcessManager
    from hero_supervisor.settings import Manager
    from hero_supervisor.state import StateDirectory

logger = logging.getLogger(__name__)

#: Seconds between two looks without news.
LOOK_S: Final = 10.0
#: Seconds from an end to a look: systemd has to be done with the stop.
PAUSE_S: Final = 0.5


class PrivateRedis:
    """The Redis server of one namespace. It is a ``UnitWatcher``."""

    def __init__(self, processes: ProcessManager, state: StateDirectory, namespace: str, manager: Manager) -> None:
        self._processes = processes
        self._state = state
        self._namespace = namespace
        self._manager = manager
        self._name = embedded_redis.unit_name(namespace)
        self._password = ""
        self._news = asyncio.Event()

    @property
    def url(self) -> str:
        """Its URL, with the password; good once this is open."""
        return embedded_redis.url(self._namespace, self._manager, self._password)

    async def open(self) -> None:
        """Start it unless it runs.

        Raises:
            RedisUnavailable: There is no ``redis-server`` program.
            HeroError: As ``SystemdManager.start``.
        """
        if not self._state.redis_config.exists():
            # One that runs without our password was started by a version that had none: it is started anew.
            await self._processes.stop(self._name, timeout_s=embedded_redis.STOP_TIMEOUT_S)
        self._password = self._state.redis_password()
        await self._see_to_it()

    async def run(self) -> None:
        """Start it again whenever it is gone, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
                await asyncio.sleep(PAUSE_S)
            self._news.clear()
            try:
                if await self._see_to_it():
                    logger.warning("started the private Redis again: it was gone")
            except HeroError as exc:
                logger.warning("%s", exc)

    def on_ended(self, unit_name: str) -> None:
        """Look at it when its process has ended."""
        if unit_name == self._name:
            self._news.set()

    def on_doubt(self) -> None:
        """Look at it."""
        self._news.set()

    async def _see_to_it(self) -> bool:
        """Start it unless it runs; return whether it had to be."""
        if (await self._processes.status(self._name)).is_running:
            return False
        config, data = self._state.redis_config, self._state.redis_path
        program = embedded_redis.find_program()
        await self._processes.start(embedded_redis.render(program, self._namespace, self._manager, config, data))
        return True
