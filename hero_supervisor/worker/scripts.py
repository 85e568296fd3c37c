"""The handlers of the bundled worker: a payload is a script, what it prints is the result."""

from __future__ import annotations

import logging
import os
import time
from signal import SIGTERM
from typing import TYPE_CHECKING, Final

from hero_supervisor.journald import encode
from hero_supervisor.queue.claims import FINISHED

from .execute import Script, execute
from .interruption import Interruption, JobFailed, Released, SoftTimeout
from .journal_log import PRIORITY_INFO, JobLog
from .outcome import outcome_of_script
from .surroundings import environment_of

if TYPE_CHECKING:
    from .context import JobContext
    from .options import WorkerOptions
    from .outcome import Ending
    from .stopping import StopRequest

logger = logging.getLogger(__name__)

#: Seconds between SIGTERM and SIGKILL for a job that is cancelled or whose time is up.
KILL_GRACE_S: Final = 2.0
#: How long after a script's death by SIGTERM our own may still come, in seconds. systemd may signal all of a unit's
#: processes at once, and the script's death may be seen first.
OWN_SIGTERM_S: Final = 0.5


class ScriptHandler:
    """Executes payloads with one interpreter."""

    def __init__(self, executor: str, options: WorkerOptions, stop: StopRequest, log: JobLog) -> None:
        """Args: a key of ``INTERPRETERS``, the worker's options, its request to stop, and where output is logged."""
        self._executor = executor
        self._options = options
        self._stop = stop
        self._log = log

    async def __call__(self, context: JobContext) -> str:
        """Execute a payload and return what it printed."""
        began = time.monotonic()
        ending = await self._ending_of(context)
        if ending.return_code == -SIGTERM and await self._stop.comes_within(OWN_SIGTERM_S):
            raise Released
        outcome = outcome_of_script(ending)
        logger.info("job '%s': %s after %.3f s", context.job_id, outcome.word, time.monotonic() - began)
        if outcome.word == FINISHED:
            return outcome.text
        if context.interruption is Interruption.SOFT_TIMEOUT:
            raise SoftTimeout
        raise JobFailed(outcome.text)

    async def _ending_of(self, context: JobContext) -> Ending:
        environment = environment_of(context.job, attempt=context.attempt, runner=self._options.runner, own=os.environ)
        entry = self._entry(context)

        async def log(line: bytes, /, *, stream: str) -> None:
            await self._log.write(entry, line, stream=stream)

        def patience_s() -> float:
            is_gentle = context.interruption in {Interruption.CANCELLED, Interruption.TIMEOUT}
            return KILL_GRACE_S if is_gentle else 0.0

        try:
            return await execute(Script(context.payload, self._executor, environment), log, patience_s)
        except OSError as exc:
            raise JobFailed(f"cannot start the script: {exc}") from exc

    def _entry(self, context: JobContext) -> bytes:
        fields = {
            "PRIORITY": PRIORITY_INFO,
            "SYSLOG_IDENTIFIER": self._options.runner,
            "HERO_RUNNER": self._options.runner,
            "HERO_NAMESPACE": self._options.namespace,
            "HERO_JOB_ID": context.job_id,
            "HERO_ATTEMPT": str(context.attempt),
        }
        return encode(fields)
