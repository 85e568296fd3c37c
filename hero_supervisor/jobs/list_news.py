"""``ListNews``: which runners' lists have something new, as soon as Redis tells.

One connection follows the default lists of all runners, and while there are runners that take ids from lists also
their own lists, the signs of new work in their queues, and the hashes of all jobs, into which they write.

News may be lost; the sweep of ``JobKeeper`` finds what it told of.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from hero_supervisor.runner import JobProtocol

from .lists import lists_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hero_supervisor.client import JobClient
    from hero_supervisor.runner import Runner

logger = logging.getLogger(__name__)

#: How many jobs are remembered of which it is not known yet whose they are.
MAX_UNKNOWN: Final = 200


class ListNews:
    """Tells which runners to look at."""

    def __init__(self, jobs: Callable[[], JobClient], on_news: Callable[[str], None]) -> None:
        """Args: the jobs in Redis, and who is told the id of a runner whose lists have news."""
        self._jobs = jobs
        self._on_news = on_news
        self._runner_of_key: dict[bytes, str] = {}
        self._runner_of_job: dict[bytes, str] = {}
        self._listing: frozenset[str] = frozenset()
        self._unknown: deque[str] = deque(maxlen=MAX_UNKNOWN)
        self._prefixes: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None
        #: That one, and those before it that still close their connections.
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, runners: Iterable[Runner]) -> None:
        """Follow the lists of these runners from now on, and of no others."""
        keys = self._jobs().keys
        prefixes = {keys.work_queue_prefix}
        self._runner_of_key.clear()
        listing = set()
        for runner in runners:
            names = lists_of(runner, keys)
            if runner.job_protocol is JobProtocol.LIST:
                listing.add(runner.id)
                names.append(keys.queue(runner.id, "wake"))
                prefixes |= {keys.job_prefix, *names}
            self._runner_of_key.update((name.encode(), runner.id) for name in names)
        self._listing = frozenset(listing)
        self._run(frozenset(prefixes))

    def has(self, runner: str, job_ids: Iterable[str]) -> None:
        """Know from now on that a runner has these jobs, until ``forget``."""
        keys = self._jobs().keys
        self._runner_of_job.update((keys.job(job_id).encode(), runner) for job_id in job_ids)

    def forget(self, job_ids: Iterable[str]) -> None:
        """Know no more who has these jobs."""
        keys = self._jobs().keys
        for job_id in job_ids:
            self._runner_of_job.pop(keys.job(job_id).encode(), None)

    def take_unknown(self) -> list[str]:
        """Return jobs that have changed and of which nobody had said whose they are, once."""
        found = list(dict.fromkeys(self._unknown))
        self._unknown.clear()
        return found

    @property
    def is_only(self) -> bool:
        """Whether no more than one runner takes ids from lists."""
        return len(self._listing) == 1

    async def aclose(self) -> None:
        """Follow nothing any more."""
        if self._task is not None:
            self._task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _run(self, prefixes: frozenset[str]) -> None:
        if self._task is not None and not self._task.done() and prefixes == self._prefixes:
            return
        if self._task is not None:
            self._task.cancel()
        self._prefixes = prefixes
        following = self._jobs().follow_changes(prefixes, self._on_change)
        self._task = asyncio.create_task(following, name="list-news")
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)
        self._task.add_done_callback(_note_fault)

    def _on_change(self, keys: list[bytes] | None) -> None:
        if keys is None:
            keys = list(self._runner_of_key)
        for runner in {runner for key in keys if (runner := self._runner_with(key))}:
            self._on_news(runner)

    def _runner_with(self, key: bytes) -> str | None:
        runner = self._runner_of_key.get(key) or self._runner_of_job.get(key)
        if runner is None and key.startswith(self._jobs().keys.job_prefix.encode()):
            self._unknown.append(self._jobs().keys.job_id(key))
        return runner


def _note_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        logger.error("cannot follow the lists of runners: a fault of ours", exc_info=exc)
