"""Jobs of runners that take ids from lists: a real Redis, with units in memory and a runner played by the test."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.job import CrashPolicy, JobStatus
from hero_supervisor.jobs import listed
from hero_supervisor.runner import JobProtocol, Runner
from tests.listed_fixtures import Process, R, executing, has, queue, state_of, unit_of
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hero_supervisor.client import JobClient
    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.testing import InMemoryProcessManager
    from tests.supervisor_fixtures import Build

# -- to the list and back ------------------------------------------------------------------------------------------


async def test_a_list_is_given_one_id_more_than_are_executed(
    running: Supervisor, client: JobClient, process: Process
) -> None:
    await queue(client, "a", "b", "c")
    await has(process, "a", "b")
    assert await process.begin() == "a"
    await has(process, "b")
    await process.end("a")
    await has(process, "b", "c")
    state = await state_of(client, "a", JobStatus.FINISHED)
    assert (state.attempt, state.holder) == (1, "")
    assert (await client.get_job_result("a")).result == "done"


async def test_the_most_important_job_is_given_first(running: Supervisor, client: JobClient, process: Process) -> None:
    await queue(client, "a", "b", "c")
    await has(process, "a", "b")
    await queue(client, "urgent", priority=9)
    assert [await process.pop() for _ in range(2)] == ["a", "b"]
    assert await process.pop() == "urgent"


async def test_an_error_is_tried_again_as_the_job_says(
    running: Supervisor, client: JobClient, process: Process
) -> None:
    await queue(client, "a", max_retries=1, retry_delay_s=0.01)
    for _ in range(2):
        assert await process.begin() == "a"
        await process.end("a", status="error", error="broken")
    state = await state_of(client, "a", JobStatus.ERROR)
    assert (state.attempt, state.failures, state.reason) == (2, 2, "failed")
    assert (await client.get_job_result("a")).error == "broken"


async def test_a_stopped_runner_has_nothing_in_its_list(
    running: Supervisor, client: JobClient, process: Process
) -> None:
    await queue(client, "a", "b")
    await has(process, "a", "b")
    await running.stop_runner("r")
    await has(process)
    stats = await client._store.redis.zrange(client.keys.queue("r", "pending"), 0, -1)
    assert stats == [b"a", b"b"]


async def test_each_instance_has_its_own_list(supervisor: Supervisor, client: JobClient, process: Process) -> None:
    await supervisor.add_runner(Runner(id="r", command=("/bin/true",), instances=2))
    await supervisor.start_runner("r")
    second = Process(process.raw, process.namespace, f"{process.queue}:inst:2")
    await queue(client, *"abcd")

    async def is_spread() -> bool:
        return len(await process.listed()) == 2 and len(await second.listed()) == 2

    await eventually(is_spread)
    await supervisor.scale_runner("r", 1)
    await has(second)
    taken = []
    for _ in range(4):
        taken.append(await process.begin() or "")
        await process.end(taken[-1])
    assert sorted(taken) == ["a", "b", "c", "d"]


# -- ends of processes ---------------------------------------------------------------------------------------------


async def test_what_a_process_had_when_it_died_is_executed_again(
    running: Supervisor, client: JobClient, process: Process, processes: InMemoryProcessManager
) -> None:
    await queue(client, "a", "b")
    assert await process.begin() == "a"
    await has(process, "b")
    processes.end(await unit_of(running), exit_status=3)
    state = await state_of(client, "a", JobStatus.DISPATCHED)
    assert (state.crashes, state.reason) == (1, "exit")
    assert (await client.get_job_state("b")).crashes == 0


async def test_an_id_that_was_taken_and_not_begun_is_not_lost(
    running: Supervisor, client: JobClient, process: Process, processes: InMemoryProcessManager
) -> None:
    await queue(client, "a")
    assert await process.pop() == "a"
    processes.end(await unit_of(running))
    await has(process, "a")


async def test_the_next_run_keeps_what_it_took_and_the_last_ones_jobs_come_back(
    running: Supervisor, client: JobClient, process: Process, processes: InMemoryProcessManager
) -> None:
    await queue(client, "a", "b")
    assert await process.begin() == "a"
    await executing(client, "a")
    restart(processes, await unit_of(running))
    assert await process.begin() == "b"
    processes.tell(await unit_of(running))
    await has(process, "a")
    assert await client.get_job_status("b") is JobStatus.STARTED
    await process.end("b")
    await state_of(client, "b", JobStatus.FINISHED)


async def test_a_process_that_takes_the_next_id_has_dropped_the_one_before(
    running: Supervisor, client: JobClient, process: Process
) -> None:
    await queue(client, "a", "b")
    assert await process.begin() == "a"
    assert await process.begin() == "b"
    await has(process, "a")
    state = await client.get_job_state("a")
    assert (state.crashes, state.reason) == (1, "dropped")


async def test_a_supervisor_that_was_away_finds_what_was_lost_meanwhile(
    build: Build, client: JobClient, process: Process, processes: InMemoryProcessManager
) -> None:
    async with await build().build() as supervisor:
        await supervisor.add_runner(R)
        await supervisor.start_runner("r")
        await queue(client, "a", "b", "c")
        assert await process.begin() == "a"
        await executing(client, "a")
        unit = await unit_of(supervisor)
    restart(processes, unit)
    assert await process.begin() == "b"
    await process.end("b")
    async with await build().build():
        await state_of(client, "b", JobStatus.FINISHED)
        assert (await state_of(client, "a", JobStatus.DISPATCHED)).crashes == 1
        assert sorted([await process.pop() or "" for _ in range(2)]) == ["a", "c"]


async def test_a_ping_tells_whether_the_next_run_has_what_was_taken_unseen(
    build: Build, client: JobClient, process: Process, processes: InMemoryProcessManager
) -> None:
    unit = await taken_unseen(build, client, process, processes)
    async with await build().build():
        await executing(client, "a")
        ping = await process.pop() or ""
        assert await process.raw.hget(process.key(ping), "payload") == "ping"
        await process.end(ping, output="pong")
        state = await state_of(client, "a", JobStatus.DISPATCHED)
        assert (state.crashes, state.reason) == (1, "exit")
        assert await process.begin() == "a"
        await process.end("a")
        await state_of(client, "a", JobStatus.FINISHED)
        assert await process.pop(0.1) is None
        assert [job.id for job in await client.list_jobs()] == ["a"]
        assert unit


async def test_what_was_taken_unseen_by_the_next_run_is_left_to_it(
    build: Build, client: JobClient, process: Process, processes: InMemoryProcessManager
) -> None:
    await taken_unseen(build, client, process, processes)
    async with await build().build():
        await executing(client, "a")
        await process.end("a")
        await state_of(client, "a", JobStatus.FINISHED)
        assert (await process.pop() or "").startswith("ping.r.")
    assert (await client.get_job_state("a")).attempt == 1


async def test_a_process_that_has_ended_a_later_job_has_dropped_the_one_before(
    build: Build, client: JobClient, process: Process, processes: InMemoryProcessManager
) -> None:
    unit = await taken_unseen(build, client, process, processes, "a", "b")
    assert await process.begin() == "b"
    await process.end("b")
    async with await build().build() as supervisor:
        assert await unit_of(supervisor) == unit
        await state_of(client, "b", JobStatus.FINISHED)
        assert (await state_of(client, "a", JobStatus.DISPATCHED)).reason == "dropped"


async def taken_unseen(
    build: Build, client: JobClient, process: Process, processes: InMemoryProcessManager, *ids: str
) -> str:
    """Let the first job be taken while there is no supervisor, and another run be there when there is one again."""
    async with await build().build() as supervisor:
        await supervisor.add_runner(R)
        await supervisor.start_runner("r")
        await queue(client, *(ids or ("a",)))
        await has(process, *(ids or ("a",)))
        unit = await unit_of(supervisor)
    assert await process.begin() is not None
    processes.next_run(unit)
    return unit


@pytest.mark.parametrize("policy", [CrashPolicy.FAIL, CrashPolicy.DEAD])
async def test_a_job_that_may_not_be_tried_again_ends_with_its_process(
    running: Supervisor, client: JobClient, process: Process, processes: InMemoryProcessManager, policy: CrashPolicy
) -> None:
    await queue(client, "a", on_crash=policy)
    await process.begin()
    processes.end(await unit_of(running), exit_status=7)
    await state_of(client, "a", JobStatus.ERROR)
    assert (await client.get_job_result("a")).error == "its runner ended with exit status 7"


def restart(processes: InMemoryProcessManager, unit: str) -> None:
    """Let systemd have started the next run of a unit already."""
    processes.next_run(unit)


# -- stopping ------------------------------------------------------------------------------------------------------


async def test_a_job_in_the_list_is_cancelled_at_once(running: Supervisor, client: JobClient, process: Process) -> None:
    await queue(client, "a", "b", "c")
    await has(process, "a", "b")
    assert await client.cancel_job("b")
    await has(process, "a", "c")


async def test_a_job_that_is_executed_takes_its_unit_with_it(
    running: Supervisor, client: JobClient, process: Process, processes: InMemoryProcessManager
) -> None:
    await queue(client, "a", "b")
    unit = await unit_of(running)
    await process.begin()
    assert not await client.cancel_job("a")
    await eventually(lambda: ("kill", unit, signal.SIGKILL) in processes.done)
    processes.end(unit)
    await state_of(client, "a", JobStatus.CANCELLED)
    assert await process.listed() == ["b"]


async def test_a_job_whose_time_is_up_fails(
    running: Supervisor,
    client: JobClient,
    process: Process,
    processes: InMemoryProcessManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listed, "OVERDUE_GRACE_S", -10.0)
    await queue(client, "a", timeout=2)
    await process.begin()
    await executing(client, "a")
    running._keeper.look_at("r")
    unit = await unit_of(running)
    await eventually(lambda: ("kill", unit, signal.SIGKILL) in processes.done)
    processes.end(unit)
    await state_of(client, "a", JobStatus.ERROR)
    assert (await client.get_job_result("a")).error == "timed out after 2 s"


# -- lists that are shared, and changes of the runner --------------------------------------------------------------


async def test_a_shared_list_gives_back_what_was_lost_when_no_process_runs(
    supervisor: Supervisor, client: JobClient, process: Process, processes: InMemoryProcessManager
) -> None:
    shared = Runner(id="r", command=("/bin/true",), instances=2, queue=f"{process.namespace}:own")
    await supervisor.add_runner(shared)
    await supervisor.start_runner("r")
    own = Process(process.raw, process.namespace, shared.queue or "")
    await queue(client, *"abcdef")
    taken = [await own.begin() for _ in range(3)]
    assert taken == ["a", "b", "c"]
    units = [unit.name for unit in await processes.adopt("*-runner-r*")]
    processes.end(units[0])
    assert await client.get_job_status("a") is JobStatus.STARTED
    processes.end(units[1])
    await state_of(client, "a", JobStatus.DISPATCHED)


@pytest.fixture
async def shared(supervisor: Supervisor, process: Process) -> Process:
    """The list of two processes that share it."""
    runner = Runner(id="r", command=("/bin/true",), instances=2, queue=f"{process.namespace}:own")
    await supervisor.add_runner(runner)
    await supervisor.start_runner("r")
    return Process(process.raw, process.namespace, runner.queue or "")


async def test_what_may_have_been_lost_with_one_of_those_that_share_a_list_is_tried_again_when_its_time_is_up(
    supervisor: Supervisor, client: JobClient, shared: Process, processes: InMemoryProcessManager
) -> None:
    units = [unit.name for unit in await processes.adopt("*-runner-r*")]
    await queue(client, "lost", "well", timeout=300)
    assert [await shared.begin(), await shared.begin()] == ["lost", "well"]
    await started(client, "lost", "well")
    processes.next_run(units[0])
    processes.tell(units[0])
    await shared.end("well")
    await state_of(client, "well", JobStatus.FINISHED)
    await late(supervisor, client, processes, units)
    state = await state_of(client, "lost", JobStatus.DISPATCHED)
    assert (state.crashes, state.reason, state.failures) == (1, "unheard", 0)
    assert await shared.begin() == "lost"


async def test_what_none_of_those_that_share_a_list_can_have_lost_is_late(
    supervisor: Supervisor, client: JobClient, shared: Process, processes: InMemoryProcessManager
) -> None:
    units = [unit.name for unit in await processes.adopt("*-runner-r*")]
    await queue(client, "lost", timeout=300)
    assert await shared.begin() == "lost"
    await started(client, "lost")
    await late(supervisor, client, processes, units)
    await state_of(client, "lost", JobStatus.ERROR)
    assert (await client.get_job_result("lost")).error == "timed out after 300 s"


async def started(client: JobClient, *ids: str) -> None:
    """Wait until jobs have been seen to be started, from when on they have a deadline."""

    async def is_so() -> bool:
        return all([await client._store.redis.hexists(client.keys.job(job_id), "started_at") for job_id in ids])

    await eventually(is_so)


async def late(
    supervisor: Supervisor, client: JobClient, processes: InMemoryProcessManager, units: Sequence[str]
) -> None:
    """Let the time of the jobs that are executed be up, and all processes be killed for it."""
    taken: Any = await client._store.redis.zrange(client.keys.queue("r", "taken"), 0, -1)
    await client._store.redis.zadd(client.keys.queue("r", "taken"), dict.fromkeys(taken, 1))
    supervisor._keeper.look_at("r")
    await eventually(lambda: all(("kill", unit, signal.SIGKILL) in processes.done for unit in units))
    for unit in units:  # one after the other, each of which is there again at once
        processes.next_run(unit)
        processes.tell(unit)
        await asyncio.sleep(0.05)  # a look comes in between


async def test_jobs_follow_a_runner_to_another_protocol(
    running: Supervisor, client: JobClient, process: Process
) -> None:
    await queue(client, "a", "b")
    assert await process.begin() == "a"
    await running.stop_runner("r")
    await running.update_runner(Runner(id="r", command=("/bin/true",), protocol=JobProtocol.CLAIM))
    running._keeper.look_at("r")

    async def are_pending() -> bool:
        return await client._store.redis.zcard(client.keys.queue("r", "pending")) == 2

    await eventually(are_pending)
