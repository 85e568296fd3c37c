"""The supervisor on a real Redis, with units in memory: what it promises across calls and restarts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hero_supervisor import errors
from hero_supervisor.engine.reconcile import Reconciler
from hero_supervisor.job import Job, JobStatus
from hero_supervisor.records import ExitReason, RunnerState
from hero_supervisor.runner import Executor, Runner
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.testing import InMemoryExitSource, InMemoryProcessManager
    from tests.supervisor_fixtures import Build

A = Runner(id="a", command=("/bin/true",))
B = Runner(id="b", executor=Executor.SHELL)


async def test_an_added_runner_is_listed_and_stopped(supervisor: Supervisor) -> None:
    status = await supervisor.add_runner(A)
    assert (status.id, status.status, status.main_pid) == ("a", RunnerState.STOPPED, None)
    await supervisor.add_runner(B)
    assert await supervisor.list_runners() == ["a", "b"]


async def test_a_second_runner_of_the_same_id_is_refused(supervisor: Supervisor) -> None:
    await supervisor.add_runner(A)
    with pytest.raises(errors.RunnerExists, match="cannot add runner 'a': it exists already"):
        await supervisor.add_runner(A)


async def test_a_runner_built_in_code_is_checked(supervisor: Supervisor) -> None:
    with pytest.raises(errors.InvalidRunner):
        await supervisor.add_runner(Runner(id="A", command=("/bin/true",)))


async def test_start_and_stop_change_the_status(supervisor: Supervisor) -> None:
    await supervisor.add_runner(A)
    assert (await supervisor.start_runner("a")).status is RunnerState.RUNNING
    assert (await supervisor.stop_runner("a")).status is RunnerState.STOPPED


async def test_starting_a_running_runner_changes_nothing(supervisor: Supervisor) -> None:
    await supervisor.add_runner(A)
    first = await supervisor.start_runner("a")
    assert await supervisor.start_runner("a") == first


async def test_a_restart_is_a_new_run(supervisor: Supervisor) -> None:
    await supervisor.add_runner(A)
    first = await supervisor.start_runner("a")
    second = await supervisor.restart_runner("a")
    assert second.status is RunnerState.RUNNING
    assert second.invocation_id != first.invocation_id


@pytest.mark.parametrize(
    "operation", ["start_runner", "stop_runner", "restart_runner", "remove_runner", "get_runner_status"]
)
async def test_an_unknown_runner_is_named(supervisor: Supervisor, operation: str) -> None:
    with pytest.raises(errors.RunnerNotFound, match="'nobody'"):
        await getattr(supervisor, operation)("nobody")


async def test_a_removed_runner_is_stopped_and_forgotten(
    supervisor: Supervisor, processes: InMemoryProcessManager
) -> None:
    await supervisor.add_runner(A)
    await supervisor.start_runner("a")
    await supervisor.remove_runner("a")
    assert await supervisor.list_runners() == []
    assert await processes.adopt("*-runner-*") == []


async def test_all_runners_are_started_though_one_cannot_be(supervisor: Supervisor) -> None:
    for runner in (A, Runner(id="bad", command=("/no/such/program",)), B):
        await supervisor.add_runner(runner)
    outcomes = await supervisor.start_all()
    assert [(outcome.id, outcome.status, outcome.kind) for outcome in outcomes] == [
        ("a", RunnerState.RUNNING, None),
        ("bad", None, "command-not-executable"),
        ("b", RunnerState.RUNNING, None),
    ]
    summary = await supervisor.get_all_status()
    assert summary.total == 3
    assert summary.counts["running"] == 2
    assert summary.counts["backoff"] == 1
    assert summary.runners["bad"] is RunnerState.BACKOFF


async def test_operations_on_one_runner_follow_one_another(supervisor: Supervisor) -> None:
    await supervisor.add_runner(A)
    calls = [*(supervisor.restart_runner("a") for _ in range(20)), supervisor.stop_runner("a")]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    # The stop may find a restart under way, and does not wait for it.
    failures = {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)}
    assert failures <= {errors.Conflict}
    assert (await supervisor.get_runner_status("a")).status is RunnerState.STOPPED


async def test_the_next_supervisor_knows_the_runners_and_adopts_those_that_run(build: Build) -> None:
    async with await build().build() as first:
        await first.add_runner(A)
        await first.add_runner(B)
        before = await first.start_runner("a")
    async with await build().build() as second:
        assert await second.list_runners() == ["a", "b"]
        assert await second.get_runner_status("a") == before
        assert (await second.get_runner_status("b")).status is RunnerState.STOPPED


async def is_running(supervisor: Supervisor, runner: str) -> bool:
    return (await supervisor.get_runner_status(runner)).status is RunnerState.RUNNING


async def test_after_a_reboot_what_was_to_run_runs_again(build: Build, processes: InMemoryProcessManager) -> None:
    async with await build().build() as first:
        for runner in (A, B):
            await first.add_runner(runner)
            await first.start_runner(runner.id)
        await first.stop_runner("b")
    await processes.stop(processes.started[0].name, timeout_s=1)
    async with await build().build() as second:
        await eventually(lambda: is_running(second, "a"))
        assert not await is_running(second, "b")


async def test_declared_runners_are_added_and_started(build: Build) -> None:
    async with await build().runner(A).build() as supervisor:
        await eventually(lambda: is_running(supervisor, "a"))
    changed = Runner(id="a", command=("/bin/false",))
    async with await build().runner(changed).build() as supervisor:
        assert await supervisor.list_runners() == ["a"]


async def test_a_second_supervisor_on_the_same_state_is_refused(build: Build, supervisor: Supervisor) -> None:
    with pytest.raises(errors.StateLocked):
        await (await build().build()).open()
    assert await supervisor.list_runners() == []


async def test_a_queued_job_is_stored_with_its_runner_and_executor(supervisor: Supervisor) -> None:
    await supervisor.add_runner(B)
    job_id = await supervisor.queue_job_to_runner("b", Job(payload="echo hi"))
    job = await supervisor.get_job(job_id)
    assert (job.runner, job.executor, job.payload) == ("b", "shell", "echo hi")
    assert await supervisor.get_job_status(job_id) is JobStatus.DISPATCHED
    assert [found.id for found in await supervisor.list_jobs(runner="b")] == [job_id]


async def test_queueing_the_same_job_again_is_safe_and_another_of_its_id_is_refused(supervisor: Supervisor) -> None:
    await supervisor.add_runner(B)
    job = Job(payload="echo hi")
    await supervisor.queue_job_to_runner("b", job)
    await supervisor.queue_job_to_runner("b", job)
    assert len(await supervisor.list_jobs()) == 1
    with pytest.raises(errors.JobExists):
        await supervisor.queue_job_to_runner("b", Job(id=job.id, payload="other"))


async def test_a_job_for_an_unknown_runner_is_refused(supervisor: Supervisor) -> None:
    with pytest.raises(errors.RunnerNotFound):
        await supervisor.queue_job_to_runner("nobody", Job(payload="x"))


async def test_an_unknown_job_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(errors.JobNotFound, match="'j-1'"):
        await supervisor.get_job_result("j-1")


async def test_waiting_for_a_job_nobody_takes_ends_at_the_callers_time(supervisor: Supervisor) -> None:
    await supervisor.add_runner(B)
    with pytest.raises(errors.OperationTimeout):
        await supervisor.queue_and_wait("b", Job(payload="x"), timeout=0.1)


async def test_the_supervisor_says_before_a_stop_why_it_stops(
    supervisor: Supervisor, exits: InMemoryExitSource
) -> None:
    await supervisor.add_runner(A)
    first = await supervisor.start_runner("a")
    second = await supervisor.restart_runner("a")
    await supervisor.stop_runner("a")
    await supervisor.stop_runner("a")
    assert exits.expected == {first.invocation_id: ExitReason.REPLACED, second.invocation_id: ExitReason.OPERATOR}


async def test_exits_are_those_of_a_runner_that_is_known(supervisor: Supervisor) -> None:
    await supervisor.add_runner(A)
    assert await supervisor.get_runner_exits("a") == []
    with pytest.raises(errors.RunnerNotFound):
        await supervisor.get_runner_exits("nobody")


async def test_a_fault_in_the_loop_is_raised_to_who_waits_for_supervision(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Reconciler, "run", fail)
    async with await build().build() as supervisor:
        with pytest.raises(ZeroDivisionError):
            await supervisor.supervise()


async def test_supervision_ends_with_the_supervisor(build: Build) -> None:
    async with await build().build() as supervisor:
        supervising = asyncio.create_task(supervisor.supervise())
        await asyncio.sleep(0)
        assert not supervising.done()
    await supervising


@pytest.mark.parametrize(
    "name", ["{ns}:job:x", "{ns}:q:{{b}}:pending", "{ns}:q:reply:x", "{ns}:queues", "{ns}:q:work:type:b"]
)
async def test_a_list_that_is_somebody_elses_is_refused(supervisor: Supervisor, name: str, namespace: str) -> None:
    await supervisor.add_runner(B)
    with pytest.raises(errors.InvalidRunner) as caught:
        await supervisor.add_runner(Runner(id="x", command=("/bin/true",), queue=name.format(ns=namespace)))
    assert [fault.path for fault in caught.value.faults] == ["queue"]


async def test_a_list_in_the_originals_form_may_be_named(supervisor: Supervisor, namespace: str) -> None:
    for number, name in enumerate((f"{namespace}:q:work:type:osis", "elsewhere")):
        await supervisor.add_runner(Runner(id=f"x{number}", command=("/bin/true",), queue=name))
