"""``JobBuilder``: a job, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from .job import CrashPolicy, Job

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class JobBuilder:
    """Builds a valid job step by step.

    >>> JobBuilder().caller_id("ops").payload("echo hi").executor("shell").build().timeout
    300
    """

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}

    def _with(self, name: str, value: object) -> Self:
        self._fields[name] = value
        return self

    def id(self, value: str) -> Self:
        """Set the identity; a UUID otherwise."""
        return self._with("id", value)

    def caller_id(self, value: str) -> Self:
        """Set who asks for the job."""
        return self._with("caller_id", value)

    def context_id(self, value: str) -> Self:
        """Set what the job belongs to."""
        return self._with("context_id", value)

    def payload(self, value: str) -> Self:
        """Set the script."""
        return self._with("payload", value)

    def runner(self, value: str) -> Self:
        """Set the id of the runner that is to execute it."""
        return self._with("runner", value)

    def executor(self, value: str) -> Self:
        """Set what interprets the script."""
        return self._with("executor", value)

    def timeout(self, seconds: int) -> Self:
        """Set how many seconds it may run."""
        return self._with("timeout", seconds)

    def env_var(self, name: str, value: str) -> Self:
        """Add one environment variable of the script."""
        return self._with("env_vars", {**self._fields.get("env_vars", {}), name: value})

    def env_vars(self, values: Mapping[str, str]) -> Self:
        """Add environment variables of the script."""
        return self._with("env_vars", {**self._fields.get("env_vars", {}), **values})

    def signature(self, public_key: str, signature: str) -> Self:
        """Add a signature, kept as given."""
        entry = {"public_key": public_key, "signature": signature}
        return self._with("signatures", [*self._fields.get("signatures", []), entry])

    def priority(self, value: int) -> Self:
        """Set how soon it is executed, from 0, the last, to 9, the first; 5 otherwise."""
        return self._with("priority", value)

    def run_at(self, moment: datetime) -> Self:
        """Set the time before which it is not executed."""
        return self._with("run_at", moment)

    def delay(self, seconds: float) -> Self:
        """Set how many seconds it is not executed after it was queued."""
        return self._with("delay_s", seconds)

    def prerequisite(self, job_id: str) -> Self:
        """Add a job that has to end first."""
        return self._with("prerequisites", [*self._fields.get("prerequisites", []), job_id])

    def retries(self, most: int, *, delay_s: float = 1.0, max_delay_s: float = 300.0) -> Self:
        """Set how often it is tried again after an error, and the first and the longest pause in seconds."""
        self._fields.update(max_retries=most, retry_delay_s=delay_s, retry_max_delay_s=max_delay_s)
        return self

    def on_crash(self, policy: CrashPolicy, *, max_crashes: int = 3) -> Self:
        """Set what happens when its runner dies over it."""
        self._fields.update(on_crash=policy, max_crashes=max_crashes)
        return self

    def soft_timeout(self, seconds: int) -> Self:
        """Set after how many seconds it is asked to stop by itself."""
        return self._with("soft_timeout", seconds)

    def idempotency_key(self, value: str) -> Self:
        """Set what makes another job the same as this one."""
        return self._with("idempotency_key", value)

    def result_ttl(self, seconds: int) -> Self:
        """Set how many seconds it is kept after its end."""
        return self._with("result_ttl_s", seconds)

    def label(self, name: str, value: str) -> Self:
        """Add a label."""
        return self._with("labels", {**self._fields.get("labels", {}), name: value})

    def group(self, value: str) -> Self:
        """Set what it can be awaited by together with others."""
        return self._with("group", value)

    def build(self) -> Job:
        """Return the job.

        Raises:
            InvalidJob: With the path of every fault.
        """
        return Job.from_data(self._fields)
