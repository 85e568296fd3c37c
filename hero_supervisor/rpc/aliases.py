"""Names that clients of the original, in its several versions, call our methods by, and the shapes they expect.

They are accepted like any method, and described nowhere as methods of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from hero_supervisor.errors import HeroError
from hero_supervisor.job import JobStatus
from hero_supervisor.scope import Scope

if TYPE_CHECKING:
    from hero_supervisor.access_records import ApiKey, KeyCheck
    from hero_supervisor.job import Job, JobResult, JobSummary
    from hero_supervisor.supervisor import Supervisor

#: Makes what a client expects of what a method returned.
Shape = Callable[["Supervisor", Any], Awaitable[Any]]


class Alias(NamedTuple):
    """Another name of a method."""

    name: str
    method: str
    #: What its answer is made into; as it is when not given.
    shape: Shape | None = None


async def as_outcome(_: Supervisor, result: JobResult) -> dict[str, str]:
    """Return exactly one of ``success`` and ``error``, as the original's ``JobResult`` has it."""
    if result.status is JobStatus.FINISHED:
        return {"success": result.result or ""}
    return {"error": result.error or f"the job is '{result.status}'"}


async def as_output(_: Supervisor, result: JobResult) -> str:
    """Return the output alone; '' as long as there is none."""
    return result.result or ""


async def as_jobs(supervisor: Supervisor, summaries: list[JobSummary]) -> list[Job]:
    """Return whole jobs; those that cannot be read, or were deleted meanwhile, are left out."""
    jobs = []
    for summary in summaries:
        try:
            jobs.append(await supervisor.get_job(summary.id))
        except HeroError:
            continue
    return jobs


async def as_success(_: Supervisor, __: object) -> dict[str, bool]:
    """Say that it was done."""
    return {"success": True}


async def as_key(_: Supervisor, key: ApiKey) -> dict[str, object]:
    """Return a key with the original's word for its scope."""
    return {**msgspec.to_builtins(key), "scope": _ORIGINALS_SCOPES.get(key.scope, key.scope)}


async def as_keys(supervisor: Supervisor, keys: list[ApiKey]) -> list[dict[str, object]]:
    """Return keys with the original's words for their scopes."""
    return [await as_key(supervisor, key) for key in keys]


async def as_verified(_: Supervisor, check: KeyCheck) -> dict[str, object]:
    """Say whether a key is good, as the original does."""
    scope = None if check.scope is None else _ORIGINALS_SCOPES.get(check.scope, check.scope)
    return {"valid": check.is_valid, "name": check.name or "", "scope": scope or ""}


_ORIGINALS_SCOPES: Final = {Scope.REGISTER: "registrar"}

ALIASES: Final = (
    # The original since 2025-08-27.
    Alias("jobs.create", "create_job"),
    Alias("jobs.list", "list_jobs", as_jobs),
    Alias("job.run", "run_job", as_outcome),
    Alias("job.start", "queue_job"),
    Alias("job.status", "get_job_status"),
    Alias("job.result", "get_job_result", as_outcome),
    Alias("job.stop", "cancel_job"),
    Alias("job.delete", "delete_job"),
    # Since 2025-10-28.
    Alias("auth.verify", "verify_key", as_verified),
    Alias("auth.create_key", "create_key", as_key),
    Alias("auth.list_keys", "list_keys", as_keys),
    Alias("auth.remove_key", "remove_key", as_key),
    # Its predecessor baobab, and its successor horus.
    Alias("start_job", "queue_job", as_success),
    Alias("stop_job", "cancel_job", as_success),
    Alias("get_job_output", "get_job_result", as_output),
)
