"""Every method of the typed clients on a service, with the arguments of the examples of the OpenRPC document."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hero_supervisor import Job, Runner
from hero_supervisor.errors import InvalidRunner, JobNotFound, RunnerNotFound
from hero_supervisor.job import JobStatus
from hero_supervisor.rpc import params
from hero_supervisor.rpc.openrpc import examples
from hero_supervisor.rpc_client import AsyncRpcClient, RpcClient, RpcError
from hero_supervisor.supervisor import Supervisor
from tests.e2e.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(120)


def arguments_of(method: str, example: dict[str, Any], operations: dict[str, str]) -> dict[str, Any]:
    """Return the params of an example as the types that the method takes."""
    sent = {name: operations.get(str(value), value) for name, value in example["params"].items()}
    return params.bind(sent, params.parameters_of(getattr(Supervisor, method)))


def call_all(call: Callable[[str, dict[str, Any]], Any]) -> None:
    operations: dict[str, str] = {}  # made anew each time
    for method, example in examples().items():
        result = msgspec.to_builtins(call(method, arguments_of(method, example, operations)))
        assert type(result) is type(example["result"]), method
        if isinstance(result, dict):
            assert result.keys() == example["result"].keys(), method
        if method == "operate_runners":
            operations[example["result"]["id"]] = result["id"]


def test_every_method_of_the_blocking_client_works(service: Service) -> None:
    with RpcClient(service.url) as client:
        call_all(lambda method, arguments: getattr(client, method)(**arguments))


def test_every_method_of_the_other_client_works(service: Service) -> None:
    with asyncio.Runner() as runner:
        client = AsyncRpcClient(service.url)
        call_all(lambda method, arguments: runner.run(getattr(client, method)(**arguments)))
        runner.run(client.aclose())


def test_errors_are_those_of_the_library(service: Service) -> None:
    with RpcClient(service.url) as client:
        with pytest.raises(RunnerNotFound) as missing:
            client.start_runner("nobody")
        with pytest.raises(InvalidRunner) as invalid:
            client.add_runner(Runner(id="Not an id", command=("/bin/true",)))
        outcomes = client.call_many([("get_job", {"job_id": "j"}), ("list_runners", None), ("nonsense", None)])
    assert isinstance(missing.value, RpcError)
    assert missing.value.code == -32001
    assert [fault.path for fault in invalid.value.faults] == ["id"]
    assert isinstance(outcomes[0], JobNotFound)
    assert outcomes[1] == []
    assert outcomes[2].kind == "method-not-found"


async def test_many_jobs_at_once_and_a_service_that_is_started_anew(service: Service) -> None:
    service.add("sh", executor="shell")
    async with AsyncRpcClient(service.url) as client:
        waits = (client.queue_and_wait("sh", Job(payload=f"echo {number}")) for number in range(50))
        results = await asyncio.gather(*waits)
        assert [(each.status, (each.result or "").strip()) for each in results] == [
            (JobStatus.FINISHED, str(number)) for number in range(50)
        ]
        await asyncio.to_thread(service.stop)
        await asyncio.to_thread(eventually, lambda: service.show("LoadState") == "not-found")
        await asyncio.to_thread(service.start)
        # Its connections are gone; that is seen before they are used.
        assert (await client.restart_runner("sh")).status == "running"


async def test_connections_that_the_service_closes_as_idle_are_replaced(service: Service) -> None:
    async with AsyncRpcClient(service.url) as client:
        with RpcClient(service.url) as blocking:
            for _ in range(2):
                assert await client.list_runners() == []
                assert await asyncio.to_thread(blocking.list_runners) == []
                await asyncio.sleep(6)  # longer than it keeps a connection open
