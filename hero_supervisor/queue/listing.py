"""Finding jobs: pages over the indexes of all queues, newest first.

A place in that order is a job's time of creation and, among those of one microsecond, its id; a cursor is such a place
as text. Jobs that come or go between two pages change nothing about the rest.
"""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from hero_supervisor.errors import Fault, InvalidInput

from .store import SUMMARIES_PER_READ, usec_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from hero_supervisor.job import JobStatus, JobSummary

    from .store import JobStore

#: Most jobs that are looked at for one page.
MAX_LOOKED_AT: Final = 50_000

#: Created so many microseconds after the epoch, and id.
Place = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are wanted; ``None`` and nothing mean all."""

    status: JobStatus | None = None
    runner: str | None = None
    caller_id: str | None = None
    context_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Created from the one to before the other.
    since: datetime | None = None
    until: datetime | None = None

    def accepts(self, job: JobSummary) -> bool:
        """Whether a job is wanted, its time and runner apart."""
        return (
            self.status in {None, job.status}
            and self.caller_id in {None, job.caller_id}
            and self.context_id in {None, job.context_id}
            and self.labels.items() <= job.labels.items()
        )


async def find_jobs(store: JobStore, wanted: JobFilter, *, limit: int, after: str | None = None) -> list[JobSummary]:
    """Return jobs, newest first, each with the cursor behind it.

    Args:
        store: Where they are.
        wanted: Which ones.
        limit: Most jobs to return.
        after: A job's cursor: older ones are returned.

    Raises:
        InvalidInput: ``after`` is not a cursor.
    """
    before = None if after is None else place_in(after)
    if before is None and wanted.until is not None:
        before = (usec_of(wanted.until), b"")
    found: list[JobSummary] = []
    async for page in _pages(store, wanted, before):
        found += [job for job in page if wanted.accepts(job)]
        if len(found) >= limit:
            break
    return found[:limit]


def place_in(cursor: str) -> Place:
    """Return the place that a cursor stands for.

    Raises:
        InvalidInput: It is no cursor.
    """
    parts = re.fullmatch(r"([0-9]{1,16})-(.{1,512})", cursor)
    if parts is None:
        raise InvalidInput([Fault("after_cursor", "must be the cursor of a job in a list of jobs")])
    return int(parts[1]), parts[2].encode()


async def _pages(store: JobStore, wanted: JobFilter, before: Place | None) -> AsyncIterator[list[JobSummary]]:
    async with store.server.call():
        queues = [wanted.runner] if wanted.runner is not None else await _queues(store)
    oldest = 0 if wanted.since is None else usec_of(wanted.since)
    for _page in range(MAX_LOOKED_AT // SUMMARIES_PER_READ):
        places = await _next_places(store, queues, before, oldest)
        if not places:
            return
        jobs = await store.summaries([(job_id.decode(errors="replace"), usec) for usec, job_id in places])
        by_id = {job_id.decode(errors="replace"): usec for usec, job_id in places}
        yield [replace(job, cursor=f"{by_id[job.id]}-{job.id}") for job in jobs]
        before = places[-1]


async def _queues(store: JobStore) -> list[str]:
    members: Any = await store.redis.smembers(store.keys.queues)
    return [member.decode(errors="replace") for member in members]


async def _next_places(store: JobStore, queues: list[str], before: Place | None, oldest: int) -> list[Place]:
    places = [await _places_in(store, store.keys.queue(queue, "jobs"), before, oldest) for queue in queues]
    return list(islice(heapq.merge(*places, reverse=True), SUMMARIES_PER_READ))


async def _places_in(store: JobStore, index: str, before: Place | None, oldest: int) -> list[Place]:
    newest = "+inf" if before is None else before[0]
    found: list[Place] = []
    offset = 0
    while True:
        async with store.server.call():
            entries: Any = await store.redis.zrevrangebyscore(
                index, newest, oldest, start=offset, num=SUMMARIES_PER_READ, withscores=True
            )
        places = [(int(score), member) for member, score in entries]
        found += [place for place in places if before is None or place < before]
        if len(found) >= SUMMARIES_PER_READ or len(entries) < SUMMARIES_PER_READ:
            return found
        offset += SUMMARIES_PER_READ
