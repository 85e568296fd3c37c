"""Runners whose processes are started by others: a real Redis, and processes played by the test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import Conflict, HolderFenced, InvalidRunner, RunnerExists
from hero_supervisor.job import Job, JobStatus
from hero_supervisor.jobs import claimed, listed
from hero_supervisor.queue import ledger
from hero_supervisor.queue.claims import FINISHED, Claims, Ended, HolderRecord
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.keys import Keys
from hero_supervisor.records import RunnerState
from hero_supervisor.rpc.dispatch import Dispatcher
from hero_supervisor.runner import Executor, JobProtocol, Runner
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient
    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.testing import InMemoryProcessManager


@pytest.fixture
async def claims(redis_url: str, namespace: str) -> AsyncIterator[Claims]:
    """A process that claims jobs of runner 'r', and of which nobody knows where it is."""
    claims = Claims(RedisServer.at(redis_url), Keys(namespace), "r", "somewhere")
    await claims.register(HolderRecord())
    yield claims
    await claims.aclose()


async def has_status(supervisor: Supervisor, client: JobClient, job_id: str, status: JobStatus) -> None:
    async def is_there() -> bool:
        supervisor._keeper.look_at("r")
        return await client.get_job_status(job_id) is status

    await eventually(is_there)


async def call(supervisor: Supervisor, params: object) -> dict[str, Any]:
    request = {"jsonrpc": "2.0", "id": 1, "method": "register_runner", "params": params}
    answer = await Dispatcher(supervisor).answer(json.dumps(request).encode())
    assert answer is not None
    found: dict[str, Any] = json.loads(answer)
    return found


@pytest.mark.parametrize(
    "params",
    [
        {"secret": "s", "name": "r", "queue": "mine"},
        [{"secret": "s", "name": "r", "queue": "mine"}],
        {"params": {"secret": "s", "name": "r", "queue": "mine"}},
        ["r", "mine"],
    ],
)
async def test_a_runner_registers_as_with_the_original_and_may_do_so_again(
    supervisor: Supervisor, processes: InMemoryProcessManager, params: object
) -> None:
    for _ in range(2):
        assert await call(supervisor, params) == {"jsonrpc": "2.0", "id": 1, "result": None}
    assert await supervisor.get_runner("r") == Runner(id="r", queue="mine", external=True, autostart=True)
    assert (await supervisor.get_runner_status("r")).status is RunnerState.RUNNING
    assert not processes.started


async def test_a_runner_that_is_known_with_another_list_cannot_register(supervisor: Supervisor) -> None:
    await supervisor.register_runner("r", "mine")
    with pytest.raises(RunnerExists, match="takes its jobs from another list"):
        await supervisor.register_runner("r", "other")


async def test_a_runner_of_ours_may_register_itself(supervisor: Supervisor, namespace: str) -> None:
    await supervisor.add_runner(Runner(id="r", command=("/bin/true",)))
    await supervisor.register_runner("r", f"{namespace}:q:work:type:r")
    assert not (await supervisor.get_runner("r")).external


async def test_a_registered_runner_gets_jobs_and_its_results_are_seen(
    supervisor: Supervisor, client: JobClient, raw: Redis, namespace: str
) -> None:
    await supervisor.register_runner("r", f"{namespace}:mine")
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    assert await raw.blpop([f"{namespace}:mine"], 5) is not None
    await raw.hset(f"{namespace}:job:j", mapping={"status": "started"})
    await supervisor._executions.look(supervisor._registry.get("r"))
    assert await client.get_job_status("j") is JobStatus.STARTED
    await raw.hset(f"{namespace}:job:j", mapping={"status": "finished", "output": "done"})
    assert (await client.get_job_result("j")).result == "done"
    await eventually(lambda: _is_settled(client))


async def _is_settled(client: JobClient) -> bool:
    return (await client.queues.stats("r")).taken == 0


async def test_a_job_that_was_taken_and_does_not_end_fails_at_its_deadline(
    supervisor: Supervisor, client: JobClient, raw: Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "OVERDUE_GRACE_S", 0.0)
    await supervisor.register_runner("r", f"{namespace}:mine")
    await client.enqueue(Job(id="j", payload="x", runner="r", timeout=1))
    assert await raw.blpop([f"{namespace}:mine"], 5)
    await has_status(supervisor, client, "j", JobStatus.ERROR)
    result = await client.get_job_result("j")
    assert (result.status, result.reason, result.error) == (JobStatus.ERROR, "timeout", "timed out after 1 s")


async def test_a_job_that_was_taken_is_cancelled_at_once(
    supervisor: Supervisor, client: JobClient, raw: Redis, namespace: str
) -> None:
    await supervisor.register_runner("r", f"{namespace}:mine")
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    assert await raw.blpop([f"{namespace}:mine"], 5)
    await supervisor.cancel_job("j")
    await has_status(supervisor, client, "j", JobStatus.CANCELLED)


async def test_a_runner_that_is_stopped_gets_no_jobs(
    supervisor: Supervisor, client: JobClient, raw: Redis, namespace: str
) -> None:
    await supervisor.register_runner("r", f"{namespace}:mine")
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    await eventually(lambda: _has_length(raw, f"{namespace}:mine", 1))
    assert (await supervisor.stop_runner("r")).status is RunnerState.STOPPED
    await eventually(lambda: _has_length(raw, f"{namespace}:mine", 0))
    assert (await supervisor.start_runner("r")).status is RunnerState.RUNNING
    await eventually(lambda: _has_length(raw, f"{namespace}:mine", 1))


async def _has_length(raw: Redis, name: str, length: int) -> bool:
    return int(await raw.llen(name)) == length


EXTERNAL = Runner(id="r", external=True, protocol=JobProtocol.CLAIM, autostart=True)


@pytest.mark.parametrize("runner", [EXTERNAL, Runner(id="r", executor=Executor.SHELL)])
async def test_a_process_that_falls_silent_loses_its_jobs_when_no_systemd_watches_it(
    supervisor: Supervisor, client: JobClient, claims: Claims, monkeypatch: pytest.MonkeyPatch, runner: Runner
) -> None:
    monkeypatch.setattr(ledger, "SILENT_S", 0.3)
    monkeypatch.setattr(claimed, "DOUBT_S", 0.1)
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    assert [claim.job_id for claim in (await claims.exchange([], want=1)).claims] == ["j"]
    await supervisor.add_runner(runner)
    await claims.beat([])
    supervisor._keeper.look_at("r")
    await supervisor._executions.look(supervisor._registry.get("r"))
    assert await client.get_job_status("j") is JobStatus.STARTED
    await has_status(supervisor, client, "j", JobStatus.DISPATCHED)
    state = await client.get_job_state("j")
    assert (state.crashes, state.reason) == (1, "lease-lost")
    with pytest.raises(HolderFenced):
        await claims.exchange([Ended("j", 1, FINISHED, "late")], want=0)


async def test_a_process_is_not_taken_for_dead_after_an_outage_of_redis(
    supervisor: Supervisor, client: JobClient, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    await claims.exchange([], want=1)
    monkeypatch.setattr(ledger, "SILENT_S", -1.0)
    await supervisor.add_runner(EXTERNAL)
    await supervisor._executions.look(supervisor._registry.get("r"))
    assert (await client.get_job_state("j")).holder == "somewhere"


async def test_a_process_elsewhere_that_does_not_stop_a_job_loses_all(
    supervisor: Supervisor, client: JobClient, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claimed, "STOP_GRACE_S", 0.0)
    await supervisor.add_runner(EXTERNAL)
    for name in ("j", "other"):
        await client.enqueue(Job(id=name, payload="x", runner="r"))
    await claims.exchange([], want=2)
    await supervisor.cancel_job("j")
    await has_status(supervisor, client, "j", JobStatus.CANCELLED)
    await has_status(supervisor, client, "other", JobStatus.DISPATCHED)
    state = await client.get_job_state("other")
    assert (state.crashes, state.reason) == (0, "lease-lost")


async def test_what_is_about_processes_is_refused(supervisor: Supervisor) -> None:
    with pytest.raises(InvalidRunner) as caught:
        Runner.from_data(
            {"id": "r", "external": True, "command": ["/bin/true"], "instances": 2, "protocol": "unit", "demand": {}}
        )
    paths = {fault.path for fault in caught.value.faults}
    assert paths == {"command", "instances", "protocol", "demand"}
    await supervisor.register_runner("r")
    with pytest.raises(InvalidRunner, match="makes no unit"):
        await supervisor.render_runner(EXTERNAL)
    with pytest.raises(Conflict, match="cannot scale"):
        await supervisor.scale_runner("r", 2)
    with pytest.raises(Conflict, match="cannot drain"):
        await supervisor.drain_runner("r")


async def test_a_runner_becomes_external_and_its_unit_ends(
    supervisor: Supervisor, processes: InMemoryProcessManager
) -> None:
    await supervisor.add_runner(Runner(id="r", command=("/bin/true",)))
    unit = (await supervisor.start_runner("r")).unit
    await supervisor.update_runner(Runner(id="r", external=True))
    assert not (await processes.status(unit)).is_running
    assert (await supervisor.get_runner_status("r")).status is RunnerState.RUNNING
