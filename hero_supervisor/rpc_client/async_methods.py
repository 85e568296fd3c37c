"""The methods of the service as methods of ``AsyncRpcClient``. Made from the code by `make docs`."""

# ruff: noqa: ASYNC109, FBT001, FBT002  # the parameters are the service's

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING

from hero_supervisor.access_records import ApiKey, AuditEntry, KeyCheck, NewApiKey
from hero_supervisor.job import Job, JobResult, JobState, JobStatus, JobSummary
from hero_supervisor.queue.integrity import IntegrityReport
from hero_supervisor.records import (
    ExitRecord,
    Health,
    LogRecord,
    Operation,
    QueuedJob,
    QueueStats,
    RenderedUnit,
    RunnerOutcome,
    RunnerPlan,
    RunnerStats,
    RunnerStatus,
    StatusSummary,
)
from hero_supervisor.runner import Runner
from hero_supervisor.schedule import ScheduleState

from .typed import AsyncAsker

if TYPE_CHECKING:
    from datetime import datetime

    from hero_supervisor.records import Priority, QueueLimits, Verb
    from hero_supervisor.schedule import Schedule
    from hero_supervisor.scope import Scope


class AsyncMethods(AsyncAsker):
    """One method for each method of the service; see docs/methods.md."""

    async def add_runner(self, runner: Runner) -> RunnerStatus:
        """Add a runner; it is started by ``start_runner``, or at once if its ``autostart`` says so.

        Args:
            runner: Its definition.

        Returns:
            Its status.

        Raises:
            InvalidRunner: The definition has faults, or cannot be carried out here; all are listed.
            RunnerExists: A runner of this id exists.
            HeroError: As ``start_runner``, with ``autostart``. The runner is added all the same.
        """
        return await self._ask("add_runner", RunnerStatus, runner=runner)

    async def remove_runner(self, runner: str) -> None:
        """Stop a runner and forget it. Its queue and its jobs stay.

        Raises:
            RunnerNotFound: No runner has this id.
        """
        await self._ask("remove_runner", NoneType, runner=runner)

    async def list_runners(self) -> list[str]:
        """Return the ids of all runners, in the order in which they were added."""
        return await self._ask("list_runners", list[str])

    async def start_runner(self, runner: str) -> RunnerStatus:
        """Start the instances of a runner that do not run, and wait until systemd calls them started.

        Returns:
            Its status after the start.

        Raises:
            RunnerNotFound: No runner has this id.
            DependencyNotReady: A runner that it comes after is not there, and does not come in time.
            CommandNotExecutable: Its command does not exist or cannot be executed.
            UnitFailed: It ended before it was ready.
            OperationTimeout: It was not ready within its ``start_timeout_s``.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("start_runner", RunnerStatus, runner=runner)

    async def stop_runner(self, runner: str) -> RunnerStatus:
        """Stop a runner and every process it started: its stop signal, then SIGKILL after its ``stop_timeout_s``.

        Returns:
            Its status after the stop; ``result`` is ``timeout`` when SIGKILL was needed.

        Raises:
            RunnerNotFound: No runner has this id.
            OperationTimeout: systemd did not report the end in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("stop_runner", RunnerStatus, runner=runner)

    async def get_runner_status(self, runner: str) -> RunnerStatus:
        """Return the status of a runner, with what systemd says of its units.

        Raises:
            RunnerNotFound: No runner has this id.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("get_runner_status", RunnerStatus, runner=runner)

    async def get_runner_logs(
        self,
        runner: str,
        lines: int = 100,
        after_cursor: str | None = None,
        job_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        priority: Priority | int | None = None,
        grep: str | None = None,
        instance: int | None = None,
        invocation_id: str | None = None,
    ) -> list[LogRecord]:
        """Return log records of a runner, oldest first: the newest ones, or the ones after a cursor.

        The last record's ``cursor`` is the ``after_cursor`` of the next page; there is none after an empty one.

        Args:
            runner: Id of the runner.
            lines: Most entries to return; fewer may come when they are long, or when the search was ``cut``.
            after_cursor: ``cursor`` of the record to go on after. When the journal no longer has it, a record of
                kind ``gap`` comes first.
            job_id: Only entries of this job.
            since: Only entries of this time or later.
            until: Only entries of this time or earlier.
            priority: Only entries of this priority, by name or number, or more important ones.
            grep: Only entries with this text, upper and lower case being the same.
            instance: Only entries of this instance; those of all instances when not given.
            invocation_id: Only entries of this run of the unit.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidInput: The cursor is not one.
            JournalUnavailable: The journal cannot be read.

        Source: docs/logs.md.
        """
        return await self._ask(
            "get_runner_logs",
            list[LogRecord],
            runner=runner,
            lines=lines,
            after_cursor=after_cursor,
            job_id=job_id,
            since=since,
            until=until,
            priority=priority,
            grep=grep,
            instance=instance,
            invocation_id=invocation_id,
        )

    async def queue_job_to_runner(self, runner: str, job: Job) -> str:
        """Store a job and put it into a runner's queue. Repeating the call with the same job is safe.

        Args:
            runner: Id of the runner; it need not run yet.
            job: The job; ``runner`` is filled in, and ``executor`` when the runner is a bundled one.

        Returns:
            The job's id; that of the first job with its ``idempotency_key``.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
            JobNotFound: One of its prerequisites does not exist.
            QueueFull: The queue holds as many jobs as it may.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("queue_job_to_runner", str, runner=runner, job=job)

    async def get_all_runner_status(self) -> list[RunnerStatus]:
        """Return the status of every runner, in the order of ``list_runners``.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("get_all_runner_status", list[RunnerStatus])

    async def start_all(self) -> list[RunnerOutcome]:
        """Start all runners; what became of each is reported, and none stops the others."""
        return await self._ask("start_all", list[RunnerOutcome])

    async def stop_all(self) -> list[RunnerOutcome]:
        """Stop all runners; what became of each is reported, and none stops the others."""
        return await self._ask("stop_all", list[RunnerOutcome])

    async def get_all_status(self) -> StatusSummary:
        """Return how many runners are in each status, and the status of each.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("get_all_status", StatusSummary)

    async def register_runner(self, runner: str, queue: str | None = None) -> None:
        """Make a runner known whose processes are started by others, and give it jobs from now on.

        One that is known already, and takes ids from this list, stays as it is: so it may register at each start.

        Args:
            runner: Its id.
            queue: The Redis list it takes ids from; ``{namespace}:q:work:type:{id}`` when not given.

        Raises:
            InvalidRunner: The name of the list has faults.
            RunnerExists: A runner of this id takes ids from another list.
        """
        await self._ask("register_runner", NoneType, runner=runner, queue=queue)

    async def get_health(self) -> Health:
        """Say whether systemd and Redis answer now, and if not, why. Runners run on in any case.

        Returns:
            What was found, within some two seconds.
        """
        return await self._ask("get_health", Health)

    async def get_runner_exits(self, runner: str, instance: int | None = None, limit: int = 20) -> list[ExitRecord]:
        """Return how the last runs of a runner ended, newest first. An end is among them about a second after it.

        Args:
            runner: Id of the runner.
            instance: Only runs of this instance.
            limit: Most records to return; 100 are kept.

        Raises:
            RunnerNotFound: No runner has this id.
        """
        return await self._ask("get_runner_exits", list[ExitRecord], runner=runner, instance=instance, limit=limit)

    async def restart_runner(self, runner: str) -> RunnerStatus:
        """Stop a runner if it runs, and start it with its present definition.

        Raises:
            RunnerNotFound: No runner has this id.
            CommandNotExecutable: Its command does not exist or cannot be executed.
            UnitFailed: It ended before it was ready.
            OperationTimeout: It did not stop, or was not ready, in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("restart_runner", RunnerStatus, runner=runner)

    async def roll_runner(self, runner: str, at_once: int = 1) -> RunnerStatus:
        """Restart the instances of a runner, some at a time, the next ones only when those are ready.

        When one cannot be started the rest are left as they are. Nothing happens to a runner that is not meant to run.

        Raises:
            RunnerNotFound: No runner has this id.
            UnitFailed: An instance could not be started; it is tried again.
            OperationTimeout: An instance was not ready, or not stopped, in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("roll_runner", RunnerStatus, runner=runner, at_once=at_once)

    async def drain_runner(self, runner: str, timeout: float | None = None) -> RunnerStatus:
        """Let a runner finish the jobs it has, take no more, and stop. Another operation may come in between.

        Args:
            runner: Id of the runner.
            timeout: Seconds to wait; for ever when not given.

        Returns:
            Its status when it has ended.

        Raises:
            RunnerNotFound: No runner has this id.
            Conflict: It has no ``drain_signal``; or it was started again meanwhile.
            OperationTimeout: It has not finished in time; it goes on draining. A stop ends that.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("drain_runner", RunnerStatus, runner=runner, timeout=timeout)

    async def reset_runner(self, runner: str) -> RunnerStatus:
        """Forget a runner's failures: one that waits for its next start, or was given up, is started at once.

        One that is not meant to run does not count as failed any more; it is not started.

        Returns:
            Its status; what is started now may not run yet.

        Raises:
            RunnerNotFound: No runner has this id.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("reset_runner", RunnerStatus, runner=runner)

    async def reload_runner(self, runner: str) -> None:
        """Make a runner read its configuration again, by its ``reload_signal`` or ``reload_command``.

        Raises:
            RunnerNotFound: No runner has this id.
            Conflict: It has neither of them, or none of its instances has a process.
            UnitFailed: The command failed, or the runner does not run.
            OperationTimeout: The command has not ended in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        await self._ask("reload_runner", NoneType, runner=runner)

    async def signal_runner(self, runner: str, signal: str) -> None:
        """Send a signal to the main process of every instance of a runner, in whatever state it is.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidInput: There is no such signal.
            Conflict: None of its instances has a process.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        await self._ask("signal_runner", NoneType, runner=runner, signal=signal)

    async def kill_runner(self, runner: str) -> None:
        """Kill every process of a runner at once, in whatever state it is: SIGKILL to its control groups.

        It does not wait for another operation on the runner, and it changes nothing about what is wanted: a runner
        that is meant to run is started again. To end it for good, stop it; a kill ends the wait of that stop.

        Raises:
            RunnerNotFound: No runner has this id.
            Conflict: None of its instances has a process.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        await self._ask("kill_runner", NoneType, runner=runner)

    async def freeze_runner(self, runner: str) -> None:
        """Let the processes of a runner stand still until they are thawed, where the kernel can do that.

        Raises:
            RunnerNotFound: No runner has this id.
            NotFound: An instance does not run.
            SystemdRefused: It cannot be done; the message has systemd's reason.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        await self._ask("freeze_runner", NoneType, runner=runner)

    async def thaw_runner(self, runner: str) -> None:
        """Let the processes of a runner that was frozen go on; raises like ``freeze_runner``."""
        await self._ask("thaw_runner", NoneType, runner=runner)

    async def scale_runner(self, runner: str, instances: int) -> RunnerStatus:
        """Change how many instances a runner has; only the difference is started or stopped.

        Returns:
            Its status afterwards.

        Raises:
            RunnerNotFound: No runner has this id.
            Conflict: It is external: its processes are started by others.
            UnitFailed: A new instance could not be started; it is tried again.
            OperationTimeout: An instance was not ready, or not stopped, in time.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("scale_runner", RunnerStatus, runner=runner, instances=instances)

    async def get_runner(self, runner: str) -> Runner:
        """Return the definition of a runner, with the default of every field that it does not say.

        Raises:
            RunnerNotFound: No runner has this id.
        """
        return await self._ask("get_runner", Runner, runner=runner)

    async def render_runner(self, runner: Runner, instance: int = 1) -> RenderedUnit:
        """Return the unit that a definition makes here, as it would be started. Changes nothing.

        Args:
            runner: The definition; no runner needs to have its id.
            instance: Which instance.

        Raises:
            InvalidRunner: The definition has faults, or cannot be carried out here; all are listed.
        """
        return await self._ask("render_runner", RenderedUnit, runner=runner, instance=instance)

    async def plan_runner(self, runner: Runner) -> RunnerPlan:
        """Say what a definition would change, and whether the runner would be restarted for it. Changes nothing.

        Args:
            runner: The new definition; its id says which runner.

        Raises:
            InvalidRunner: The definition has faults; all are listed.
        """
        return await self._ask("plan_runner", RunnerPlan, runner=runner)

    async def update_runner(self, runner: Runner, at_once: int = 1) -> RunnerPlan:
        """Give a runner a new definition, and make it take effect on what runs.

        Changes that can be made live are. For others the instances are restarted, some at a time, the next ones only
        when those are ready; when one cannot be started, all go back to the old definition.

        Args:
            runner: The new definition; its id says which runner.
            at_once: How many instances are restarted at a time.

        Returns:
            What was changed.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidRunner: The definition has faults; all are listed.
            UnitFailed: It could not be started so; the old definition is in force again.
            OperationTimeout: It was not ready, or not stopped, in time; the old definition is in force again.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("update_runner", RunnerPlan, runner=runner, at_once=at_once)

    async def operate_runners(
        self,
        verb: Verb,
        runners: tuple[str, ...] = (),
        labels: dict[str, str] | None = None,
        signal: str | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> Operation:
        """Do something to many runners, side by side.

        Args:
            verb: What to do.
            runners: Ids and globs.
            labels: Only runners that have these; without ``runners`` all that have them.
            signal: The signal to send, for the verb ``signal``.
            wait: Return when all is done, and not at once.
            timeout: Seconds after which to return all the same; the operation goes on.

        Returns:
            The operation, with an outcome for each runner.

        Raises:
            InvalidInput: Neither runners nor labels are given, or a signal is missing or given in vain.
            RunnerNotFound: A pattern, or the labels, match no runner.
        """
        return await self._ask(
            "operate_runners",
            Operation,
            verb=verb,
            runners=runners,
            labels=labels,
            signal=signal,
            wait=wait,
            timeout=timeout,
        )

    async def plan_runners(self, runners: tuple[Runner, ...], prune: bool = False) -> list[RunnerPlan]:
        """Say what applying a set would do. Changes nothing.

        Args:
            runners: The set.
            prune: Whether runners of earlier sets that this one does not have would be removed.

        Raises:
            InvalidRunner: A definition has faults; those of all are listed.
        """
        return await self._ask("plan_runners", list[RunnerPlan], runners=runners, prune=prune)

    async def apply_runners(self, runners: tuple[Runner, ...], prune: bool = False, wait: bool = True) -> Operation:
        """Make runners as a set declares them: add what is missing, change what differs, restart what has to be.

        A runner that is new is started if its ``autostart`` says so.

        Args:
            runners: The set.
            prune: Also remove runners of earlier sets that this one does not have.
            wait: Return when all is done, and not at once.

        Returns:
            The operation, with an outcome for each runner that is touched.

        Raises:
            InvalidRunner: A definition has faults; those of all are listed, and nothing is changed.
        """
        return await self._ask("apply_runners", Operation, runners=runners, prune=prune, wait=wait)

    async def get_operation(self, operation_id: str) -> Operation:
        """Return an operation as it stands.

        Raises:
            OperationNotFound: No operation has this id, or it was long ago.
        """
        return await self._ask("get_operation", Operation, operation_id=operation_id)

    async def list_operations(self) -> list[Operation]:
        """Return the operations that are under way, and the latest that have ended, newest first."""
        return await self._ask("list_operations", list[Operation])

    async def cancel_operation(self, operation_id: str) -> Operation:
        """Stop an operation from going on; what systemd was asked to do goes on there.

        Raises:
            OperationNotFound: No operation has this id, or it was long ago.
        """
        return await self._ask("cancel_operation", Operation, operation_id=operation_id)

    async def get_runner_stats(self, runner: str) -> RunnerStats:
        """Return what the processes of a runner use: processor, memory, tasks, IO.

        Raises:
            RunnerNotFound: No runner has this id.
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("get_runner_stats", RunnerStats, runner=runner)

    async def get_all_runner_stats(self) -> list[RunnerStats]:
        """Return what the processes of every runner use, in the order of ``list_runners``.

        Raises:
            SystemdUnavailable: The systemd manager cannot be reached.
        """
        return await self._ask("get_all_runner_stats", list[RunnerStats])

    async def create_job(self, job: Job) -> str:
        """Store a job without queueing it. Repeating the call with the same job is safe.

        Args:
            job: The job; it has to name its ``runner``.

        Returns:
            The job's id.

        Raises:
            RunnerNotFound: No runner has the id that the job names.
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("create_job", str, job=job)

    async def queue_job(self, job_id: str) -> str:
        """Queue a job that was stored only. Repeating the call is safe, however far the job has got.

        Returns:
            The job's id.

        Raises:
            JobNotFound: No job has this id.
            RunnerNotFound: Its runner does not exist.
            QueueFull: The queue holds as many jobs as it may.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("queue_job", str, job_id=job_id)

    async def queue_jobs_to_runner(self, runner: str, jobs: tuple[Job, ...]) -> list[QueuedJob]:
        """Store many jobs and put them into a runner's queue, in order. Repeating the call is safe.

        Args:
            runner: Id of the runner.
            jobs: The jobs, 1 to 1000.

        Returns:
            For each job its id, or why it was not accepted; that does not stop the others.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidJob: Jobs have faults; all are listed, and none is queued.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("queue_jobs_to_runner", list[QueuedJob], runner=runner, jobs=jobs)

    async def queue_and_wait(self, runner: str, job: Job, timeout: float | None = None) -> JobResult:
        """Queue a job and wait for its end.

        Args:
            runner: Id of the runner.
            job: The job.
            timeout: Seconds to wait; the job's own timeout and a minute when not given.

        Returns:
            The job's result, or its error: a job that ends badly is an answer, not a failure of this call.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidJob: The job has faults; all are listed.
            JobExists: Another job has this id.
            JobNotFound: One of its prerequisites does not exist.
            QueueFull: The queue holds as many jobs as it may.
            OperationTimeout: It has not ended in time; it stays queued or goes on.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("queue_and_wait", JobResult, runner=runner, job=job, timeout=timeout)

    async def run_job(self, job: Job, timeout: float | None = None) -> JobResult:
        """Queue a job for the runner that it names and wait for its end; as ``queue_and_wait``.

        Args:
            job: The job; it has to name its ``runner``.
            timeout: Seconds to wait; the job's own timeout and a minute when not given.

        Raises:
            InvalidJob: The job has faults, or names no runner.
            OperationTimeout: It has not ended in time; it stays queued or goes on.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("run_job", JobResult, job=job, timeout=timeout)

    async def wait_for_jobs(
        self, job_ids: tuple[str, ...], timeout: float = 60.0, *, first: bool = False
    ) -> list[JobResult]:
        """Wait until jobs have ended, or the time is up, and return how they stand then.

        Args:
            job_ids: The jobs, 1 to 1000.
            timeout: Longest wait, in seconds.
            first: Return as soon as one of them has ended.

        Returns:
            For each job how it stands; those whose status is not final have not ended in time.

        Raises:
            JobNotFound: One of them does not exist, or was deleted meanwhile.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("wait_for_jobs", list[JobResult], job_ids=job_ids, timeout=timeout, first=first)

    async def wait_for_group(self, group: str, timeout: float = 60.0) -> dict[str, int]:
        """Wait until all jobs of a group have ended, or the time is up.

        Returns:
            How many are ``open``, ``finished``, ``error`` and ``cancelled``; numbers that are 0 may be left out.

        Raises:
            JobNotFound: No job is, or was lately, in a group of this name.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("wait_for_group", dict[str, int], group=group, timeout=timeout)

    async def cancel_job(self, job_id: str) -> JobResult:
        """Cancel a job: at once if it only waits; if it is executed, its process is told, and killed if need be.

        Returns:
            How it stands; ``stopping`` as long as it is still executed. ``wait_for_jobs`` tells of its end.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has ended otherwise.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("cancel_job", JobResult, job_id=job_id)

    async def retry_job(self, job_id: str) -> None:
        """Queue a job that has ended once more, as if it had never been executed.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It has not ended.
            RedisUnavailable: Redis does not answer.
        """
        await self._ask("retry_job", NoneType, job_id=job_id)

    async def delete_job(self, job_id: str) -> None:
        """Forget a job that nobody executes. Jobs that wait for it are cancelled.

        Raises:
            JobNotFound: No job has this id.
            Conflict: It is being executed: cancel it first.
            RedisUnavailable: Redis does not answer.
        """
        await self._ask("delete_job", NoneType, job_id=job_id)

    async def get_job(self, job_id: str) -> Job:
        """Return a job as it was queued.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("get_job", Job, job_id=job_id)

    async def get_job_status(self, job_id: str) -> JobStatus:
        """Return where a job is in its life.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("get_job_status", JobStatus, job_id=job_id)

    async def get_job_state(self, job_id: str) -> JobState:
        """Return where a job is in its life, how it got there, and what is next.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("get_job_state", JobState, job_id=job_id)

    async def get_job_result(self, job_id: str) -> JobResult:
        """Return how a job stands, with its result or error once it has ended.

        Raises:
            JobNotFound: No job has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("get_job_result", JobResult, job_id=job_id)

    async def get_job_logs(self, job_id: str, lines: int = 100, after_cursor: str | None = None) -> list[LogRecord]:
        """Return what a job logged, in all its attempts and wherever they were executed on this host, oldest first.

        The last record's ``cursor`` is the ``after_cursor`` of the next page; there is none after an empty one.

        Args:
            job_id: The job.
            lines: Most entries to return: the newest ones, or the ones after a cursor.
            after_cursor: ``cursor`` of the record to go on after.

        Raises:
            JobNotFound: No job has this id.
            JournalUnavailable: The journal cannot be read.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("get_job_logs", list[LogRecord], job_id=job_id, lines=lines, after_cursor=after_cursor)

    async def list_jobs(
        self,
        status: JobStatus | None = None,
        runner: str | None = None,
        limit: int = 100,
        caller_id: str | None = None,
        context_id: str | None = None,
        labels: dict[str, str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after_cursor: str | None = None,
    ) -> list[JobSummary]:
        """Return jobs, newest first.

        The last job's ``cursor`` is the ``after_cursor`` of the next page.

        Args:
            status: Only jobs in this status.
            runner: Only jobs of this runner.
            limit: Most jobs to return.
            caller_id: Only jobs of this caller.
            context_id: Only jobs of this context.
            labels: Only jobs with all of these labels.
            since: Only jobs created at this time or later.
            until: Only jobs created before this time.
            after_cursor: ``cursor`` of the job to go on after. At most 50,000 jobs are looked at in one call.

        Raises:
            InvalidInput: ``after_cursor`` is no cursor.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask(
            "list_jobs",
            list[JobSummary],
            status=status,
            runner=runner,
            limit=limit,
            caller_id=caller_id,
            context_id=context_id,
            labels=labels,
            since=since,
            until=until,
            after_cursor=after_cursor,
        )

    async def get_queue_stats(self, runner: str) -> QueueStats:
        """Return how full a runner's queue is, what it allows, and what went through it.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("get_queue_stats", QueueStats, runner=runner)

    async def get_all_queue_stats(self) -> list[QueueStats]:
        """Return the statistics of the queues of all runners.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("get_all_queue_stats", list[QueueStats])

    async def pause_queue(self, runner: str) -> QueueStats:
        """Let no more jobs be taken from a runner's queue. Those that were taken go on, and new ones can be queued.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("pause_queue", QueueStats, runner=runner)

    async def resume_queue(self, runner: str) -> QueueStats:
        """Let jobs be taken from a runner's queue again.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("resume_queue", QueueStats, runner=runner)

    async def set_queue_limits(self, runner: str, limits: QueueLimits) -> QueueStats:
        """Set what a runner's queue allows, in place of what it allowed before.

        Args:
            runner: Id of the runner.
            limits: The new limits; what is not given is as usual.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("set_queue_limits", QueueStats, runner=runner, limits=limits)

    async def list_dead_jobs(self, runner: str, limit: int = 100) -> list[JobSummary]:
        """Return dead letters of a runner: jobs that failed for good although they were to be tried again.

        Args:
            runner: Id of the runner.
            limit: Most jobs to return, the newest dead ones first.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("list_dead_jobs", list[JobSummary], runner=runner, limit=limit)

    async def retry_dead_jobs(self, runner: str, limit: int = 1000) -> int:
        """Queue dead letters of a runner once more, as if they had never been executed.

        Args:
            runner: Id of the runner.
            limit: Most jobs to queue, the newest dead ones first.

        Returns:
            How many were queued.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("retry_dead_jobs", int, runner=runner, limit=limit)

    async def purge_dead_jobs(self, runner: str, limit: int = 1000) -> int:
        """Forget dead letters of a runner.

        Args:
            runner: Id of the runner.
            limit: Most jobs to forget, the newest dead ones first.

        Returns:
            How many were forgotten.

        Raises:
            RunnerNotFound: No runner has this id.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("purge_dead_jobs", int, runner=runner, limit=limit)

    async def check_integrity(self, *, repair: bool = False) -> IntegrityReport:
        """Prove that every job of this Redis is where it has to be, while everything goes on.

        It looks at each job in one moment, and takes some seconds for 100,000 of them.

        Args:
            repair: Mend what is wrong; no job that has a record is dropped by that.

        Returns:
            What was wrong.

        Raises:
            RedisUnavailable: Redis does not answer.

        Source: docs/jobs.md.
        """
        return await self._ask("check_integrity", IntegrityReport, repair=repair)

    async def set_schedule(self, schedule: Schedule) -> ScheduleState:
        """Queue a job again and again, from now on; a schedule of the same runner and id is replaced.

        Args:
            schedule: When, and what.

        Returns:
            The schedule, and when its next run is.

        Raises:
            RunnerNotFound: There is no such runner.
            InvalidSchedule: The schedule has faults; all are listed.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("set_schedule", ScheduleState, schedule=schedule)

    async def get_schedule(self, runner: str, schedule: str) -> ScheduleState:
        """Return a schedule, and when its next run is.

        Raises:
            ScheduleNotFound: The runner has none of this id.
            CorruptRecord: It cannot be read.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("get_schedule", ScheduleState, runner=runner, schedule=schedule)

    async def list_schedules(self, runner: str | None = None) -> list[ScheduleState]:
        """Return the schedules of a runner, or of all; the log tells of those that cannot be read.

        Args:
            runner: Only this one's.

        Raises:
            RunnerNotFound: There is no such runner.
            RedisUnavailable: Redis does not answer.
        """
        return await self._ask("list_schedules", list[ScheduleState], runner=runner)

    async def remove_schedule(self, runner: str, schedule: str) -> None:
        """Forget a schedule. Jobs that it has queued stay.

        Raises:
            ScheduleNotFound: The runner has none of this id.
            RedisUnavailable: Redis does not answer.
        """
        await self._ask("remove_schedule", NoneType, runner=runner, schedule=schedule)

    async def create_key(self, name: str, scope: Scope, expires_in_s: int | None = None) -> NewApiKey:
        """Make a key for a caller. Only the answer has it: what is kept tells whether a key is right, not what it is.

        Args:
            name: What the key is for; no other key may have this name.
            scope: What it allows: ``read``, ``user``, ``register`` or ``admin``.
            expires_in_s: For how long it works; until it is removed when not given.

        Raises:
            KeyExists: Another key has this name.
            Conflict: There are 256 keys already.
            StateUnavailable: It cannot be written down.
        """
        return await self._ask("create_key", NewApiKey, name=name, scope=scope, expires_in_s=expires_in_s)

    async def list_keys(self) -> list[ApiKey]:
        """Return all keys, oldest first, expired ones included. The secrets in the settings are not among them."""
        return await self._ask("list_keys", list[ApiKey])

    async def remove_key(self, key: str) -> ApiKey:
        """Forget a key. When this returns, it works no more.

        Args:
            key: Its id or name.

        Returns:
            What was removed.

        Raises:
            KeyNotFound: No key has this id or name.
            StateUnavailable: It cannot be written down; the key still works then.
        """
        return await self._ask("remove_key", ApiKey, key=key)

    async def verify_key(self, key: str) -> KeyCheck:
        """Say whether a key, or a secret of the settings, is good, and what it allows. Too many wrong ones are refused.

        Args:
            key: What a caller would send.
        """
        return await self._ask("verify_key", KeyCheck, key=key)

    async def get_audit_log(
        self,
        since: datetime | None = None,
        method: str | None = None,
        who: str | None = None,
        limit: int = 100,
        after_cursor: str | None = None,
    ) -> list[AuditEntry]:
        """Return who called what, newest last: the newest calls, or those after a cursor.

        Every call of a method whose scope is above ``read`` is there, a moment after its end, also when it failed or
        was refused for lack of scope.

        Args:
            since: Only calls of this time or later.
            method: Only calls of this method.
            who: Only calls of this caller: ``key NAME``, ``admin_secrets``, ``uid N``, ``anonymous``.
            limit: Most entries to return.
            after_cursor: ``cursor`` of the entry to go on after.

        Raises:
            InvalidInput: The cursor is not one.
            JournalUnavailable: The journal cannot be read.
        """
        return await self._ask(
            "get_audit_log",
            list[AuditEntry],
            since=since,
            method=method,
            who=who,
            limit=limit,
            after_cursor=after_cursor,
        )
