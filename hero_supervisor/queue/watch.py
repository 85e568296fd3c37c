"""Waiting for the end of jobs: any number of waiters, one connection.

Runners write results straight into the job's hash, so Redis itself has to tell us: CLIENT TRACKING in broadcast mode
names every changed key with the prefix of job hashes, whoever changed it. Ends that a script of ours brought about are
told on a channel as well, and looked at first. Three parts run while somebody waits:

- the *listener* subscribes, and turns changed keys into ids to look at;
- the *reader* looks at them, many per round trip, and settles the waiters of jobs that have ended;
- the *sweep* has all waited-for jobs looked at every second: announcements are lost while a connection is down, and
  a connection may be dead without anybody noticing.

What can interleave: a waiter is entered before its job is read for the first time, and after each (re)subscription
all waited-for jobs are read, so an end between reading and subscribing is seen. All parts end some seconds after the
last waiter has gone, because tracking costs Redis up to a quarter of its write throughput.

Rejected: keyspace notifications (need CONFIG SET, three times the traffic); BLPOP on reply lists (takes what belongs
to foreign clients, and thousands of keys cost milliseconds per call); one subscription per job.
"""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import HeroError, OperationTimeout, RedisUnavailable

from .changes import follow_changes
from .store import RESULTS_PER_READ

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hero_supervisor.job import JobResult

    from .connection import RedisServer
    from .store import JobStore

    Outcome = JobResult | BaseException

#: Seconds between two sweeps.
SWEEP_S: Final = 1.0
#: Seconds until a job is looked at that somebody begins to wait for, or that has changed, if no end is told.
UNTOLD_S: Final = 0.005
#: Sweeps without a waiter after which everything is put away.
IDLE_SWEEPS: Final = 10
#: Seconds that a waiter whose time is up spends on finding out how its job stands.
LAST_LOOK_S: Final = 1.0


class JobWatcher:
    """Waits for the end of jobs of one store."""

    def __init__(self, server: RedisServer, store: JobStore) -> None:
        self._server = server
        self._store = store
        self._waiters: dict[str, set[asyncio.Future[Outcome]]] = {}
        self._touched: set[str] = set()
        self._wake = asyncio.Event()
        self._unavailable: RedisUnavailable | None = None
        self._task: asyncio.Task[None] | None = None

    async def wait(self, job_id: str, *, timeout_s: float) -> JobResult:
        """Return the result of a job when it has ended.

        Args:
            job_id: The job.
            timeout_s: Longest wait, in seconds. While Redis is away the wait goes on.

        Raises:
            OperationTimeout: It has not ended in time; the message has its present status.
            RedisUnavailable: Redis is away when the time is up.
            JobNotFound: No job has this id, or it was deleted while we waited.
            CorruptRecord: Its record cannot be read.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(job_id, set()).add(future)
        self._run_in_background()
        self._touch_soon({job_id})
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await future
        except TimeoutError:
            outcome = await self._last_look(job_id, timeout_s)
        finally:
            self._forget(job_id, future)
        if isinstance(outcome, BaseException):
            # Each waiter raises its own: a shared one would collect the traceback of every waiter.
            raise copy(outcome)
        return outcome

    async def aclose(self) -> None:
        """Stop everything; whoever still waits gets ``RedisUnavailable``."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._settle_all(RedisUnavailable("cannot wait for jobs: the client has been closed"))

    # -- waiters -------------------------------------------------------------------------------------------------

    def _forget(self, job_id: str, future: asyncio.Future[Outcome]) -> None:
        futures = self._waiters[job_id]
        futures.discard(future)
        if not futures:
            del self._waiters[job_id]

    def _touch(self, job_ids: Iterable[str]) -> None:
        self._touched.update(self._waiters.keys() & job_ids)
        if self._touched:
            self._wake.set()

    def _settle(self, job_id: str, outcome: Outcome) -> None:
        if not isinstance(outcome, BaseException) and not outcome.status.is_final:
            return
        for future in self._waiters.get(job_id, ()):
            if not future.done():
                # As a result, never as an exception: a waiter cancelled right now would leave that one unread.
                future.set_result(outcome)

    def _settle_all(self, outcome: BaseException) -> None:
        for job_id in self._waiters:
            self._settle(job_id, outcome)

    async def _last_look(self, job_id: str, timeout_s: float) -> Outcome:
        if self._unavailable is not None:
            return self._unavailable
        try:
            async with asyncio.timeout(LAST_LOOK_S):
                [outcome] = await self._store.read_results([job_id])
        except TimeoutError:
            return RedisUnavailable(f"cannot wait for job '{job_id}': Redis does not answer", job_id=job_id)
        if isinstance(outcome, HeroError) or outcome.status.is_final:
            return outcome
        return OperationTimeout(
            f"cannot wait longer for job '{job_id}': it is '{outcome.status}' after {timeout_s:g} s",
            hint="it may still end: ask for its result later",
            job_id=job_id,
            status=outcome.status.value,
        )

    # -- background ----------------------------------------------------------------------------------------------

    def _run_in_background(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="job-watcher")
            self._task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (exc := task.exception()) is not None:
            # A fault of ours. Nobody would wake the waiters any more, so they get it.
            self._settle_all(exc)

    async def _run(self) -> None:
        # Again when somebody came while the parts were ending.
        while self._waiters:
            async with asyncio.TaskGroup() as parts:
                endless = (parts.create_task(self._listen()), parts.create_task(self._read()))
                await self._sweep()
                for part in endless:
                    part.cancel()

    async def _listen(self) -> None:
        # Its trouble is not reported: the reader meets the same, and meanwhile the sweep does this work.
        keys = self._store.keys
        await follow_changes(
            self._server, [keys.job_prefix], self._on_change, channel=keys.ends, on_word=self._on_end_of
        )

    def _on_change(self, keys: list[bytes] | None) -> None:
        if keys is None:
            self._touch(self._waiters)
            return
        # Most changes are no ends, and the scripts tell those: what is left are runners that write for themselves.
        changed = self._waiters.keys() & map(self._store.keys.job_id, keys)
        if changed:
            self._touch_soon(changed)

    def _touch_soon(self, job_ids: set[str]) -> None:
        """Have jobs looked at, unless their end is told before: each look costs as much as queueing a job."""
        asyncio.get_running_loop().call_later(UNTOLD_S, self._touch, job_ids)

    def _on_end_of(self, job_id: bytes) -> None:
        self._touch([job_id.decode(errors="replace")])

    async def _read(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            ids = list(self._touched)
            self._touched.clear()
            for start in range(0, len(ids), RESULTS_PER_READ):
                await self._look_at(ids[start : start + RESULTS_PER_READ])

    async def _look_at(self, job_ids: Sequence[str]) -> None:
        try:
            outcomes: Sequence[JobResult | HeroError] = await self._store.read_results(job_ids)
        except RedisUnavailable as exc:
            self._unavailable = exc  # the next sweep tries again
            return
        except HeroError as exc:
            outcomes = [exc] * len(job_ids)
        self._unavailable = None
        for job_id, outcome in zip(job_ids, outcomes, strict=True):
            self._settle(job_id, outcome)

    async def _sweep(self) -> None:
        idle = 0
        while idle < IDLE_SWEEPS:
            await asyncio.sleep(SWEEP_S)
            idle = 0 if self._waiters else idle + 1
            self._touch(self._waiters)
