"""``Worker``: the handlers of a worker, and its run from the first word to Redis to the last."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from hero_supervisor.errors import RedisUnavailable
from hero_supervisor.queue.claims import FAILED, FINISHED, Claims, Ended
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.keys import Keys

from .attempt import Attempt
from .claim_loop import ClaimLoop
from .context import JobContext
from .options import DEFAULT_STOP_GRACE_S, WorkerOptions
from .process import run_process, tell_ready

if TYPE_CHECKING:
    from hero_supervisor.job import Job
    from hero_supervisor.queue.claims import Claim

    from .stopping import StopRequest

#: A handler is given its job, and returns a text, anything with a JSON form, or ``None``; or an awaitable of one.
Handler = Callable[[JobContext], Any]
HandlerT = TypeVar("HandlerT", bound=Handler)

#: The payload that asks whether a worker is well, and the answer. Source: the original's actor loop.
PING: Final = "ping"
PONG: Final = "pong"


class Worker:
    """Takes jobs of one runner's queue and has handlers execute them."""

    def __init__(
        self,
        runner: str | None = None,
        *,
        redis_url: str | None = None,
        namespace: str | None = None,
        queue: str | None = None,
        concurrency: int | None = None,
        stop_grace_s: float = DEFAULT_STOP_GRACE_S,
        default_executor: str | None = None,
    ) -> None:
        """Read the environment for what is not given; the supervisor gives its workers all of it.

        Args:
            runner: Id of the runner [HERO_RUNNER].
            redis_url: ``redis://``, ``rediss://`` or ``unix://`` [HERO_REDIS_URL, redis://localhost:6379].
            namespace: What all key names begin with [HERO_NAMESPACE, hero].
            queue: Redis list into which foreign clients push [HERO_QUEUE, NAMESPACE:q:work:type:RUNNER].
            concurrency: How many jobs are executed at a time, from 1 to 1000 [HERO_CONCURRENCY, 1].
            stop_grace_s: Seconds that jobs may go on after SIGTERM; then they go back into the queue. Should be less
                than the unit's ``stop_timeout_s``.
            default_executor: Executor of jobs that name none; the only one when there is only one.

        Raises:
            InvalidSettings: With every fault.
        """
        self.options: Final = WorkerOptions.resolve(
            os.environ,
            runner=runner,
            redis_url=redis_url,
            namespace=namespace,
            queue=queue,
            concurrency=concurrency,
            stop_grace_s=stop_grace_s,
        )
        self._default_executor = default_executor
        self._handlers: dict[str, tuple[Handler, bool]] = {}
        self._threads: ThreadPoolExecutor | None = None
        #: Whether handlers that could not be made to end still ran when ``serve`` returned.
        self.has_stuck_handlers = False

    def executor(self, name: str) -> Callable[[HandlerT], HandlerT]:
        """Return a decorator that makes a function the handler of jobs with this executor.

        An ``async`` function is called in the event loop, any other in a thread. What it returns is the job's result:
        a text as it is, ``None`` as an empty text, anything else as JSON. What it raises is the job's error, and the
        job is tried again if it has retries left; not after ``GiveUp``.

        Raises:
            ValueError: The name is empty, or has a handler already.
        """
        if not name or name in self._handlers:
            raise ValueError(f"cannot register executor '{name}': it {'has a handler' if name else 'has no name'}")

        def register(handler: HandlerT) -> HandlerT:
            self._handlers[name] = (handler, _is_async(handler))
            return handler

        return register

    def run(self, stop: StopRequest | None = None) -> NoReturn:
        """Serve until a signal, and end the process.

        SIGTERM and SIGINT stop: no more jobs are taken, those that run may end within the grace, the others go back
        into the queue; exit status 0. A second one kills. SIGUSR1 drains: jobs may take as long as they take; exit
        status 100, after which systemd does not start the worker again. Status 1: this process was taken for dead.

        Log lines go to the journal, or to stderr, when nothing else has been set up for logging.

        Args:
            stop: What the signals make; for programs that look at it.
        """
        run_process(self, stop)

    async def serve(self, stop: StopRequest) -> None:
        """Take and execute jobs until asked to stop or drain; for programs that have an event loop of their own.

        Args:
            stop: Ends it.

        Raises:
            HolderFenced: This process was taken for dead and others have its jobs: it should end.
        """
        options = self.options
        claims = Claims(RedisServer.at(options.redis_url), Keys(options.namespace), options.runner, options.holder)
        loop = ClaimLoop(claims, options, self._begin)
        try:
            await loop.run(options.record(), stop, tell_ready)
            if not options.is_supervised:
                with suppress(RedisUnavailable):
                    await claims.leave()
        finally:
            await claims.aclose()
            self._leave_threads(loop)

    def _leave_threads(self, loop: ClaimLoop) -> None:
        self.has_stuck_handlers = loop.has_stuck_handlers
        if self._threads is not None:
            self._threads.shutdown(wait=not self.has_stuck_handlers)
            self._threads = None

    # -- one job -------------------------------------------------------------------------------------------------

    def _begin(self, claim: Claim, on_progress: Callable[[JobContext], None]) -> Attempt | Ended:
        job = claim.job
        if job is None:
            return Ended(claim.job_id, claim.attempt, FAILED, claim.fault)
        if job.payload == PING:
            return Ended(job.id, claim.attempt, FINISHED, PONG)
        found = self._handlers.get(self._executor_of(job))
        if found is None:
            return Ended(job.id, claim.attempt, FAILED, self._unknown(job))
        handler, is_async = found
        context = JobContext(job, claim.attempt, on_progress)
        return Attempt(context, handler, None if is_async else self._pool())

    def _executor_of(self, job: Job) -> str:
        only = next(iter(self._handlers)) if len(self._handlers) == 1 else ""
        return job.executor or self._default_executor or only

    def _unknown(self, job: Job) -> str:
        wanted = f"no executor '{job.executor}'" if job.executor else "the job names no executor"
        return f"cannot execute: {wanted}; known are: {', '.join(sorted(self._handlers)) or 'none'}"

    def _pool(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.options.concurrency, thread_name_prefix="job")
        return self._threads


def _is_async(handler: Handler) -> bool:
    call = getattr(handler, "__call__", None)  # noqa: B004  # of an object that is called like a function
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
