"""Queues as a whole: how full they are, what they allow, and their dead letters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hero_supervisor.errors import Conflict, JobNotFound
from hero_supervisor.records import QueueLimits, QueueStats

from . import figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hero_supervisor.job import JobSummary

    from .figures import QueueFigures
    from .store import JobStore

#: Names of the settings in Redis, by those of ``QueueLimits``.
_SETTINGS: Final = ("max_running", "rate", "burst", "max_length", "max_ended")
_SIZES: Final = ("pending", "scheduled", "waiting", "taken", "dead", "known")


class Queues:
    """The queues of all runners. Every method raises what ``RedisServer.call`` names."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    async def stats(self, runner: str) -> QueueStats:
        """Return how full a queue is, what it allows, and what went through it."""
        settings, counts, sizes, oldest, now = await self._store.scripts.run("stats", runner)
        known = _pairs(settings)
        return QueueStats(
            runner=runner,
            is_paused=b"is_paused" in known,
            limits=_limits(known),
            **dict(zip(_SIZES, sizes, strict=True)),
            oldest_s=None if oldest is None else (int(now) - int(oldest)) / 1000,
            counts=figures.counts_in(counts),
            at=datetime.fromtimestamp(int(now) / 1000, UTC),
        )

    async def figures(self, runners: Sequence[str]) -> dict[str, QueueFigures]:
        """Return what is measured of queues, of many at once; those whose keys cannot be read are left out."""
        found: dict[str, QueueFigures] = {}
        for at in range(0, len(runners), figures.PER_CALL):
            part = runners[at : at + figures.PER_CALL]
            answers = await self._store.scripts.figures(part)
            found |= {runner: figures.read(each) for runner, each in zip(part, answers, strict=True) if each}
        return found

    async def pause(self, runner: str, *, is_paused: bool) -> None:
        """Let no more jobs be taken from a queue, or let them be taken again. Those that were taken go on."""
        await self._store.scripts.run("configure", runner, "is_paused", "1" if is_paused else "")

    async def limit(self, runner: str, limits: QueueLimits) -> None:
        """Set what a queue allows; what is ``None`` is as usual again."""
        values = {name: getattr(limits, name) for name in _SETTINGS}
        words = [word for name, value in values.items() for word in (name, "" if value is None else str(value))]
        await self._store.scripts.run("configure", runner, *words)

    async def dead(self, runner: str, *, limit: int) -> list[JobSummary]:
        """Return dead letters of a queue, newest first."""
        return await self._store.summaries([(job_id, 0) for job_id in await self._dead_ids(runner, limit)])

    async def retry_dead(self, runner: str, *, limit: int) -> int:
        """Queue dead letters once more, newest first, and return how many."""
        done = 0
        for job_id in await self._dead_ids(runner, limit):
            done += await _happens(self._store.retry(job_id))
        return done

    async def purge_dead(self, runner: str, *, limit: int) -> int:
        """Forget dead letters, newest first, and return how many."""
        done = 0
        for job_id in await self._dead_ids(runner, limit):
            done += await _happens(self._store.delete(job_id))
        return done

    async def _dead_ids(self, runner: str, limit: int) -> list[str]:
        async with self._store.server.call():
            ids: Any = await self._store.redis.zrevrange(self._store.keys.queue(runner, "dead"), 0, limit - 1)
        return [job_id.decode(errors="replace") for job_id in ids]


async def _happens(change: Any) -> bool:
    """Make a change of a dead letter, and return whether it was still one."""
    try:
        await change
    except (JobNotFound, Conflict):
        return False
    return True


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _limits(settings: dict[bytes, bytes]) -> QueueLimits:
    values = {name: settings.get(name.encode()) for name in _SETTINGS}
    return QueueLimits(**{name: _number(name, value) for name, value in values.items()})  # type: ignore[arg-type]


def _number(name: str, value: bytes | None) -> float | int | None:
    try:
        return None if value is None else (float(value) if name == "rate" else int(value))
    except ValueError:
        return None  # the scripts go by the usual value then, too
