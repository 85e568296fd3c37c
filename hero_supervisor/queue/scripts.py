"""The Lua scripts that change jobs, each one atomic (``lua/``; their heads tell arguments and answers).

All may be repeated: a caller that got no answer calls again.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .records import to_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis.asyncio import Redis

    from .connection import RedisServer
    from .keys import Keys

_FOLDER: Final = files(__package__) / "lua"
#: What is put before each script.
_COMMON: Final = "common.lua"

Argument = str | int | float | bytes


class Scripts:
    """The scripts, for the queues of one namespace. They are loaded into Redis again whenever it has forgotten them."""

    def __init__(self, server: RedisServer, redis: Redis, keys: Keys) -> None:
        common = (_FOLDER / _COMMON).read_text(encoding="utf-8")
        self._server = server
        self._keys = keys
        self._scripts = {
            path.name.removesuffix(".lua"): redis.register_script(common + path.read_text(encoding="utf-8"))
            for path in _FOLDER.iterdir()
            if path.name != _COMMON
        }

    async def run(self, name: str, runner: str, *arguments: Argument) -> Any:
        """Run a script on the queue of a runner, and return its answer as it came.

        Raises:
            RedisUnavailable, PermissionDenied, CorruptRecord: See ``RedisServer.call``.
        """
        return await self._run(name, [self._keys.settings(runner)], (runner, *arguments))

    async def run_for(self, name: str, job_id: str, *arguments: Argument) -> Any:
        """Run a script on a job, of whatever queue; raises like ``run``."""
        return await self._run(name, [self._keys.job(job_id)], (job_id, *arguments))

    async def read(self, job_ids: Iterable[str], fields: Iterable[Argument]) -> list[Any]:
        """Read fields of jobs; ``fields`` are names and longest lengths, alternating. Raises like ``run``."""
        answer: list[Any] = await self._run("read", [self._keys.job(job_id) for job_id in job_ids], fields)
        return answer

    async def stirring(self, places: Sequence[Sequence[str]]) -> list[int]:
        """Return the numbers, from 1, of the queues that hold anything. Raises like ``run``.

        Args:
            places: Of each queue its runner, then its lists.
        """
        answer: list[int] = await self._run("stirring", [self._keys.queues], (msgspec.msgpack.encode(places),))
        return answer

    async def figures(self, runners: Sequence[str]) -> list[Any]:
        """Return the figures of queues, in order. Raises like ``run``."""
        answer: list[Any] = await self._run("figures", [self._keys.queues], (msgspec.msgpack.encode(runners),))
        return answer

    async def _run(self, name: str, keys: list[str], arguments: Iterable[Argument]) -> Any:
        now = to_text(datetime.now(UTC))
        luck = f"{random.random():.6f}"  # noqa: S311  # it spreads retries, it guards nothing
        async with self._server.call():
            return await self._scripts[name](keys, (self._keys.namespace, now, luck, *arguments))
