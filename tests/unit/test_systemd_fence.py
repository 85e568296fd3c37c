"""The round trip that callers share."""

from __future__ import annotations

import asyncio

import pytest

from hero_supervisor.errors import SystemdUnavailable
from hero_supervisor.systemd.fence import Fence


class Systemd:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[None]] = []

    async def ask(self) -> None:
        answer = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        await answer


@pytest.fixture
def systemd() -> Systemd:
    return Systemd()


@pytest.fixture
def fence(systemd: Systemd) -> Fence:
    return Fence(systemd.ask)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_during_a_round_trip_waits_for_the_next(fence: Fence, systemd: Systemd) -> None:
    first = asyncio.create_task(fence.wait())
    await turn()
    later = [asyncio.create_task(fence.wait()) for _ in range(3)]
    await turn()
    systemd.asked[0].set_result(None)
    await turn()
    assert first.done()
    assert not any(task.done() for task in later)
    assert len(systemd.asked) == 2
    systemd.asked[1].set_result(None)
    await asyncio.gather(*later)
    assert len(systemd.asked) == 2


async def test_each_caller_is_told_of_a_failure_and_the_next_asks_anew(fence: Fence, systemd: Systemd) -> None:
    callers = [asyncio.create_task(fence.wait()) for _ in range(2)]
    await turn()
    fault = SystemdUnavailable("cannot reach systemd: it is gone")
    systemd.asked[0].set_exception(fault)
    raised = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(each) for each in raised] == [SystemdUnavailable] * 2
    assert raised[0] is not raised[1]
    again = asyncio.create_task(fence.wait())
    await turn()
    systemd.asked[1].set_result(None)
    await again


async def test_a_caller_that_gives_up_takes_nothing_from_the_others(fence: Fence, systemd: Systemd) -> None:
    gone, stays = (asyncio.create_task(fence.wait()) for _ in range(2))
    await turn()
    gone.cancel()
    await turn()
    systemd.asked[0].set_result(None)
    await stays
    assert gone.cancelled()
