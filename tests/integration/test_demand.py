"""Runners whose jobs decide how many instances there are, and runners that are asked whether they are well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import InvalidRunner
from hero_supervisor.job import Job
from hero_supervisor.queue.claims import FINISHED, Claims, Ended, HolderRecord
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.keys import Keys
from hero_supervisor.records import ExitReason
from hero_supervisor.runner import Runner
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hero_supervisor.client import JobClient
    from hero_supervisor.supervisor import Supervisor
    from hero_supervisor.testing import InMemoryExitSource, InMemoryProcessManager


@pytest.fixture
async def claims(redis_url: str, namespace: str) -> AsyncIterator[Claims]:
    """A process that no supervisor knows, which executes jobs of runner 'r'."""
    claims = Claims(RedisServer.at(redis_url), Keys(namespace), "r", "elsewhere")
    await claims.register(HolderRecord(node="elsewhere"))
    yield claims
    await claims.aclose()


async def start(supervisor: Supervisor, **fields: Any) -> None:
    runner = {"id": "r", "executor": "shell", "instances": 0, **fields}
    await supervisor.add_runner(Runner.from_data(runner))
    await supervisor.start_runner("r")


def instances(supervisor: Supervisor) -> int:
    return supervisor._registry.get("r").definition.instances


async def queue(supervisor: Supervisor, client: JobClient, number: int) -> None:
    await client.enqueue_many([Job(payload="x", runner="r") for _ in range(number)])
    supervisor._keeper.look_at("r")


async def test_the_first_job_starts_an_instance(
    supervisor: Supervisor, client: JobClient, processes: InMemoryProcessManager
) -> None:
    await start(supervisor, demand={"max_instances": 2})
    assert not processes.started
    await queue(supervisor, client, 1)
    await eventually(lambda: len(processes.started) == 1)
    assert instances(supervisor) == 1
    assert supervisor._demand.reasons["r"] == "1 jobs are there, and 1 for each instance"


async def test_there_are_as_many_as_the_jobs_ask_for_within_the_bounds(
    supervisor: Supervisor, client: JobClient, processes: InMemoryProcessManager
) -> None:
    await start(supervisor, demand={"min_instances": 1, "max_instances": 4, "jobs_per_instance": 2})
    await queue(supervisor, client, 5)
    await eventually(lambda: len(processes.started) == 3)
    await queue(supervisor, client, 100)
    await eventually(lambda: len(processes.started) == 4)
    assert instances(supervisor) == 4


async def test_instances_go_only_after_the_cool_down(supervisor: Supervisor, client: JobClient, claims: Claims) -> None:
    await start(supervisor, demand={"max_instances": 3, "cool_down_s": 0.3})
    await queue(supervisor, client, 3)
    await eventually(lambda: instances(supervisor) == 3)
    exchange = await claims.exchange([], want=3)
    await claims.exchange([Ended(each.job_id, 1, FINISHED) for each in exchange.claims], want=0)
    await supervisor._demand.look(supervisor._registry.get("r"))
    assert instances(supervisor) == 3
    await eventually(lambda: instances(supervisor) == 0)
    assert "for 0.3 s" in supervisor._demand.reasons["r"]


async def test_a_job_that_waits_for_too_long_adds_an_instance(supervisor: Supervisor, client: JobClient) -> None:
    await start(supervisor, demand={"max_instances": 3, "jobs_per_instance": 100, "max_wait_s": 0.2})
    await queue(supervisor, client, 1)
    await eventually(lambda: instances(supervisor) == 3)
    assert "has waited for" in supervisor._demand.reasons["r"]


async def test_a_new_definition_keeps_the_instances_there_are(supervisor: Supervisor, client: JobClient) -> None:
    await start(supervisor, demand={"max_instances": 3})
    await queue(supervisor, client, 3)
    await eventually(lambda: instances(supervisor) == 3)
    changed = {"id": "r", "executor": "shell", "instances": 0, "demand": {"max_instances": 2}}
    plan = await supervisor.update_runner(Runner.from_data(changed))
    assert [change.field for change in plan.changes] == ["instances", "demand"]
    assert instances(supervisor) == 2


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"demand": {"min_instances": 3, "max_instances": 2}}, "demand.min_instances"),
        ({"demand": {"max_instances": 2}, "protocol": "unit"}, "demand"),
        ({"idle_ping": {}, "protocol": "unit"}, "idle_ping"),
    ],
)
def test_a_demand_that_cannot_be_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRunner) as caught:
        Runner.from_data({"id": "r", "command": ["/bin/true"], **fields})
    assert [fault.path for fault in caught.value.faults] == [path]


async def test_an_idle_runner_is_asked_and_left_alone_when_it_answers(
    supervisor: Supervisor, client: JobClient, claims: Claims, exits: InMemoryExitSource
) -> None:
    await start(supervisor, instances=1, idle_ping={"after_s": 0.1, "timeout_s": 1})
    [ping] = await _taken(claims)
    assert ping.job.payload == "ping"
    await claims.exchange([Ended(ping.job_id, ping.attempt, FINISHED, "pong")], want=0)
    [again] = await _taken(claims)
    assert again.job_id != ping.job_id
    assert ExitReason.UNHEALTHY not in exits.expected.values()
    _ = client


async def test_a_runner_that_does_not_answer_is_restarted(
    supervisor: Supervisor, processes: InMemoryProcessManager, exits: InMemoryExitSource
) -> None:
    await start(supervisor, instances=1, idle_ping={"after_s": 0.1, "timeout_s": 1})
    await eventually(lambda: len(processes.started) == 2)
    assert ExitReason.UNHEALTHY in exits.expected.values()


async def test_a_runner_with_work_is_not_asked(supervisor: Supervisor, client: JobClient, claims: Claims) -> None:
    await client.enqueue(Job(id="j", payload="x", runner="r"))
    assert await claims.wait_for_work(block_s=1)
    await claims.exchange([], want=1)
    await start(supervisor, instances=1, idle_ping={"after_s": 0.01})
    for _ in range(3):
        supervisor._keeper.look_at("r")
        assert not await claims.wait_for_work(block_s=0.05)
    assert [job.id for job in await client.list_jobs()] == ["j"]


async def _taken(claims: Claims) -> list[Any]:
    found: list[Any] = []

    async def is_there() -> bool:
        found.extend((await claims.exchange([], want=1)).claims)
        return bool(found)

    await eventually(is_there)
    return found
