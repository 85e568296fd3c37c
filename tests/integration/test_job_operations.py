"""Operations on jobs and queues, through the supervisor and through JSON-RPC, on a real Redis."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from hero_supervisor import errors
from hero_supervisor.job import Job, JobStatus
from hero_supervisor.queue.claims import ERROR, FINISHED, Claims, Ended, HolderRecord
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.keys import Keys
from hero_supervisor.records import QueueLimits
from hero_supervisor.rpc.dispatch import Dispatcher
from hero_supervisor.runner import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hero_supervisor.supervisor import Supervisor


@pytest.fixture
async def ready(supervisor: Supervisor) -> Supervisor:
    """A supervisor with the runner 'r', which does not run."""
    await supervisor.add_runner(Runner.from_data({"id": "r", "executor": "shell"}))
    return supervisor


@pytest.fixture
async def claims(redis_url: str, namespace: str) -> AsyncIterator[Claims]:
    """A process that executes jobs of runner 'r'."""
    claims = Claims(RedisServer.at(redis_url), Keys(namespace), "r", "p")
    await claims.register(HolderRecord(node="elsewhere"))
    yield claims
    await claims.aclose()


async def execute(claims: Claims, outcome: str = FINISHED, text: str = "done", want: int = 100) -> list[str]:
    """Execute what may be taken, and return the ids."""
    taken = (await claims.exchange([], want=want)).claims
    await claims.exchange([Ended(each.job_id, each.attempt, outcome, text) for each in taken], want=0)
    return [each.job_id for each in taken]


async def rpc(supervisor: Supervisor, method: str, params: object = None) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, **({} if params is None else {"params": params})}
    answer = await Dispatcher(supervisor).answer(json.dumps(request).encode())
    assert answer is not None
    return json.loads(answer)


async def result_of(supervisor: Supervisor, method: str, params: object = None) -> Any:
    answer = await rpc(supervisor, method, params)
    assert "result" in answer, answer
    return answer["result"]


async def test_a_job_is_stored_first_and_queued_later(ready: Supervisor, claims: Claims) -> None:
    assert await ready.create_job(Job(id="j", payload="x", runner="r")) == "j"
    assert await ready.get_job_status("j") is JobStatus.CREATED
    assert await execute(claims) == []
    assert await ready.queue_job("j") == "j"
    assert await ready.queue_job("j") == "j"
    assert await execute(claims) == ["j"]
    assert await ready.queue_job("j") == "j"
    assert (await ready.get_job_result("j")).result == "done"


async def test_a_job_without_a_runner_can_neither_be_stored_nor_run(ready: Supervisor) -> None:
    for call in (ready.create_job, ready.run_job):
        with pytest.raises(errors.InvalidJob) as caught:
            await call(Job(payload="x"))
        assert [fault.path for fault in caught.value.faults] == ["runner"]


async def test_many_jobs_are_queued_in_order_and_each_is_answered(ready: Supervisor, claims: Claims) -> None:
    await ready.queue_job_to_runner("r", Job(id="b", payload="other"))
    jobs = tuple(Job(id=name, payload="x") for name in ("a", "b", "c"))
    answers = await ready.queue_jobs_to_runner("r", jobs)
    assert [(each.job_id, each.kind) for each in answers] == [("a", None), (None, "job-exists"), ("c", None)]
    assert await execute(claims) == ["b", "a", "c"]


async def test_the_faults_of_many_jobs_are_told_by_their_paths(ready: Supervisor) -> None:
    jobs = [{"payload": "x"}, {"payload": "x", "timeout": 0}, {"priority": 10}]
    answer = await rpc(ready, "queue_jobs_to_runner", {"runner": "r", "jobs": jobs})
    paths = [fault["path"] for fault in answer["error"]["data"]["faults"]]
    assert paths == ["jobs.1.timeout", "jobs.2.payload", "jobs.2.priority"]
    assert await ready.list_jobs() == []


@pytest.mark.parametrize("jobs", [[], "x", {"payload": "x"}, [{"payload": "x"}] * 1001])
async def test_no_jobs_or_too_many_are_refused(ready: Supervisor, jobs: object) -> None:
    answer = await rpc(ready, "queue_jobs_to_runner", {"runner": "r", "jobs": jobs})
    assert answer["error"]["data"]["kind"] == "invalid-job"


async def test_run_job_queues_and_waits(ready: Supervisor, claims: Claims) -> None:
    running = asyncio.create_task(ready.run_job(Job(id="j", payload="x", runner="r"), 10))
    assert await claims.wait_for_work(block_s=5)
    await execute(claims)
    assert (await running).result == "done"


async def test_jobs_are_awaited_together(ready: Supervisor, claims: Claims) -> None:
    jobs = tuple(Job(id=name, payload="x", group="g") for name in ("a", "b"))
    await ready.queue_jobs_to_runner("r", jobs)
    waiting = asyncio.create_task(ready.wait_for_jobs(("a", "b"), 10))
    first = asyncio.create_task(ready.wait_for_jobs(("a", "b"), 10, first=True))
    await execute(claims, want=1)
    assert [each.status for each in await first] == [JobStatus.FINISHED, JobStatus.DISPATCHED]
    assert await ready.wait_for_group("g", 0.05) == {"open": 1, "finished": 1}
    await execute(claims, ERROR, "bad")
    assert [each.status for each in await waiting] == [JobStatus.FINISHED, JobStatus.ERROR]
    assert await ready.wait_for_group("g", 10) == {"open": 0, "finished": 1, "error": 1}


async def test_a_wait_that_ends_first_tells_how_jobs_stand(ready: Supervisor) -> None:
    await ready.queue_job_to_runner("r", Job(id="a", payload="x"))
    assert [each.status for each in await ready.wait_for_jobs(("a",), 0.05)] == [JobStatus.DISPATCHED]
    with pytest.raises(errors.JobNotFound):
        await ready.wait_for_jobs(("a", "missing"), 0.05)
    with pytest.raises(errors.JobNotFound):
        await ready.wait_for_group("missing", 0.05)


async def test_a_queued_job_is_cancelled_at_once_and_can_be_tried_again(ready: Supervisor, claims: Claims) -> None:
    await ready.queue_job_to_runner("r", Job(id="j", payload="x"))
    assert (await ready.cancel_job("j")).status is JobStatus.CANCELLED
    assert await execute(claims) == []
    await ready.retry_job("j")
    assert await execute(claims) == ["j"]
    with pytest.raises(errors.Conflict):
        await ready.cancel_job("j")
    await ready.delete_job("j")
    with pytest.raises(errors.JobNotFound):
        await ready.get_job("j")


async def test_a_job_that_is_executed_is_told_to_stop(ready: Supervisor, claims: Claims) -> None:
    await ready.queue_job_to_runner("r", Job(id="j", payload="x"))
    [claim] = (await claims.exchange([], want=1)).claims
    assert (await ready.cancel_job("j")).status is JobStatus.STOPPING
    assert await claims.wait_for_word(block_s=5) == "cancel j"
    with pytest.raises(errors.Conflict):
        await ready.delete_job("j")
    await claims.exchange([Ended("j", claim.attempt, ERROR, "stopped")], want=0)
    result = await ready.get_job_result("j")
    assert (result.status, result.reason) == (JobStatus.CANCELLED, "cancelled")


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(ready: Supervisor, claims: Claims) -> None:
    await ready.queue_job_to_runner("r", Job(id="j", payload="x"))
    assert (await ready.pause_queue("r")).is_paused
    assert await execute(claims) == []
    while await claims.wait_for_work(block_s=0.01):
        pass
    assert not (await ready.resume_queue("r")).is_paused
    assert await claims.wait_for_work(block_s=5)
    assert await execute(claims) == ["j"]


async def test_a_queue_gives_as_much_as_its_limits_allow(ready: Supervisor, claims: Claims) -> None:
    await ready.queue_jobs_to_runner("r", tuple(Job(payload="x") for _ in range(10)))
    await ready.set_queue_limits("r", QueueLimits(max_running=3))
    assert len((await claims.exchange([], want=10)).claims) == 3
    await ready.set_queue_limits("r", QueueLimits(rate=0.001, burst=2))
    exchange = await claims.exchange([], want=10)
    assert len(exchange.claims) == 2
    assert exchange.again_at is not None
    stats = await ready.get_queue_stats("r")
    assert stats.limits == QueueLimits(rate=0.001, burst=2)
    assert (stats.pending, stats.taken, stats.known) == (5, 5, 10)


async def test_a_full_queue_refuses_further_jobs(ready: Supervisor) -> None:
    await ready.set_queue_limits("r", QueueLimits(max_length=1))
    await ready.queue_job_to_runner("r", Job(id="a", payload="x"))
    answer = await rpc(ready, "queue_job_to_runner", {"runner": "r", "job": {"payload": "x"}})
    assert (answer["error"]["code"], answer["error"]["data"]["kind"]) == (-32008, "queue-full")


async def test_dead_letters_are_listed_retried_and_purged(ready: Supervisor, claims: Claims) -> None:
    jobs = tuple(Job(id=name, payload="x", max_retries=1, retry_delay_s=0) for name in ("a", "b"))
    await ready.queue_jobs_to_runner("r", jobs)
    while len(await ready.list_dead_jobs("r")) < 2:
        await execute(claims, ERROR, "bad")
    assert await ready.retry_dead_jobs("r", 1) == 1
    assert len(await ready.list_dead_jobs("r")) == 1
    assert await ready.purge_dead_jobs("r") == 1
    assert await ready.list_dead_jobs("r") == []
    assert len(await ready.list_jobs()) == 1


async def test_queues_tell_what_went_through_them(ready: Supervisor, claims: Claims) -> None:
    await ready.queue_jobs_to_runner("r", tuple(Job(payload="x") for _ in range(3)))
    await execute(claims)
    await ready.queue_job_to_runner("r", Job(payload="x"))
    [stats] = await ready.get_all_queue_stats()
    assert (stats.counts["queued"], stats.counts["finished"], stats.pending) == (4, 3, 1)
    assert stats.oldest_s is not None
    assert 0 <= stats.oldest_s < 5


async def test_jobs_are_listed_by_what_is_known_of_them_in_pages(ready: Supervisor) -> None:
    jobs = [Job(payload="x", caller_id=str(i % 2), labels={"n": str(i)}) for i in range(7)]
    await ready.queue_jobs_to_runner("r", tuple(jobs))
    found = await ready.list_jobs(caller_id="1", limit=2)
    rest = await ready.list_jobs(caller_id="1", limit=2, after_cursor=found[-1].cursor)
    assert [job.labels["n"] for job in found + rest] == ["5", "3", "1"]
    assert len(await ready.list_jobs(labels={"n": "4"})) == 1
    assert await ready.list_jobs(status=JobStatus.STARTED) == []
    with pytest.raises(errors.InvalidInput):
        await ready.list_jobs(after_cursor="nonsense")


async def test_the_originals_later_names_work_in_their_shapes(ready: Supervisor, claims: Claims) -> None:
    job = {"id": "j", "payload": "x", "runner": "r"}
    assert await result_of(ready, "jobs.create", [{"secret": "s", "job": job}]) == "j"
    assert await result_of(ready, "job.start", {"params": {"secret": "s", "job_id": "j"}}) == "j"
    assert await result_of(ready, "job.status", ["j"]) == "dispatched"
    assert await result_of(ready, "job.result", {"job_id": "j"}) == {"error": "the job is 'dispatched'"}
    await execute(claims)
    assert await result_of(ready, "job.result", {"job_id": "j"}) == {"success": "done"}
    assert await result_of(ready, "get_job_output", {"job_id": "j"}) == "done"
    [listed] = await result_of(ready, "jobs.list")
    assert (listed["id"], listed["payload"]) == ("j", "x")
    running = asyncio.create_task(result_of(ready, "job.run", {"secret": "s", "job": {**job, "id": "k"}}))
    assert await claims.wait_for_work(block_s=5)
    await execute(claims, ERROR, "bad")
    assert await running == {"error": "bad"}
    assert await result_of(ready, "job.delete", {"job_id": "k"}) is None


async def test_the_jobs_are_proven_to_be_where_they_have_to_be_and_mended(ready: Supervisor, redis_url: str) -> None:
    await ready.queue_job_to_runner("r", Job(id="j", payload="x"))
    assert (await ready.check_integrity()).is_sound
    async with Redis.from_url(redis_url) as raw:
        await raw.delete(Keys(ready._site.namespace).queue("r", "pending"))
    report = await result_of(ready, "check_integrity")
    assert [(each["kind"], each["job_id"]) for each in report["violations"]] == [("nowhere", "j")]
    assert (await ready.check_integrity(repair=True)).is_repaired
    assert (await ready.check_integrity()).is_sound


async def test_what_stops_a_job_has_several_names(ready: Supervisor) -> None:
    for name, answer in (("job.stop", {"status": "cancelled"}), ("stop_job", {"success": True})):
        job_id = await ready.queue_job_to_runner("r", Job(payload="x"))
        found = await result_of(ready, name, {"job_id": job_id})
        assert found.items() >= answer.items()


async def test_limits_of_a_job_are_for_jobs_that_are_units_of_their_own(ready: Supervisor) -> None:
    job = {"payload": "x", "limits": {"memory_max_bytes": "64M"}}
    answer = await rpc(ready, "queue_job_to_runner", {"runner": "r", "job": job})
    assert [fault["path"] for fault in answer["error"]["data"]["faults"]] == ["limits"]
    await ready.add_runner(Runner.from_data({"id": "u", "executor": "shell", "protocol": "unit"}))
    job_id = await result_of(ready, "queue_job_to_runner", {"runner": "u", "job": job})
    limits = (await ready.get_job(job_id)).limits
    assert limits is not None
    assert limits.memory_max_bytes == 64 << 20
