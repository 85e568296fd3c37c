"""The runners that exist and what is wanted of them: in memory, and written down before it is acted upon.

Each runner has a lock. Public operations hold it, so that those on one runner follow one another and never wait for
another runner.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from msgspec.structs import replace

from hero_supervisor.errors import RunnerExists, RunnerNotFound, StateUnavailable
from hero_supervisor.state import Desired, StoredRunner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from hero_supervisor.runner import Runner
    from hero_supervisor.state import Retry, StateDirectory

    OnStored = Callable[[str, StoredRunner | None, StoredRunner | None], None]

logger = logging.getLogger(__name__)


class Registry:
    """Runner ids to definitions and desired states. What it holds is in the state directory when a method returns."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._runners: dict[str, StoredRunner] = {}
        #: Is told of each runner that is changed, with what it was before and is now; ``None`` for not there.
        self.on_change: OnStored = lambda *_: None
        #: Set, and replaced, whenever something has changed.
        self._changed = asyncio.Event()
        # A lock lives as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def load(self) -> None:
        """Read the state directory, which must be open.

        Raises:
            CorruptRecord: It holds something that this version did not write.
        """
        self._runners = self._state.load()

    def __iter__(self) -> Iterator[str]:
        """Yield the ids, in the order in which they were added."""
        return iter(tuple(self._runners))

    def __contains__(self, runner: object) -> bool:
        return runner in self._runners

    def get(self, runner: str) -> StoredRunner:
        """Return a runner.

        Raises:
            RunnerNotFound: No runner has this id.
        """
        if runner not in self._runners:
            raise RunnerNotFound(
                f"cannot find runner '{runner}'", hint="list the runners: herosup runner list", runner=runner
            )
        return self._runners[runner]

    def lock(self, runner: str) -> asyncio.Lock:
        """Return the lock of a runner, which need not exist."""
        return self._locks.setdefault(runner, asyncio.Lock())

    @asynccontextmanager
    async def known(self, runner: str) -> AsyncIterator[StoredRunner]:
        """Hold the lock of a runner that exists; it may have been removed while we waited for the lock."""
        self.get(runner)
        async with self.lock(runner):
            yield self.get(runner)

    async def add(self, runner: Runner, *, is_declared: bool) -> None:
        """Add a runner; with ``autostart`` it is meant to run. The caller holds its lock.

        Raises:
            RunnerExists: A runner of this id exists.
        """
        if runner.id in self._runners:
            raise RunnerExists(
                f"cannot add runner '{runner.id}': it exists already",
                hint=f"remove it first: herosup runner remove {runner.id}",
                runner=runner.id,
            )
        desired = Desired.RUNNING if runner.autostart else Desired.STOPPED
        await self._put({runner.id: StoredRunner(definition=runner, desired=desired, is_declared=is_declared)})

    async def replace(self, runner: Runner, *, replaces: Runner | None = None) -> None:
        """Give a runner that exists another definition. The caller holds its lock.

        Args:
            runner: The new definition.
            replaces: The old one, as long as instances may run that are not what the new one says.
        """
        await self._put({runner.id: replace(self.get(runner.id), definition=runner, replaces=replaces)})

    async def want(self, runner: str, desired: Desired) -> None:
        """Note what is wanted of a runner from now on."""
        stored = self.get(runner)
        wanted_at = time.time() if desired is Desired.RUNNING else stored.wanted_at
        await self._put({runner: replace(stored, desired=desired, wanted_at=wanted_at)})

    async def wanted_no_more(self, runner: str, desired: Desired) -> None:
        """Wait until something else is wanted of a runner.

        Raises:
            RunnerNotFound: It is removed.
        """
        while self.get(runner).desired is desired:
            await self._changed.wait()

    async def note_retry(self, runner: str, unit_name: str, retry: Retry) -> None:
        """Note that a unit failed. If the disk is full that is known all the same, until we end."""
        await self._keep_retries(runner, {**self.get(runner).retries, unit_name: retry})

    async def forget_retries(self, runner: str, unit_names: Iterable[str] | None = None) -> None:
        """Forget the failures of some of a runner's units; of all if none are given."""
        retries = self.get(runner).retries
        gone = set(retries if unit_names is None else unit_names)
        await self._keep_retries(runner, {name: retry for name, retry in retries.items() if name not in gone})

    async def _keep_retries(self, runner: str, retries: dict[str, Retry]) -> None:
        changed = {runner: replace(self.get(runner), retries=retries)}
        try:
            await self._put(changed)
        except StateUnavailable as exc:
            # A full disk must not keep runners from being started again.
            self._runners.update(changed)
            logger.warning("%s", exc, extra={"runner": runner})

    async def remove(self, runner: str) -> None:
        """Forget a runner. The caller holds its lock."""
        stored = self._runners.pop(runner)
        try:
            await self._state.save(self._runners)
        except StateUnavailable:
            self._runners[runner] = stored
            raise
        self._tell()
        self.on_change(runner, stored, None)

    async def _put(self, changed: dict[str, StoredRunner]) -> None:
        before = dict(self._runners)
        self._runners.update(changed)
        if self._runners == before:
            return
        try:
            await self._state.save(self._runners)
        except StateUnavailable:
            # What is not on disk must not look as if it were, or the same call again would have nothing to do.
            for id in changed:
                self._runners.pop(id)
                self._runners.update({id: before[id]} if id in before else {})
            raise
        self._tell()
        for id, stored in changed.items():
            self.on_change(id, before.get(id), stored)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
