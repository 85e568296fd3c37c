"""Whatever is sent, over HTTP too, the answer is one of JSON-RPC, and never a fault of ours.

``HERO_FUZZ_EXAMPLES=800`` sends more than 50,000 inputs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hero_supervisor.rpc import discovery
from hero_supervisor.web import http_app
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
#: What no text for a client has.
LEAKS = r'Traceback|File \\?"|0x[0-9a-f]{6}'

many = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, print_blob=True
)
pytestmark = pytest.mark.timeout(3600)


class Service:
    """A supervisor with some runners and jobs, and its own event loop."""

    def __init__(self, loop: asyncio.Runner, application: Any) -> None:
        self._loop = loop
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://127.0.0.1")

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        """Return what is answered; that has to be in time, and no fault of ours."""

        async def ask() -> httpx.Response:
            async with asyncio.timeout(ANSWER_S):
                return await self._client.request(method, path, headers=headers, content=body)

        response = self._loop.run(ask())
        assert response.status_code < 500, response.text
        assert not re.search(LEAKS, response.text), response.text
        return response

    def answer(self, body: bytes) -> Any:
        """Return the answer to a call, decoded; it has to be one."""
        response = self.send("POST", "/", {"Content-Type": "application/json"}, body)
        assert (response.status_code, response.content == b"") in {(200, False), (204, True)}
        return json.loads(response.content) if response.content else None

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
        service = Service(loop, http_app(supervisor, is_loopback=True))
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
        assert not re.search(LEAKS, json.dumps(answer["error"])), answer


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


#: Headers can be any visible characters of ASCII; HTTP servers refuse others.
VISIBLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
NAMES = [
    *("host", "content-type", "content-length", "authorization", "if-none-match", "last-event-id", "origin", "cookie"),
]
HEADERS = st.dictionaries(st.sampled_from(NAMES), VISIBLE | st.just("application/json") | st.just("localhost"))
#: All but streams of events, which do not end by themselves.
PATHS = ["/", "/rpc", "/openrpc.json", "/healthz", "/metrics", "/events?topics=nothing", "/ws", "/%00", "/../", "//"]


def test_any_http_request_is_answered(service: Service) -> None:
    @settings(many, max_examples=EXAMPLES * 20)
    @given(
        method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "X"]),
        path=st.sampled_from(PATHS) | VISIBLE.map(lambda text: "/" + text.replace("events", "")),
        headers=HEADERS,
        body=st.binary(max_size=200) | st.just(b'{"jsonrpc": "2.0", "id": 1, "method": "list_runners"}'),
    )
    def send(method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        service.send(method, path, headers, body)

    send()
    assert service.call("list_runners", []) is not None
