"""The worker's loop: end attempts and take jobs in one call, execute them, again.

One call at a time: it carries every attempt that has ended meanwhile, and asks for as many jobs as there are free
slots. So under load a call does the work of many, and an attempt that ends waits for at most one call.

What may happen between any two steps:

- *Redis goes away*: the loop waits for it, for ever, and keeps what has ended. A call that was not answered may have
  been executed: the next one asks for everything that we have (``is_again``), and we start what we do not know of.
- *We are to stop or drain*: the loop takes no more; jobs that a call brings all the same are released. From the stop
  on, what runs may end within the grace; then it is broken off and released.
- *A job is cancelled*: the word may come before the job, whose call is not answered yet. It is kept until a call has
  told all that we have.
- *We were taken for dead*: ``HolderFenced``. Others have our jobs, so all work is broken off at once.
- *We are killed*: the supervisor recovers what we had.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from hero_supervisor.errors import HolderFenced
from hero_supervisor.queue.claims import ERROR, RELEASED, Ended

from .interruption import Interruption
from .patience import AWAY, Patience
from .side_talk import Progress, Waking, adopt, beat, heed
from .stopping import within

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from hero_supervisor.queue.claims import Claim, Claims, Exchange, HolderRecord

    from .attempt import Attempt
    from .context import JobContext
    from .options import WorkerOptions
    from .stopping import StopRequest

logger = logging.getLogger(__name__)

#: Longest and shortest time until an idle worker looks again by itself, in seconds. It is told when there is work;
#: but the word may be lost, and for a rate or a time to come there is none.
LOOK_AGAIN_S: Final = 5.0
MIN_PAUSE_S: Final = 0.02
#: Seconds that attempts have to end after they were broken off: a script's process group is killed in less.
BREAK_OFF_S: Final = 1.0


class Begin(Protocol):
    """Makes an attempt of a job that was taken, or tells at once how it ends."""

    def __call__(self, claim: Claim, on_progress: Callable[[JobContext], None], /) -> Attempt | Ended:
        """Begin an attempt; ``on_progress`` is for its context."""


class ClaimLoop:
    """Executes the jobs of one queue, as one holder."""

    def __init__(self, claims: Claims, options: WorkerOptions, begin: Begin) -> None:
        self._claims = claims
        self._options = options
        self._begin = begin
        self._progress = Progress()
        self._waking = Waking(claims, self._look)
        self._running: dict[str, tuple[Attempt, asyncio.Task[None]]] = {}
        self._ended: list[Ended] = []
        #: Jobs that are to be cancelled and that we do not know of yet.
        self._unwanted: set[str] = set()
        self._news = asyncio.Event()
        #: Whether to ask Redis although nothing has ended, and whether to ask for what we should have already: at
        #: first too, because a former process may have lived under our name.
        self._looks = True
        self._is_again = True
        #: When there will be jobs, by ``time.monotonic``.
        self._look_at = 0.0
        self._patience = Patience()
        #: What still runs will not end, and is not waited for.
        self._is_abandoned = False

    @property
    def has_stuck_handlers(self) -> bool:
        """Whether handlers still run, after ``run``, that could not be made to end."""
        return bool(self._running)

    async def run(self, record: HolderRecord, stop: StopRequest, on_ready: Callable[[], None]) -> None:
        """Work until asked to stop or drain, and until all attempts are ended or released.

        Args:
            record: What others are to know of this holder.
            stop: Ends it.
            on_ready: Called once when Redis knows this holder.

        Raises:
            HolderFenced: This process was taken for dead; all its work has been broken off.
        """
        if not await self._register(record, stop):
            return
        on_ready()
        fenced: list[HolderFenced] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                side = [tasks.create_task(each, name="worker-side-talk") for each in self._side_talk(stop)]
                await self._work(stop)
                for task in side:
                    task.cancel()
        except* HolderFenced as group:
            fenced += [exc for exc in group.exceptions if isinstance(exc, HolderFenced)]
        finally:
            if not self._is_abandoned:
                await self._break_off(Interruption.FENCED if fenced else Interruption.STOPPING)
            if self._ended and not fenced:  # this very call was cancelled
                with suppress(*AWAY):
                    await self._claims.exchange(self._ended, want=0)
        if fenced:
            raise fenced[0]

    def _side_talk(self, stop: StopRequest) -> Iterable[Coroutine[Any, Any, None]]:
        yield beat(self._claims, self._progress)
        yield heed(self._claims, self._cancel)
        yield adopt(self._claims, self._options.queue)
        yield self._waking.run()
        yield self._end_grace(stop)
        yield self._notice(stop)

    async def _register(self, record: HolderRecord, stop: StopRequest) -> bool:
        while not stop.takes_no_more:
            try:
                await self._claims.register(record)
            except AWAY as exc:
                await stop.takes_no_more_within(self._patience.after(exc))
            else:
                self._patience.is_rewarded()
                return True
        return False

    # -- the loop ------------------------------------------------------------------------------------------------

    async def _work(self, stop: StopRequest) -> None:
        while self._ended or not self._is_abandoned:
            want = 0 if stop.takes_no_more else self._options.concurrency - len(self._running)
            if self._ended or (self._looks and not stop.takes_no_more):
                await self._exchange(want, stop)
            elif stop.takes_no_more and not self._running:
                return
            else:
                await self._until_news(has_free_slots=want > 0)

    async def _until_news(self, *, has_free_slots: bool) -> None:
        self._news.clear()
        if not has_free_slots:
            await self._news.wait()
            return
        self._waking.want()
        await within(max(MIN_PAUSE_S, self._look_at - time.monotonic()), self._news.wait())
        if not self._news.is_set():
            self._looks = True

    async def _exchange(self, want: int, stop: StopRequest) -> None:
        ended, self._ended = self._ended, []
        unwanted, is_again = set(self._unwanted), self._is_again
        # Set before, so that a call that is broken off anywhere counts as not answered.
        self._looks, self._is_again = is_again, True
        try:
            # Not more with ``is_again``: what we should have already may fill all slots.
            answer = await self._claims.exchange(ended, want=0 if is_again else want, is_again=is_again)
        except AWAY as exc:
            self._ended, self._looks = ended + self._ended, True
            pause_s = self._patience.after(exc)
            await (asyncio.sleep(pause_s) if stop.takes_no_more else stop.takes_no_more_within(pause_s))
            return
        self._patience.is_rewarded()
        self._is_again = bool(self._unwanted - unwanted)
        self._note(answer, ended)
        self._start(answer.claims, stop)
        if is_again:
            self._unwanted -= unwanted

    def _note(self, answer: Exchange, ended: list[Ended]) -> None:
        again_s = LOOK_AGAIN_S if answer.again_at is None else answer.again_at - time.time() + 0.001
        self._look_at = time.monotonic() + min(again_s, LOOK_AGAIN_S)
        for each, word in zip(ended, answer.answers, strict=True):
            if word != "ok":
                logger.warning("cannot end job '%s' as %s: it is '%s'", each.job_id, each.outcome, word)

    def _start(self, claims: Iterable[Claim], stop: StopRequest) -> None:
        known = {*self._running, *(each.job_id for each in self._ended)} if claims else set()
        for claim in claims:
            if claim.job_id in known:
                continue  # it was given to us again
            if claim.job_id in self._unwanted:
                self._ended.append(Ended(claim.job_id, claim.attempt, ERROR, "cancelled"))
            elif stop.takes_no_more:
                self._ended.append(Ended(claim.job_id, claim.attempt, RELEASED))
            else:
                self._execute(claim)

    def _execute(self, claim: Claim) -> None:
        begun = self._begin(claim, self._progress.announce)
        if isinstance(begun, Ended):
            self._ended.append(begun)
        else:
            task = asyncio.create_task(self._see_through(begun), name=f"job-{claim.job_id}")
            self._running[claim.job_id] = (begun, task)

    async def _see_through(self, attempt: Attempt) -> None:
        ended = await attempt.run()
        self._running.pop(ended.job_id, None)
        self._ended.append(ended)
        self._news.set()

    # -- what comes from outside ---------------------------------------------------------------------------------

    def _look(self) -> None:
        """Ask Redis, also when all slots are taken: who got the word and takes nothing wakes the next one by that."""
        self._looks = True
        self._news.set()

    def _cancel(self, job_id: str) -> None:
        if job_id in self._running:
            self._running[job_id][0].interrupt(Interruption.CANCELLED)
        else:
            self._unwanted.add(job_id)
            self._is_again = True
            self._look()

    async def _notice(self, stop: StopRequest) -> None:
        await stop.until_takes_no_more()
        self._news.set()

    async def _end_grace(self, stop: StopRequest) -> None:
        """When asked to stop, let attempts end within the grace, and break off the others."""
        await stop.until_made()
        await asyncio.sleep(self._options.stop_grace_s)
        await self._break_off(Interruption.STOPPING)
        if not self._options.is_supervised:
            # Nobody else would give them to others. They go on for the moment until this process ends.
            self._ended += [Ended(each.context.job_id, each.context.attempt, RELEASED) for each in self._attempts()]
        self._is_abandoned = True
        self._news.set()

    async def _break_off(self, why: Interruption) -> None:
        for attempt in self._attempts():
            attempt.interrupt(why)
        tasks = [task for _, task in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=BREAK_OFF_S)

    def _attempts(self) -> list[Attempt]:
        return [attempt for attempt, _ in self._running.values()]
