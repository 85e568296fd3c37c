"""Calls with an idempotency key: carried out once, however often they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hero_supervisor.errors import Conflict, RunnerNotFound
from hero_supervisor.rpc import repeats
from hero_supervisor.rpc.repeats import KEPT_S, Repeats

CALL = ("restart_runner", {"runner": "a"})


class Work:
    """Counts how often it is done."""

    def __init__(self, *failures: Exception) -> None:
        self.count = 0
        self._failures = list(failures)
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> int:
        self.count += 1
        number = self.count
        await self.may_end.wait()
        if self._failures:
            raise self._failures.pop(0)
        return number


async def test_it_is_carried_out_once(work: Work, made: Repeats) -> None:
    assert [await made.once("ci", "k", CALL, work) for _ in range(3)] == [1, 1, 1]
    assert work.count == 1


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def made() -> Repeats:
    return Repeats()


async def test_keys_are_each_callers_own(work: Work, made: Repeats) -> None:
    assert [await made.once(who, "k", CALL, work) for who in ("ci", "ops")] == [1, 2]


async def test_who_comes_meanwhile_waits_and_has_the_same_outcome(work: Work, made: Repeats) -> None:
    work.may_end.clear()
    calls = [asyncio.create_task(made.once("ci", "k", CALL, work)) for _ in range(3)]
    await asyncio.sleep(0.01)
    work.may_end.set()
    assert await asyncio.gather(*calls) == [1, 1, 1]


async def test_all_who_wait_hear_of_a_failure_and_the_next_tries_again(made: Repeats) -> None:
    work = Work(RunnerNotFound("cannot find it"))
    work.may_end.clear()
    calls = [asyncio.create_task(made.once("ci", "k", CALL, work)) for _ in range(3)]
    await asyncio.sleep(0.01)
    work.may_end.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {RunnerNotFound}
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert await made.once("ci", "k", CALL, work) == 2


@pytest.mark.parametrize("other", [("stop_runner", {"runner": "a"}), ("restart_runner", {"runner": "b"})])
async def test_another_call_with_the_same_key_is_refused(work: Work, made: Repeats, other: Any) -> None:
    await made.once("ci", "k", CALL, work)
    with pytest.raises(Conflict, match=f"cannot call {other[0]}: this idempotency_key was used for another call"):
        await made.once("ci", "k", other, work)


async def test_when_the_first_is_broken_off_the_second_does_it(work: Work, made: Repeats) -> None:
    work.may_end.clear()
    first, second = (asyncio.create_task(made.once("ci", "k", CALL, work)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    work.may_end.set()
    assert await second == 2


async def test_a_waiter_that_goes_does_not_take_the_others_along(work: Work, made: Repeats) -> None:
    work.may_end.clear()
    first, second = (asyncio.create_task(made.once("ci", "k", CALL, work)) for _ in range(2))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.sleep(0.01)
    work.may_end.set()
    assert await first == 1
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_results_are_forgotten_after_an_hour(work: Work) -> None:
    now = [0.0]
    made = Repeats(lambda: now[0])
    assert await made.once("ci", "k", CALL, work) == 1
    now[0] = KEPT_S - 1
    assert await made.once("ci", "k", CALL, work) == 1
    now[0] = KEPT_S + 1
    assert await made.once("ci", "k", CALL, work) == 2


async def test_of_too_many_the_oldest_are_forgotten(work: Work, made: Repeats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MAX_KEPT", 2)
    for key in "abcd":
        await made.once("ci", key, CALL, work)
    assert [await made.once("ci", key, CALL, work) for key in "da"] == [4, 5]
