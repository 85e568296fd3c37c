"""The SDK: workers that take jobs from the queue of a runner, execute them by handlers, and lose none.

::

    from hero_supervisor.worker import JobContext, Worker

    worker = Worker()


    @worker.executor("greet")
    async def greet(job: JobContext) -> str:
        return f"hello {job.payload}"


    worker.run()

``hero-runner``, the bundled worker, is one of these, whose handlers execute scripts. A tower of its own: it knows jobs
and queues, and nothing of the supervisor. What it says to Redis is the claim protocol, docs/protocol.md.
"""

from .context import JobContext
from .interruption import GiveUp, JobFailed, JobInterrupted, SoftTimeout
from .job_logging import JobLogHandler
from .options import WorkerOptions
from .stopping import StopRequest
from .worker import Handler, Worker

__all__ = [
    "GiveUp",
    "Handler",
    "JobContext",
    "JobFailed",
    "JobInterrupted",
    "JobLogHandler",
    "SoftTimeout",
    "StopRequest",
    "Worker",
    "WorkerOptions",
]
