"""What the queue is to do, in plain Python: no Redis, no time. ``test_stateful.py`` compares the two."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FINAL = {"finished", "error", "cancelled"}
PLACES = {"dispatched": "pending", "scheduled": "delayed", "waiting_for_prerequisites": "blocked"}


@dataclass
class ModelJob:
    id: str
    runner: str
    priority: int = 5
    is_delayed: bool = False
    prerequisites: tuple[str, ...] = ()
    runs_anyway: bool = False
    max_retries: int = 0
    on_crash: str = "retry"
    max_crashes: int = 1
    group: str = ""
    status: str = "created"
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    holder: str = ""
    cancel: str = ""
    #: Its place among the pending ones; '' when the next look is to learn it.
    place: str = ""
    is_dead: bool = False
    waits_for: set[str] = field(default_factory=set)

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def where(self) -> str | None:
        """In which of the four sets it is."""
        return "taken" if self.holder else PLACES.get(self.status)


class Model:
    def __init__(self) -> None:
        self.jobs: dict[str, ModelJob] = {}
        self.groups: dict[str, Counter[str]] = {}
        self.counts: dict[str, Counter[str]] = {"a": Counter(), "b": Counter()}
        self.paused: dict[str, bool] = {"a": False, "b": False}
        self.max_running: dict[str, int | None] = {"a": None, "b": None}

    # -- clients -------------------------------------------------------------------------------------------------

    def store(self, job: ModelJob) -> None:
        self.jobs[job.id] = job
        self._count(job, "open", 1)

    def queue(self, job: ModelJob) -> None:
        self.counts[job.runner]["queued"] += 1
        known = [self.jobs[other] for other in job.prerequisites]
        job.waits_for = {other.id for other in known if not other.is_final}
        if not job.runs_anyway and any(other.status in {"error", "cancelled"} for other in known):
            job.waits_for = set()
            self._close(job, "cancelled")
        elif job.waits_for:
            job.status = "waiting_for_prerequisites"
        else:
            self._admit(job)

    def cancel(self, job: ModelJob, why: str) -> None:
        """Only for a job that has not ended."""
        if job.holder:
            job.status = "stopping"
            job.cancel = job.cancel if job.cancel and why == "timeout" else why
        else:
            self._close(job, "cancelled")

    def retry(self, job: ModelJob) -> None:
        """Only for a job that has ended."""
        self._count(job, job.status, -1)
        self._count(job, "open", 1)
        job.failures = job.crashes = 0
        job.is_dead = False
        job.status, job.place = "dispatched", ""

    def delete(self, job: ModelJob) -> None:
        """Only for a job that nobody has."""
        if not job.is_final:
            self._close(job, "cancelled")
        del self.jobs[job.id]

    def report(self, job: ModelJob, status: str) -> None:
        """Only for a job that has not ended."""
        self._close(job, status)

    # -- holders -------------------------------------------------------------------------------------------------

    def pending(self, runner: str) -> list[ModelJob]:
        found = [job for job in self.jobs.values() if job.runner == runner and job.where == "pending"]
        return sorted(found, key=lambda job: int(job.place))

    def take(self, runner: str, holder: str, want: int) -> list[ModelJob]:
        most = self.max_running[runner]
        taken = sum(job.runner == runner and bool(job.holder) for job in self.jobs.values())
        room = 0 if self.paused[runner] else want if most is None else max(0, min(want, most - taken))
        claims = self.pending(runner)[:room]
        for job in claims:
            job.attempt += 1
            job.status, job.holder = "started", holder
        return claims

    def end(self, job_id: str, attempt: int, holder: str, outcome: str) -> str:
        """End an attempt, and return the answer to it."""
        job = self.jobs.get(job_id)
        if job is None:
            return "missing"
        if job.is_final:
            is_same = job.attempt == attempt and job.status == {"failed": "error"}.get(outcome, outcome)
            return "ok" if is_same else job.status
        if job.attempt != attempt or job.holder != holder:
            return "superseded"
        job.holder = ""
        if outcome == "released":
            self._recover(job, is_counted=False)
        elif outcome == "finished":
            self._close(job, "finished")
        elif job.cancel:
            self._stopped(job)
        else:
            self._fail(job, is_permanent=outcome == "failed")
        return "ok"

    def die(self, runner: str, holder: str, *, is_counted: bool) -> dict[str, str]:
        """Return what the jobs that the holder had are now."""
        lost = [job for job in self.jobs.values() if job.runner == runner and job.holder == holder]
        for job in lost:
            job.holder = ""
            self._recover(job, is_counted=is_counted)
        return {job.id: job.status for job in lost}

    def come_due(self, runner: str) -> list[ModelJob]:
        due = [job for job in self.jobs.values() if job.runner == runner and job.where == "delayed"]
        for job in due:
            job.status, job.place = "dispatched", ""
        return due

    # -- inside --------------------------------------------------------------------------------------------------

    def _count(self, job: ModelJob, what: str, by: int) -> None:
        if job.group:
            self.groups.setdefault(job.group, Counter())[what] += by

    def _admit(self, job: ModelJob) -> None:
        job.status, job.place = ("scheduled" if job.is_delayed else "dispatched"), ""

    def _close(self, job: ModelJob, status: str, *, is_dead: bool = False) -> None:
        job.status, job.holder, job.cancel, job.place, job.is_dead = status, "", "", "", is_dead
        self.counts[job.runner][status] += 1
        self.counts[job.runner]["dead"] += is_dead
        self._count(job, "open", -1)
        self._count(job, status, 1)
        for other in self._waiting_for(job):
            other.waits_for.discard(job.id)
            if status != "finished" and not other.runs_anyway:
                self._close(other, "cancelled")
            elif not other.waits_for:
                self._admit(other)

    def _waiting_for(self, job: ModelJob) -> Iterator[ModelJob]:
        for other in list(self.jobs.values()):
            if other.status == "waiting_for_prerequisites" and job.id in other.waits_for:
                yield other

    def _fail(self, job: ModelJob, *, is_permanent: bool) -> None:
        job.failures += 1
        if is_permanent or job.failures > job.max_retries:
            self._close(job, "error", is_dead=job.max_retries > 0)
        else:
            job.status, job.place = "scheduled", ""
            self.counts[job.runner]["retried"] += 1

    def _stopped(self, job: ModelJob) -> None:
        why, job.cancel = job.cancel, ""
        if why == "timeout":
            self._fail(job, is_permanent=False)
        else:
            self._close(job, "cancelled")

    def _recover(self, job: ModelJob, *, is_counted: bool) -> None:
        if job.cancel:
            self._stopped(job)
            return
        job.crashes += is_counted
        if is_counted and (job.on_crash != "retry" or job.crashes > job.max_crashes):
            self._close(job, "error", is_dead=job.on_crash != "fail")
            return
        job.status = "dispatched"
        self.counts[job.runner]["recovered"] += 1
