"""Recurring schedules in Redis: their definitions, and when the next run of each is due.

A run's job has an id made of its schedule and its time, so making a run twice, by two supervisors or by one that died
in between, is storing the same job again, which changes nothing. Only then does the schedule move on, and never back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from hero_supervisor.errors import CorruptRecord, HeroError, InvalidSchedule, ScheduleNotFound
from hero_supervisor.schedule import Schedule, ScheduleState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .store import JobStore


class ScheduleStore:
    """The schedules of all queues. Every method raises what ``RedisServer.call`` names."""

    def __init__(self, store: JobStore) -> None:
        self._server = store.server
        self._redis = store.redis
        self._keys = store.keys

    async def save(self, schedule: Schedule, next_at: datetime | None) -> None:
        """Store a schedule, in place of one with its id, and when its next run is."""
        async with self._server.call(), self._redis.pipeline(transaction=True) as change:
            change.sadd(self._keys.queues, schedule.runner)
            change.hset(self._key(schedule.runner), schedule.id, msgspec.json.encode(schedule))
            if next_at is None:
                change.zrem(self._due_key(schedule.runner), schedule.id)
            else:
                change.zadd(self._due_key(schedule.runner), {schedule.id: _ms(next_at)})
            await change.execute()

    async def remove(self, runner: str, schedule_id: str) -> None:
        """Forget a schedule; jobs that it has made stay.

        Raises:
            ScheduleNotFound: There is none of this id.
        """
        async with self._server.call(), self._redis.pipeline(transaction=True) as change:
            change.hdel(self._key(runner), schedule_id)
            change.zrem(self._due_key(runner), schedule_id)
            removed, _ = await change.execute()
        if not removed:
            raise _missing(runner, schedule_id)

    async def read(self, runner: str, schedule_id: str) -> ScheduleState:
        """Return a schedule.

        Raises:
            ScheduleNotFound: There is none of this id.
            CorruptRecord: It cannot be read.
        """
        async with self._server.call():
            raw: Any = await self._redis.hget(self._key(runner), schedule_id)
            due: Any = await self._redis.zscore(self._due_key(runner), schedule_id)
        if raw is None:
            raise _missing(runner, schedule_id)
        return ScheduleState(schedule=_schedule(runner, schedule_id, raw), next_at=_moment(due))

    async def all_of(self, runner: str) -> list[ScheduleState | HeroError]:
        """Return the schedules of a runner by id; for one that cannot be read, why."""
        async with self._server.call():
            ids: Any = await self._redis.hkeys(self._key(runner))
        found: list[ScheduleState | HeroError] = []
        for schedule_id in sorted(raw.decode(errors="replace") for raw in ids):
            try:
                found.append(await self.read(runner, schedule_id))
            except HeroError as exc:
                found.append(exc)
        return found

    async def soonest(self, runners: Sequence[str]) -> dict[str, datetime]:
        """Return when the next run of some runners is due, or was; of those that have one. It takes one round trip.

        Those whose schedules cannot be read have one long ago: ``due`` tells why.
        """
        async with self._server.call(), self._redis.pipeline(transaction=False) as questions:
            for runner in runners:
                questions.zrange(self._due_key(runner), 0, 0, withscores=True)
            answers: list[Any] = await questions.execute(raise_on_error=False)
        found = {runner: _soonest(answer) for runner, answer in zip(runners, answers, strict=True)}
        return {runner: moment for runner, moment in found.items() if moment is not None}

    async def due(self, runner: str) -> tuple[list[tuple[str, datetime]], datetime | None]:
        """Return the ids of schedules of which a run is due, and since when; and when the next one will be."""
        now_ms = _ms(datetime.now(UTC))
        async with self._server.call():
            entries: Any = await self._redis.zrangebyscore(self._due_key(runner), "-inf", now_ms, withscores=True)
            coming: Any = await self._redis.zrangebyscore(
                self._due_key(runner), f"({now_ms}", "+inf", start=0, num=1, withscores=True
            )
        due = [(member.decode(errors="replace"), _known(score)) for member, score in entries]
        return due, _moment(coming[0][1]) if coming else None

    async def move_on(self, runner: str, schedule_id: str, next_at: datetime | None) -> None:
        """Note when the next run of a schedule is, unless it is gone or was moved further already."""
        async with self._server.call():
            if next_at is None:
                await self._redis.zrem(self._due_key(runner), schedule_id)
            else:
                await self._redis.zadd(self._due_key(runner), {schedule_id: _ms(next_at)}, xx=True, gt=True)

    def _key(self, runner: str) -> str:
        return self._keys.queue(runner, "schedules")

    def _due_key(self, runner: str) -> str:
        return self._keys.queue(runner, "schedules-due")


def _schedule(runner: str, schedule_id: str, raw: bytes) -> Schedule:
    try:
        return Schedule.from_data(msgspec.json.decode(raw))
    except (msgspec.DecodeError, InvalidSchedule, RecursionError) as exc:
        text = f"cannot read schedule '{schedule_id}' of '{runner}': {exc}"
        raise CorruptRecord(text, hint="set it again, or remove it", runner=runner, schedule=schedule_id) from exc


def _soonest(answer: Any) -> datetime | None:
    if isinstance(answer, Exception):
        return _known(0)
    return _known(answer[0][1]) if answer else None


def _missing(runner: str, schedule_id: str) -> ScheduleNotFound:
    text = f"cannot find schedule '{schedule_id}' of runner '{runner}'"
    return ScheduleNotFound(text, runner=runner, schedule=schedule_id)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _known(score: float) -> datetime:
    return datetime.fromtimestamp(score / 1000, UTC)


def _moment(score: float | None) -> datetime | None:
    return None if score is None else _known(score)
