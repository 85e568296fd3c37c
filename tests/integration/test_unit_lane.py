"""What can go wrong between Redis and systemd while jobs are units: a real Redis, and units in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from hero_supervisor import errors
from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.client import JobClient
from hero_supervisor.job import Job, JobStatus
from hero_supervisor.jobs import unit_files, unit_lane
from hero_supervisor.queue.claims import Claims
from hero_supervisor.queue.ledger import Death
from hero_supervisor.records import RunnerState
from hero_supervisor.runner import JobProtocol, Runner
from hero_supervisor.testing import InMemoryExitSource, InMemoryLogSource, InMemoryOneShots, InMemoryProcessManager
from hero_supervisor.unit import UnitEnd
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from hero_supervisor.queue.claims import Ended, Exchange
    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.unit import TransientUnit
    from tests.redis_fixtures import RedisProcess

A = Runner(id="a", command=("/bin/true",), protocol=JobProtocol.UNIT, concurrency=2)
WELL = UnitEnd("exited", exec_main_code=1)
BADLY = UnitEnd("failed", "exit-code", 1, 3, 1, 2, 3)


@pytest.fixture
def units(processes: InMemoryProcessManager) -> InMemoryOneShots:
    return processes.one_shots


@pytest.fixture
def builder(own_redis: RedisProcess, processes: InMemoryProcessManager, tmp_path: Path) -> SupervisorBuilder:
    builder = SupervisorBuilder().redis_url(own_redis.url).namespace("hero").state_dir(tmp_path / "state")
    return builder.process_manager(processes).log_source(InMemoryLogSource()).exit_source(InMemoryExitSource())


@pytest.fixture
async def supervisor(builder: SupervisorBuilder) -> AsyncIterator[Supervisor]:
    async with await builder.build() as supervisor:
        await supervisor.add_runner(A)
        await supervisor.start_runner("a")
        yield supervisor


@pytest.fixture
async def jobs(own_redis: RedisProcess) -> AsyncIterator[JobClient]:
    async with JobClient.connect(own_redis.url) as jobs:
        yield jobs


async def launched(jobs: JobClient, units: InMemoryOneShots, job_id: str) -> str:
    """Queue a job and return the name of its unit, which runs."""
    await jobs.enqueue(Job(id=job_id, payload="", runner="a"))
    name = f"hero-job-a@{job_id}:1.service"
    await eventually(lambda: name in units.units)
    return name


async def end_of(jobs: JobClient, job_id: str) -> tuple[JobStatus, int]:
    status = (await jobs.wait_for_result(job_id, timeout_s=15)).status
    return status, (await jobs.get_job_state(job_id)).attempt


async def test_a_unit_is_released_when_its_end_is_in_redis(
    supervisor: Supervisor, jobs: JobClient, units: InMemoryOneShots, own_redis: RedisProcess
) -> None:
    name = await launched(jobs, units, "j")
    own_redis.stop()
    units.end_with(name, WELL)
    with pytest.raises(TimeoutError):
        await eventually(lambda: name not in units.units, timeout_s=1)
    own_redis.start()
    assert await end_of(jobs, "j") == (JobStatus.FINISHED, 1)
    await eventually(lambda: name not in units.units)
    assert supervisor.node_id


@pytest.mark.usefixtures("supervisor")
async def test_a_job_is_begun_when_the_answer_that_gave_it_is_lost(
    jobs: JobClient, units: InMemoryOneShots, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Claims.exchange
    lost: list[object] = []

    async def losing(self: Claims, ended: Sequence[Ended], *, want: int, is_again: bool = False) -> Exchange:
        answer = await exchange(self, ended, want=want, is_again=is_again)
        if answer.claims and not lost:
            lost.append(answer.claims[0].job_id)
            raise errors.RedisUnavailable("cannot use Redis: the answer is lost")
        return answer

    monkeypatch.setattr(Claims, "exchange", losing)
    await jobs.enqueue(Job(id="j", payload="", runner="a"))
    await eventually(lambda: "hero-job-a@j:2.service" in units.units)
    assert lost == ["j"]
    units.end_with("hero-job-a@j:2.service", WELL)
    assert await end_of(jobs, "j") == (JobStatus.FINISHED, 2)
    assert [unit.name for unit in units.launched] == ["hero-job-a@j:2.service"]


@pytest.mark.usefixtures("supervisor")
async def test_an_end_is_written_once_when_the_answer_is_lost(
    jobs: JobClient, units: InMemoryOneShots, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await launched(jobs, units, "j")
    exchange = Claims.exchange
    lost: list[object] = []

    async def losing(self: Claims, ended: Sequence[Ended], *, want: int, is_again: bool = False) -> Exchange:
        answer = await exchange(self, ended, want=want, is_again=is_again)
        if ended and not lost:
            lost.append(ended)
            raise errors.RedisUnavailable("cannot use Redis: the answer is lost")
        return answer

    monkeypatch.setattr(Claims, "exchange", losing)
    units.end_with(name, BADLY)
    assert await end_of(jobs, "j") == (JobStatus.ERROR, 1)
    await eventually(lambda: name not in units.units)
    assert (await jobs.get_job_state("j")).failures == 1


@pytest.mark.usefixtures("supervisor")
@pytest.mark.parametrize("is_carried_out", [True, False])
async def test_a_start_without_an_answer_runs_once(
    jobs: JobClient, units: InMemoryOneShots, monkeypatch: pytest.MonkeyPatch, *, is_carried_out: bool
) -> None:
    launch = units.launch
    failures: list[str] = []

    async def failing(unit: TransientUnit) -> None:
        if not failures:
            failures.append(unit.name)
            if is_carried_out:
                await launch(unit)
            raise errors.SystemdUnavailable("cannot start: the connection is lost")
        await launch(unit)

    monkeypatch.setattr(units, "launch", failing)
    await jobs.enqueue(Job(id="j", payload="", runner="a"))
    await eventually(lambda: bool(units.units))
    units.end_with(next(iter(units.units)), WELL)
    assert await end_of(jobs, "j") == (JobStatus.FINISHED, 1 if is_carried_out else 2)
    assert len(units.launched) == 1


@pytest.mark.usefixtures("supervisor")
async def test_a_start_that_is_refused_is_an_error_of_the_job(
    jobs: JobClient, units: InMemoryOneShots, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refusing(_: TransientUnit) -> None:
        raise errors.SystemdRefused("cannot start unit 'x': no such property")

    monkeypatch.setattr(units, "launch", refusing)
    await jobs.enqueue(Job(id="j", payload="", runner="a"))
    outcome = await jobs.wait_for_result("j", timeout_s=10)
    assert (outcome.error, outcome.reason) == ("cannot start unit 'x': no such property", "not-started")


@pytest.mark.usefixtures("supervisor")
async def test_jobs_wait_while_there_is_no_room_for_their_files(
    jobs: JobClient, units: InMemoryOneShots, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unit_lane, "CHECK_S", 0.2)
    monkeypatch.setattr(unit_files, "LEAST_FREE_BYTES", 2**62)
    for job_id in "abc":
        await jobs.enqueue(Job(id=job_id, payload="", runner="a"))
    await eventually(lambda: "No space left on device" in caplog.text)
    assert units.launched == []
    state = await jobs.get_job_state("a")
    assert (state.status, state.failures, state.crashes) == (JobStatus.DISPATCHED, 0, 0)
    monkeypatch.undo()
    await eventually(lambda: len(units.launched) == 2)


@pytest.mark.usefixtures("supervisor")
async def test_news_that_is_lost_is_found_by_a_look(jobs: JobClient, units: InMemoryOneShots) -> None:
    name = await launched(jobs, units, "j")
    units.units[name] = WELL  # nobody is told
    assert await end_of(jobs, "j") == (JobStatus.FINISHED, 1)


async def test_jobs_that_were_given_to_others_are_stopped_here(
    supervisor: Supervisor, jobs: JobClient, units: InMemoryOneShots
) -> None:
    name = await launched(jobs, units, "j")
    (holder,) = (await jobs.ledger.look("a", grace_s=5)).holders
    assert holder == f"unit:{supervisor.node_id}"
    await jobs.ledger.recover("a", holder, Death("test", "its host was taken for dead", is_counted=False))
    await eventually(lambda: name not in units.units, timeout_s=10)
    await eventually(lambda: "hero-job-a@j:2.service" in units.units)
    units.end_with("hero-job-a@j:2.service", WELL)
    assert await end_of(jobs, "j") == (JobStatus.FINISHED, 2)


@pytest.mark.usefixtures("supervisor")
async def test_a_unit_whose_job_nobody_holds_is_stopped(jobs: JobClient, units: InMemoryOneShots) -> None:
    await launched(jobs, units, "j")
    units.units["hero-job-a@other:1.service"] = UnitEnd("running")
    units.units["hero-job-b@other:1.service"] = UnitEnd("running")
    await eventually(lambda: "hero-job-a@other:1.service" not in units.units, timeout_s=10)
    assert set(units.units) == {"hero-job-a@j:1.service", "hero-job-b@other:1.service"}


async def test_a_runner_that_is_removed_leaves_nothing_behind(
    supervisor: Supervisor, jobs: JobClient, units: InMemoryOneShots
) -> None:
    await launched(jobs, units, "j")
    await supervisor.remove_runner("a")
    assert not units.units

    async def is_back() -> bool:
        return (await jobs.get_job_state("j")).status is JobStatus.DISPATCHED

    await eventually(is_back)
    await eventually(lambda: not any(task.get_name() == "jobs-of-a" for task in asyncio.all_tasks()))


async def test_a_runner_has_the_status_of_taking_jobs(
    supervisor: Supervisor, processes: InMemoryProcessManager
) -> None:
    status = await supervisor.get_runner_status("a")
    assert (status.status, status.instances, status.main_pid) == (RunnerState.RUNNING, (), None)
    assert (await supervisor.stop_runner("a")).status is RunnerState.STOPPED
    assert not processes.started


@pytest.mark.usefixtures("supervisor")
async def test_a_soft_timeout_sends_the_stop_signal(jobs: JobClient, units: InMemoryOneShots) -> None:
    await jobs.enqueue(Job(id="j", payload="", runner="a", timeout=60, soft_timeout=1))
    await eventually(lambda: units.signals == [("hero-job-a@j:1.service", 15)])


@pytest.mark.usefixtures("supervisor")
async def test_a_job_that_a_foreign_client_pushes_is_executed(
    own_redis: RedisProcess, units: InMemoryOneShots, jobs: JobClient
) -> None:
    async with Redis(unix_socket_path=str(own_redis.socket)) as redis:
        await redis.hset("hero:job:f", mapping={"payload": "x"})
        await redis.rpush("hero:q:work:type:a", "f")
        await eventually(lambda: "hero-job-a@f:1.service" in units.units, timeout_s=10)
        units.end_with("hero-job-a@f:1.service", WELL)
        assert await end_of(jobs, "f") == (JobStatus.FINISHED, 1)
        assert await redis.lrange("hero:q:reply:f", 0, -1) == [b""]


async def test_a_job_that_is_queued_while_redis_answers_is_begun_at_once(
    supervisor: Supervisor, jobs: JobClient, units: InMemoryOneShots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the answer does not have is told meanwhile, and nothing tells it again."""
    units.end_with(await launched(jobs, units, "zeroth"), WELL)
    assert await end_of(jobs, "zeroth") == (JobStatus.FINISHED, 1)  # the lane waits for work from now on
    await eventually(lambda: not units.units)
    exchange, wait = Claims.exchange, Claims.wait_for_work
    is_asked, told = asyncio.Event(), asyncio.Event()

    async def answered_late(self: Claims, ended: Sequence[Ended], *, want: int, is_again: bool = False) -> Exchange:
        answer = await exchange(self, ended, want=want, is_again=is_again)
        if answer.claims and not is_asked.is_set():
            is_asked.set()
            await told.wait()
            await asyncio.sleep(0.05)  # the lane has heard of the second job
        return answer

    async def heard(self: Claims, *, block_s: float) -> None:
        await wait(self, block_s=block_s)
        if is_asked.is_set():
            told.set()

    monkeypatch.setattr(Claims, "exchange", answered_late)
    monkeypatch.setattr(Claims, "wait_for_work", heard)
    await jobs.enqueue(Job(id="first", payload="", runner="a"))
    await is_asked.wait()
    await jobs.enqueue(Job(id="second", payload="", runner="a"))
    await eventually(lambda: len(units.units) == 2, timeout_s=unit_lane.CHECK_S / 2)
