"""Whatever is sent, the answer is one of JSON-RPC, and never a fault of ours.

``HERO_FUZZ_EXAMPLES=800`` sends more than 50,000 inputs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hero_supervisor.rpc import Dispatcher, discovery
from tests.schema_strategies import JUNK, Values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.supervisor_fixtures import Build

DOCUMENT = json.loads(discovery().body)
KNOWN = {"runner": ["a", "b"], "job_id": ["j", "k"], "group": ["g"], "id": ["a", "j"]}
FITTING, ODD = (Values(DOCUMENT, KNOWN, with_junk=with_junk) for with_junk in (False, True))
EXAMPLES = int(os.environ.get("HERO_FUZZ_EXAMPLES", "25"))
#: Seconds in which an answer has to come, on a busy machine. Waits that callers ask for are shortened.
ANSWER_S = 30
WAIT_S = 0.01

many = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, print_blob=True
)
pytestmark = pytest.mark.timeout(3600)


class Service:
    """A supervisor with some runners and jobs, and its own event loop."""

    def __init__(self, loop: asyncio.Runner, dispatcher: Dispatcher) -> None:
        self._loop = loop
        self._dispatcher = dispatcher

    def answer(self, body: bytes) -> Any:
        """Return the answer, decoded; it has to be one, and in time."""

        async def ask() -> bytes | None:
            async with asyncio.timeout(ANSWER_S):
                return await self._dispatcher.answer(body)

        answer = self._loop.run(ask())
        return None if answer is None else json.loads(answer)

    def call(self, method: str, params: object) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.answer(json.dumps(request).encode("utf-8", "surrogatepass"))


@pytest.fixture
def service(build: Build) -> Iterator[Service]:
    with asyncio.Runner() as loop:

        async def opened() -> Any:
            supervisor = await build().build()
            await supervisor.open()
            return supervisor

        supervisor = loop.run(opened())
        service = Service(loop, Dispatcher(supervisor))
        for runner in KNOWN["runner"]:
            service.call("add_runner", {"id": runner, "executor": "shell"})
        for job in KNOWN["job_id"]:
            service.call("queue_job_to_runner", {"runner": "a", "job": {"id": job, "payload": "x", "group": "g"}})
        yield service
        loop.run(supervisor.close())


def check(answer: Any) -> None:
    """An answer is well-formed, and tells of no fault of ours."""
    assert answer["jsonrpc"] == "2.0"
    assert ("result" in answer) != ("error" in answer)
    if "error" in answer:
        assert answer["error"]["code"] != -32603, answer
        assert not re.search('Traceback|File "|0x[0-9a-f]{6}', json.dumps(answer["error"])), answer


@pytest.mark.parametrize(
    "method", [method for method in DOCUMENT["methods"] if method["params"]], ids=lambda m: m["name"]
)
def test_any_params_are_answered(service: Service, method: dict[str, Any]) -> None:
    described = method["params"]

    @many
    @given(params=st.one_of(FITTING.arguments(described), FITTING.arguments(described), ODD.arguments(described), JUNK))
    def send(params: Any) -> None:
        if isinstance(params, dict) and any(param["name"] == "timeout" for param in described):
            params = {**params, "timeout": WAIT_S}
        check(service.call(method["name"], params))

    send()
    check(service.call("get_all_status", []))


MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "jsonrpc": st.just("2.0") | JUNK,
    "method": st.sampled_from(["list_runners", "get_all_status", "rpc.discover"]) | JUNK,
    "params": st.just([]) | JUNK,
    "id": st.integers() | st.text() | JUNK,
}
REQUEST = st.fixed_dictionaries({}, optional=MEMBERS)


def test_any_envelope_is_answered(service: Service) -> None:
    @settings(many, max_examples=EXAMPLES * 20)
    @given(request=REQUEST | st.lists(REQUEST | JUNK, max_size=4) | JUNK)
    def send(request: Any) -> None:
        answer = service.answer(json.dumps(request).encode())
        for each in answer if isinstance(answer, list) else [answer]:
            if each is not None:
                check(each)

    send()


def test_any_bytes_are_answered(service: Service) -> None:
    @settings(many, max_examples=EXAMPLES * 20)
    @given(
        body=st.binary(max_size=200)
        | st.text(alphabet='[]{}",:0123456789eE+-.\\u nultrefas', max_size=60).map(str.encode)
    )
    def send(body: bytes) -> None:
        answer = service.answer(body)
        for each in answer if isinstance(answer, list) else [answer]:
            if each is not None:
                check(each)

    send()
