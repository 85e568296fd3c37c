"""Which calls may be sent once more when their connection broke before an answer came: the service may have made them.

Those of methods that change nothing further when they are repeated; and those that queue jobs, when each job has an id
or an idempotency key of its own. Methods that are not known here are not repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .idempotent import IDEMPOTENT

if TYPE_CHECKING:
    from .envelope import Call

#: Methods that are repeatable as far as the jobs in their arguments are.
_QUEUEING: Final = frozenset({"create_job", "queue_job_to_runner", "queue_jobs_to_runner", "queue_and_wait", "run_job"})


def is_repeatable(call: Call) -> bool:
    """Whether a call that may have been made can be made again."""
    if call.method in _QUEUEING:
        jobs = _jobs_in(call.params)
        return bool(jobs) and all(isinstance(job, dict) and _is_named(job) for job in jobs)
    return call.method in IDEMPOTENT


def _jobs_in(params: Any) -> list[Any]:
    if not isinstance(params, dict):
        return []
    jobs = params.get("jobs", [])
    return [params["job"]] if "job" in params else jobs if isinstance(jobs, list) else []


def _is_named(job: dict[str, Any]) -> bool:
    return bool(job.get("id") or job.get("idempotency_key"))
