"""What a worker says to Redis, and hears from there, beside taking and ending jobs.

Each loop has its own connection and its own patience, so that a job that is being taken holds up no word of a
cancellation, and a quiet list no sign of life.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from .patience import AWAY, Patience
from .stopping import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from hero_supervisor.queue.claims import Claims

    from .context import JobContext

#: Seconds between two signs of life, and between two reports of progress.
BEAT_S: Final = 5.0
PROGRESS_PAUSE_S: Final = 0.25
#: Longest wait of a blocking call, in seconds: so long a connection that died without a word is not noticed.
BLOCK_S: Final = 5.0
_CANCEL: Final = "cancel "


class Progress:
    """The jobs whose progress is to be sent."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._contexts: dict[str, JobContext] = {}

    def announce(self, context: JobContext) -> None:
        """Note that a job has progress; from any thread."""
        self._loop.call_soon_threadsafe(self._note, context)

    def _note(self, context: JobContext) -> None:
        self._contexts[context.job_id] = context
        self._news.set()

    async def comes_within(self, seconds: float) -> None:
        """Wait until there is any, at most so long."""
        await within(seconds, self._news.wait())

    def take(self) -> list[JobContext]:
        """Return the jobs that have any."""
        self._news.clear()
        contexts, self._contexts = list(self._contexts.values()), {}
        return contexts


async def beat(claims: Claims, progress: Progress) -> None:
    """Say for ever that this worker lives, and how far its jobs are.

    Raises:
        HolderFenced: This worker was taken for dead.
    """
    patience = Patience(is_quiet=True)
    while True:
        contexts = progress.take()
        told = [(each.job_id, each.attempt, each.take_progress() or b"null") for each in contexts]
        try:
            await claims.beat(told)
        except AWAY as exc:
            for context in contexts:
                progress.announce(context)
            await asyncio.sleep(patience.after(exc))
        else:
            patience.is_rewarded()
            await asyncio.sleep(PROGRESS_PAUSE_S)
            await progress.comes_within(BEAT_S - PROGRESS_PAUSE_S)


async def heed(claims: Claims, on_cancel: Callable[[str], None]) -> None:
    """Hear for ever what this worker is told. A word may come twice."""
    patience = Patience(is_quiet=True)
    while True:
        try:
            word = await claims.wait_for_word(block_s=BLOCK_S)
            if word is not None:
                if word.startswith(_CANCEL):
                    on_cancel(word.removeprefix(_CANCEL))
                await claims.forget_word(word)
        except AWAY as exc:
            await asyncio.sleep(patience.after(exc))
        else:
            patience.is_rewarded()


async def adopt(claims: Claims, queue: str) -> None:
    """Take for ever into the queue what foreign clients push to a list."""
    patience = Patience(is_quiet=True)
    while True:
        try:
            if await claims.wait_for_foreign(queue, block_s=BLOCK_S):
                await claims.adopt(queue)
        except AWAY as exc:
            await asyncio.sleep(patience.after(exc))
        else:
            patience.is_rewarded()


class Waking:
    """Waits for the word that there is work, while somebody wants to know."""

    def __init__(self, claims: Claims, on_word: Callable[[], None]) -> None:
        self._claims = claims
        self._on_word = on_word
        self._is_wanted = asyncio.Event()

    def want(self) -> None:
        """Tell once when there may be work."""
        self._is_wanted.set()

    async def run(self) -> None:
        """Wait for ever, while it is wanted."""
        patience = Patience(is_quiet=True)
        while True:
            await self._is_wanted.wait()
            try:
                is_told = await self._claims.wait_for_work(block_s=BLOCK_S)
            except AWAY as exc:
                # Whoever looks now meets the same trouble, and says so; or there is none but with this connection.
                self._tell()
                await asyncio.sleep(patience.after(exc))
            else:
                patience.is_rewarded()
                if is_told:
                    self._tell()

    def _tell(self) -> None:
        self._is_wanted.clear()
        self._on_word()
