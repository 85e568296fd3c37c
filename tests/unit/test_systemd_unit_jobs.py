"""The outcome of unit jobs, with every order of events that can occur."""

from __future__ import annotations

import asyncio

import pytest

from hero_supervisor.errors import OperationTimeout, SystemdUnavailable
from hero_supervisor.systemd.connection import unavailable
from hero_supervisor.systemd.unit_jobs import UNSEEN, UnitJobs

JOB = "/org/freedesktop/systemd1/job/7"


class Systemd:
    """Answers whether a unit job is gone, and notes how often it was asked."""

    def __init__(self) -> None:
        self.is_gone = False
        self.asked = 0

    async def __call__(self, path: str) -> bool:
        assert path == JOB
        self.asked += 1
        return self.is_gone


@pytest.fixture
def systemd() -> Systemd:
    return Systemd()


@pytest.fixture
def jobs(systemd: Systemd) -> UnitJobs:
    return UnitJobs(systemd, look_interval_s=60)


async def queued() -> str:
    return JOB


async def outcome(jobs: UnitJobs, timeout_s: float = 5) -> str:
    return await jobs.outcome(queued, purpose="start unit 'a'", timeout_s=timeout_s)


async def waiting(jobs: UnitJobs, count: int = 1) -> list[asyncio.Task[str]]:
    """Return tasks that wait for the unit job."""
    tasks = [asyncio.create_task(outcome(jobs)) for _ in range(count)]
    await asyncio.wait(tasks, timeout=0)
    return tasks


async def test_a_signal_after_the_reply_is_the_outcome(jobs: UnitJobs) -> None:
    (task,) = await waiting(jobs)
    jobs.on_removed("/another", "failed")
    jobs.on_removed(JOB, "done")
    assert await task == "done"


async def test_a_signal_before_the_reply_is_the_outcome(jobs: UnitJobs) -> None:
    async def ask() -> str:
        jobs.on_removed(JOB, "failed")
        return JOB

    assert await jobs.outcome(ask, purpose="start", timeout_s=5) == "failed"


async def test_an_early_result_is_not_kept_for_a_later_unit_job_of_the_same_path(jobs: UnitJobs) -> None:
    jobs.on_removed(JOB, "failed")  # nobody is asking
    (task,) = await waiting(jobs)
    assert not task.done()
    jobs.on_removed(JOB, "done")
    assert await task == "done"
    (task,) = await waiting(jobs)  # a re-executed manager counts on; another one begins anew
    assert not task.done()
    jobs.on_removed(JOB, "canceled")
    assert await task == "canceled"


async def test_an_early_result_is_dropped_once_it_was_taken(jobs: UnitJobs) -> None:
    async def ask() -> str:
        jobs.on_removed(JOB, "failed")
        return JOB

    assert await jobs.outcome(ask, purpose="start", timeout_s=5) == "failed"
    (task,) = await waiting(jobs)
    assert not task.done()
    jobs.on_removed(JOB, "done")
    assert await task == "done"


async def test_a_signal_without_a_reply_leaves_the_call_to_fail(jobs: UnitJobs) -> None:
    async def ask() -> str:
        jobs.on_removed(JOB, "done")
        raise OperationTimeout("cannot start: no answer")

    with pytest.raises(OperationTimeout):
        await jobs.outcome(ask, purpose="start", timeout_s=5)


async def test_without_a_signal_the_deadline_says_that_it_goes_on(jobs: UnitJobs) -> None:
    with pytest.raises(OperationTimeout, match=r"cannot start unit 'a' in time: .* goes on"):
        await outcome(jobs, timeout_s=0.05)


async def test_two_waiters_of_one_unit_job_do_not_share_a_cancellation(jobs: UnitJobs) -> None:
    first, second = await waiting(jobs, 2)
    first.cancel()
    await asyncio.wait([first])
    jobs.on_removed(JOB, "done")
    assert await second == "done"


async def test_losing_the_bus_fails_every_waiter(jobs: UnitJobs) -> None:
    tasks = await waiting(jobs, 3)
    jobs.on_loss(unavailable("unix:path=/x", "gone"))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {SystemdUnavailable}
    assert len(set(map(id, outcomes))) == 3  # each its own: one raised three times collects three tracebacks


async def test_a_result_that_came_before_the_loss_counts(jobs: UnitJobs) -> None:
    (task,) = await waiting(jobs)
    jobs.on_removed(JOB, "done")
    jobs.on_loss(unavailable("unix:path=/x", "gone"))
    assert await task == "done"


async def test_in_doubt_a_unit_job_that_is_still_there_is_waited_for(jobs: UnitJobs, systemd: Systemd) -> None:
    (task,) = await waiting(jobs)
    jobs.on_doubt()
    await asyncio.wait([task], timeout=0.05)
    assert (systemd.asked, task.done()) == (1, False)
    jobs.on_removed(JOB, "done")
    assert await task == "done"


async def test_in_doubt_a_unit_job_that_is_gone_ended_unseen(jobs: UnitJobs, systemd: Systemd) -> None:
    (task,) = await waiting(jobs)
    systemd.is_gone = True
    jobs.on_doubt()
    assert await task == UNSEEN


async def test_a_signal_that_comes_while_we_look_counts(jobs: UnitJobs) -> None:
    async def gone_after_the_signal(_: str) -> bool:
        jobs.on_removed(JOB, "failed")
        return True

    jobs = UnitJobs(gone_after_the_signal)
    (task,) = await waiting(jobs)
    jobs.on_doubt()
    assert await task == "failed"


async def test_a_silent_unit_job_is_looked_at_again_and_again(systemd: Systemd) -> None:
    jobs = UnitJobs(systemd, look_interval_s=0.01)
    (task,) = await waiting(jobs)
    await asyncio.wait([task], timeout=0.2)
    assert systemd.asked > 1
    systemd.is_gone = True
    assert await task == UNSEEN


async def test_a_unit_job_that_ended_before_it_could_be_named_is_unseen(jobs: UnitJobs) -> None:
    async def ask() -> str:
        return ""

    assert await jobs.outcome(ask, purpose="start", timeout_s=5) == UNSEEN
