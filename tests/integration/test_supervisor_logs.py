"""Logs of runners through the supervisor: the selection is passed on, and who follows is ended with it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.records import LogKind, LogRecord
from hero_supervisor.runner import Runner
from hero_supervisor.testing import InMemoryLogSource, InMemoryProcessManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hero_supervisor.supervisor import Supervisor

NOON = datetime(2026, 7, 2, 12, tzinfo=UTC)
RUN = "a" * 32


def record(number: int, **fields: Any) -> LogRecord:
    defaults = {"timestamp": NOON + timedelta(minutes=number), "priority": 6, "message": f"line {number}", "pid": 1}
    return LogRecord(**{"cursor": f"c{number}", **defaults, "invocation_id": None, "job_id": None, **fields})


@pytest.fixture
def logs(namespace: str) -> InMemoryLogSource:
    logs = InMemoryLogSource()
    logs.add(f"{namespace}-runner-a.service", record(1, priority=3, invocation_id=RUN))
    logs.add(f"{namespace}-runner-a@2.service", record(2, instance=2, job_id="j"))
    logs.add(f"{namespace}-runner-a.service", record(3))
    logs.add(f"{namespace}-runner-a-b.service", record(4))
    return logs


@pytest.fixture
async def supervisor(
    logs: InMemoryLogSource, redis_url: str, namespace: str, tmp_path: Path
) -> AsyncIterator[Supervisor]:
    builder = SupervisorBuilder().redis_url(redis_url).namespace(namespace).state_dir(tmp_path)
    builder = builder.process_manager(InMemoryProcessManager()).log_source(logs)
    async with await builder.build() as supervisor:
        await supervisor.add_runner(Runner(id="a", command=("/bin/true",)))
        yield supervisor


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ({}, [1, 2, 3]),
        ({"lines": 2}, [2, 3]),
        ({"after_cursor": "c1"}, [2, 3]),
        ({"after_cursor": "c1", "lines": 1}, [2]),
        ({"job_id": "j"}, [2]),
        ({"since": NOON + timedelta(minutes=2)}, [2, 3]),
        ({"until": NOON + timedelta(minutes=2)}, [1, 2]),
        ({"priority": "err"}, [1]),
        ({"priority": 3}, [1]),
        ({"grep": "LINE 3"}, [3]),
        ({"instance": 1}, [1, 3]),
        ({"instance": 2}, [2]),
        ({"invocation_id": RUN}, [1]),
    ],
)
async def test_each_condition_selects(supervisor: Supervisor, conditions: dict[str, Any], numbers: list[int]) -> None:
    records = await supervisor.get_runner_logs("a", **conditions)
    assert [record.message for record in records] == [f"line {number}" for number in numbers]


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ({}, [1, 2, 3]),
        ({"lines": 0}, []),
        ({"lines": 1}, [3]),
        ({"after_cursor": "c2"}, [3]),
        ({"instance": 2}, [2]),
        ({"priority": "err"}, [1]),
        ({"grep": "3"}, [3]),
        ({"job_id": "j"}, [2]),
    ],
)
async def test_a_follower_gets_what_there_is_and_ends_with_the_supervisor(
    supervisor: Supervisor, conditions: dict[str, Any], numbers: list[int]
) -> None:
    following = supervisor.follow_runner_logs("a", **conditions)
    asyncio.get_running_loop().call_later(0.05, asyncio.ensure_future, supervisor.close())
    assert [record.message async for record in following] == [f"line {number}" for number in numbers]


async def test_a_follower_gets_what_is_added(supervisor: Supervisor, logs: InMemoryLogSource, namespace: str) -> None:
    async with aclosing(supervisor.follow_runner_logs("a", lines=1)) as following:
        assert (await anext(following)).message == "line 3"
        logs.add(f"{namespace}-runner-b.service", record(5))
        logs.add(f"{namespace}-runner-a@7.service", record(6, kind=LogKind.DROPPED, dropped=9))
        assert (await anext(following)).dropped == 9


async def test_a_runner_that_does_not_exist_cannot_be_followed(supervisor: Supervisor) -> None:
    with pytest.raises(errors.RunnerNotFound):
        supervisor.follow_runner_logs("b")
    with pytest.raises(errors.InvalidInput, match="priority"):
        supervisor.follow_runner_logs("a", priority="error")  # type: ignore[arg-type]
