"""News of jobs: their states, whoever changes them, from what Redis tells of changed keys (``queue/changes.py``).

Scripts of ours and runners of others write into the hashes of jobs, so Redis itself has to tell; that costs it up to a
quarter of its write throughput, and so it is asked to only while somebody wants to know. What it tells is that a hash
has changed: the jobs concerned are read, many at once, a moment later. So the states that a job passes through within
that moment are left out; its last state is not, because whatever changes later is told again.

While the connection is lost changes are not seen. When it is back a gap is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import HeroError

from .event import JobChange, JobEvent, Topic
from .lazily import Lazily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hero_supervisor.client import JobClient
    from hero_supervisor.queue.records import JobGlance

    from .hub import EventHub

logger = logging.getLogger(__name__)

#: Seconds that changes are collected before jobs are read.
COLLECT_S: Final = 0.05
#: Jobs that are read at once, and seconds until they are again when that failed.
JOBS_PER_READ: Final = 250
FAILURE_PAUSE_S: Final = 0.5
#: Most jobs that wait to be read; with more of them a gap is told instead.
MAX_CHANGED: Final = 100_000
#: Jobs of which it is remembered what was told last, so that it is not told twice.
MAX_REMEMBERED: Final = 20_000


class JobNews:
    """Tells of jobs."""

    def __init__(self, hub: EventHub, jobs: Callable[[], JobClient]) -> None:
        """Args: who is told, and the jobs in Redis, while there is a connection."""
        self._hub = hub
        self._jobs = jobs
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._told: OrderedDict[str, JobGlance] = OrderedDict()
        self._has_begun = False
        hub.add_source(Topic.JOB, Lazily(self._run, name="job-news"))

    async def _run(self, ready: Callable[[], None]) -> None:
        self._has_begun = False
        self._changed.clear()
        self._told.clear()
        jobs = self._jobs()

        def on_change(keys: list[bytes] | None) -> None:
            if keys is not None:
                self._note(map(jobs.keys.job_id, keys))
            elif self._has_begun:
                self._hub.note_gap(Topic.JOB)
            else:
                self._has_begun = True
                self._hub.begin(Topic.JOB)
                ready()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(jobs.follow_changes([jobs.keys.job_prefix], on_change))
            tasks.create_task(self._keep_reading(jobs))

    def _note(self, job_ids: Iterable[str]) -> None:
        self._changed.update(dict.fromkeys(job_ids))
        if len(self._changed) > MAX_CHANGED:
            self._changed.clear()
            self._hub.note_gap(Topic.JOB)
        self._wake.set()

    async def _keep_reading(self, jobs: JobClient) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(COLLECT_S)
            self._wake.clear()
            while self._changed:
                await self._read(jobs, list(islice(self._changed, JOBS_PER_READ)))

    async def _read(self, jobs: JobClient, ids: Sequence[str]) -> None:
        for id in ids:
            del self._changed[id]
        try:
            glances = await jobs.glance_at(ids)
        except HeroError as exc:
            logger.debug("cannot read jobs that have changed: %s", exc)
            self._changed.update(dict.fromkeys(ids))
            await asyncio.sleep(FAILURE_PAUSE_S)
            return
        for id, glance in zip(ids, glances, strict=True):
            before = self._told.get(id)
            if glance is None or glance == before:
                continue
            if glance.status is None and before is not None:
                glance = glance._replace(runner=before.runner)
            self._remember(id, glance)
            self._tell(id, glance)

    def _tell(self, id: str, glance: JobGlance) -> None:
        change = JobChange(status=glance.status, attempt=glance.attempt, reason=glance.reason, progress=glance.progress)
        self._hub.publish(JobEvent, change, runner=glance.runner or None, job_id=id)

    def _remember(self, id: str, glance: JobGlance) -> None:
        self._told[id] = glance
        self._told.move_to_end(id)
        if len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)
