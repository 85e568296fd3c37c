"""Jobs of the claim protocol when the processes that have them end: a real Redis, with units in memory."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import HolderFenced
from hero_supervisor.job import CrashPolicy, Job, JobStatus
from hero_supervisor.jobs import claimed, execution
from hero_supervisor.queue.claims import FINISHED, Claims, Ended, HolderRecord
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.keys import Keys
from hero_supervisor.records import ExitReason, ExitRecord
from hero_supervisor.runner import Executor, Runner
from hero_supervisor.state import boot_id
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hero_supervisor.client import JobClient
    from hero_supervisor.job import JobState
    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.testing import InMemoryExitSource, InMemoryProcessManager


class Worker:
    """A process of a runner, as far as Redis sees it."""

    def __init__(self, supervisor: Supervisor, claims: Claims, holder: str, unit: str) -> None:
        self.claims = claims
        self.holder = holder
        self.unit = unit
        self.node_id = supervisor.node_id

    async def take(self, want: int = 10) -> list[str]:
        exchange = await self.claims.exchange([], want=want)
        return [claim.job_id for claim in exchange.claims]


@pytest.fixture
async def runner(supervisor: Supervisor) -> Supervisor:
    """A supervisor whose runner 'r' runs."""
    await supervisor.add_runner(Runner(id="r", executor=Executor.SHELL))
    await supervisor.start_runner("r")
    return supervisor


@asynccontextmanager
async def worker_of(supervisor: Supervisor, redis_url: str, **record: Any) -> AsyncIterator[Worker]:
    """Play the process that runs now."""
    status = await supervisor.get_runner_status("r")
    namespace = supervisor._site.namespace
    holder = status.invocation_id or ""
    claims = Claims(RedisServer.at(redis_url), Keys(namespace), "r", holder)
    known = {"node": supervisor.node_id, "unit": status.unit, "boot_id": boot_id(), **record}
    try:
        await claims.register(HolderRecord(**known))
        yield Worker(supervisor, claims, holder, status.unit)
    finally:
        await claims.aclose()


async def state_of(client: JobClient, job_id: str, status: JobStatus) -> JobState:
    """Wait until a job has a status."""

    async def is_there() -> bool:
        return await client.get_job_status(job_id) is status

    await eventually(is_there)
    return await client.get_job_state(job_id)


async def test_a_job_of_a_process_that_died_goes_to_the_next(
    runner: Supervisor, redis_url: str, client: JobClient, processes: InMemoryProcessManager
) -> None:
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    async with worker_of(runner, redis_url) as worker:
        assert await worker.take() == ["j"]
        processes.end(worker.unit, exit_status=3)
        state = await state_of(client, "j", JobStatus.DISPATCHED)
        assert (state.crashes, state.reason, state.holder) == (1, "exit", "")
        with pytest.raises(HolderFenced):
            await worker.claims.exchange([Ended("j", 1, FINISHED, "late")], want=1)
    assert await client.get_job_status("j") is JobStatus.DISPATCHED


async def test_a_process_that_lives_keeps_its_jobs(runner: Supervisor, redis_url: str, client: JobClient) -> None:
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    async with worker_of(runner, redis_url) as worker:
        await worker.take()
        await runner._executions.look(runner._registry.get("r"))
        exchange = await worker.claims.exchange([Ended("j", 1, FINISHED, "done")], want=0)
    assert exchange.answers == ("ok",)


async def test_an_operators_stop_is_no_crash(runner: Supervisor, redis_url: str, client: JobClient) -> None:
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    async with worker_of(runner, redis_url) as worker:
        await worker.take()
        await runner.stop_runner("r")
        state = await state_of(client, "j", JobStatus.DISPATCHED)
    assert (state.crashes, state.reason) == (0, "operator")


async def test_a_reboot_is_no_crash(
    runner: Supervisor, redis_url: str, client: JobClient, processes: InMemoryProcessManager
) -> None:
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    async with worker_of(runner, redis_url, boot_id="another") as worker:
        await worker.take()
        processes.end(worker.unit)
        state = await state_of(client, "j", JobStatus.DISPATCHED)
    assert (state.crashes, state.reason) == (0, "reboot")


@pytest.mark.parametrize(
    ("policy", "most", "is_dead"),
    [(CrashPolicy.FAIL, 3, False), (CrashPolicy.DEAD, 3, True), (CrashPolicy.RETRY, 0, True)],
)
async def test_a_job_that_may_not_be_tried_again_ends(
    runner: Supervisor,
    redis_url: str,
    client: JobClient,
    processes: InMemoryProcessManager,
    policy: CrashPolicy,
    most: int,
    is_dead: bool,
) -> None:
    await client.enqueue(Job(id="j", payload="x", runner="r", on_crash=policy, max_crashes=most))
    async with worker_of(runner, redis_url) as worker:
        await worker.take()
        processes.end(worker.unit, exit_status=7)
        await state_of(client, "j", JobStatus.ERROR)
    result = await client.get_job_result("j")
    assert (result.error, result.reason) == ("its runner ended with exit status 7", "exit")
    dead = await client._store.redis.zscore(client.keys.queue("r", "dead"), "j")
    assert (dead is not None) is is_dead


async def test_jobs_of_another_host_are_left_alone(
    runner: Supervisor, redis_url: str, client: JobClient, processes: InMemoryProcessManager
) -> None:
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    async with worker_of(runner, redis_url, node="another") as worker:
        await worker.take()
        processes.end(worker.unit)
        await runner._executions.look(runner._registry.get("r"))
    assert await client.get_job_status("j") is JobStatus.STARTED


async def test_a_job_that_does_not_stop_takes_its_unit_with_it(
    runner: Supervisor,
    redis_url: str,
    client: JobClient,
    processes: InMemoryProcessManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claimed, "STOP_GRACE_S", 0.0)
    for name in ("j", "other"):
        await client.enqueue(Job(id=name, payload="x", runner="r"))
    async with worker_of(runner, redis_url) as worker:
        assert await worker.take() == ["j", "other"]
        assert not await client.cancel_job("j")
        assert await worker.claims.wait_for_word(block_s=1) == "cancel j"
        runner._keeper.look_at("r")
        await eventually(lambda: ("kill", worker.unit, signal.SIGKILL) in processes.done)
        processes.end(worker.unit)
        await state_of(client, "j", JobStatus.CANCELLED)
        state = await state_of(client, "other", JobStatus.DISPATCHED)
    assert (state.crashes, state.reason) == (0, "replaced")


async def test_a_job_whose_time_is_up_fails(
    runner: Supervisor,
    redis_url: str,
    client: JobClient,
    processes: InMemoryProcessManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claimed, "OVERDUE_GRACE_S", -10.0)
    monkeypatch.setattr(claimed, "STOP_GRACE_S", 0.0)
    await client.enqueue(Job(id="j", payload="x", runner="r", timeout=2))
    async with worker_of(runner, redis_url) as worker:
        await worker.take()
        runner._keeper.look_at("r")
        await state_of(client, "j", JobStatus.STOPPING)
        runner._keeper.look_at("r")
        await eventually(lambda: any(verb == "kill" for verb, _, _ in processes.done))
        processes.end(worker.unit)
        await state_of(client, "j", JobStatus.ERROR)
    result = await client.get_job_result("j")
    assert (result.error, result.reason) == ("timed out after 2 s", "timeout")
    assert execution.STOP_GRACE_S > 0


async def test_a_run_that_has_a_successor_already_is_explained_by_its_exit_record(
    runner: Supervisor, redis_url: str, client: JobClient, exits: InMemoryExitSource
) -> None:
    await client.enqueue(Job(id="j", payload="x", runner="r", max_crashes=0))
    unit = (await runner.get_runner_status("r")).unit
    claims = Claims(RedisServer.at(redis_url), Keys(runner._site.namespace), "r", "former")
    exits.records.append(_end_of("former", unit))
    try:
        await claims.register(HolderRecord(node=runner.node_id, unit=unit, boot_id=boot_id()))
        await claims.exchange([], want=1)
    finally:
        await claims.aclose()
    runner._keeper.look_at("r")
    await state_of(client, "j", JobStatus.ERROR)
    result = await client.get_job_result("j")
    assert (result.reason, result.error) == ("oom-kill", "its runner ended: it ran out of memory and was killed")


def _end_of(invocation_id: str, unit: str) -> ExitRecord:
    return ExitRecord(
        runner="r",
        instance=1,
        unit=unit,
        invocation_id=invocation_id,
        reason=ExitReason.OOM_KILL,
        explanation="it ran out of memory and was killed",
        result="oom-kill",
        exit_code=None,
        signal="SIGKILL",
        started_at=None,
        ended_at=datetime.now(UTC),
        duration_s=None,
        memory_peak_bytes=None,
        cpu_s=None,
        will_restart=True,
        log_tail=(),
        cursor="",
    )
