"""JSON-RPC 2.0 to the letter, over bytes and over HTTP. The supervisor behind it is not opened: it has no runners."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hero_supervisor import errors
from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.rpc import Dispatcher
from hero_supervisor.rpc.dispatch import MAX_BATCH
from hero_supervisor.testing import InMemoryLogSource, InMemoryProcessManager
from hero_supervisor.web import MAX_BODY_BYTES, http_app

if TYPE_CHECKING:
    from pathlib import Path

    from hero_supervisor.supervisor import Supervisor


def _builder(tmp_path: Path) -> SupervisorBuilder:
    builder = SupervisorBuilder().state_dir(tmp_path)
    return builder.process_manager(InMemoryProcessManager()).log_source(InMemoryLogSource())


@pytest.fixture
async def supervisor(tmp_path: Path) -> Supervisor:
    return await _builder(tmp_path).build()


async def _answer(supervisor: Supervisor, body: object) -> Any:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await Dispatcher(supervisor).answer(sent)
    return None if answer is None else json.loads(answer)


def _request(method: str = "list_runners", id: object = 1, **rest: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": method, "id": id, **rest}


async def test_the_originals_curl_line_is_answered_with_an_array(supervisor: Supervisor) -> None:
    body = b'{"jsonrpc":"2.0","method":"list_runners","id":1}'
    assert await _answer(supervisor, body) == {"jsonrpc": "2.0", "result": [], "id": 1}


@pytest.mark.parametrize("id", [0, -1, "", "a", 1.5, None, "ü"])
async def test_the_id_comes_back_unchanged(supervisor: Supervisor, id: object) -> None:
    assert (await _answer(supervisor, _request(id=id)))["id"] == id


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b'{"jsonrpc": "2.0", "method": "list_runners", "id": NaN}', -32700),
        (b'{"jsonrpc": "2.0", "method": "list_runners", "id": 1, "params": ["\xff"]}', -32700),
        (b"[" * 100_000, -32700),
        (b"1", -32600),
        (b'"x"', -32600),
        (b"null", -32600),
        (b"[]", -32600),
        (b"{}", -32600),
        ({"jsonrpc": "1.0", "method": "list_runners", "id": 1}, -32600),
        ({"jsonrpc": "2.0", "method": 1, "id": 1}, -32600),
        (_request(params="a"), -32600),
        (_request(id={}), -32600),
        (_request(id=True), -32600),
        (_request("no_such_method"), -32601),
        (_request("__init__"), -32601),
        (_request("open"), -32601),
        (_request(params=[1]), -32602),
        (_request(params={"x": 1}), -32602),
        (_request("get_runner_status"), -32602),
        (_request("add_runner", params={"id": "A"}), -32602),
        (_request("get_runner_status", params=["nobody"]), -32001),
        (_request("get_job", params=["j"]), -32021),
    ],
)
async def test_an_error_has_the_code_for_its_cause(supervisor: Supervisor, body: object, code: int) -> None:
    assert (await _answer(supervisor, body))["error"]["code"] == code


async def test_an_error_carries_kind_facts_and_hint(supervisor: Supervisor) -> None:
    answer = await _answer(supervisor, _request("get_runner_status", params=["nobody"]))
    assert answer["error"]["message"] == "cannot find runner 'nobody'"
    assert answer["error"]["data"] == {
        "kind": "runner-not-found",
        "runner": "nobody",
        "hint": "list the runners: herosup runner list",
    }


async def test_the_id_of_an_invalid_request_is_kept_when_it_can_be_read(supervisor: Supervisor) -> None:
    assert (await _answer(supervisor, {"method": "list_runners", "id": 7}))["id"] == 7


async def test_every_element_of_a_batch_is_answered_on_its_own_and_in_order(supervisor: Supervisor) -> None:
    notification = {"jsonrpc": "2.0", "method": "list_runners"}
    batch = [_request(id="a"), 1, notification, _request("no_such_method", id="b"), {}]
    answers = await _answer(supervisor, batch)
    assert [(answer["id"], answer.get("error", {}).get("code")) for answer in answers] == [
        ("a", None),
        (None, -32600),
        ("b", -32601),
        (None, -32600),
    ]


async def test_notifications_are_not_answered(supervisor: Supervisor) -> None:
    notification = {"jsonrpc": "2.0", "method": "no_such_method"}
    assert await _answer(supervisor, notification) is None
    assert await _answer(supervisor, [notification, notification]) is None


async def test_a_batch_over_the_cap_is_refused_as_a_whole(supervisor: Supervisor) -> None:
    assert len(await _answer(supervisor, [_request()] * MAX_BATCH)) == MAX_BATCH
    assert (await _answer(supervisor, [_request()] * (MAX_BATCH + 1)))["error"]["code"] == -32600


async def test_the_text_of_an_unexpected_error_stays_inside(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> list[str]:
        raise ZeroDivisionError("the secret is 42")

    monkeypatch.setattr(supervisor, "list_runners", broken)
    error = (await _answer(supervisor, _request()))["error"]
    assert error["code"] == -32603
    assert "secret" not in json.dumps(error)
    assert error["data"]["error_id"] in caplog.text
    assert "the secret is 42" in caplog.text


async def test_the_content_of_a_definition_may_need_a_higher_scope_than_the_method(tmp_path: Path) -> None:
    supervisor = await _builder(tmp_path).admin_secrets("root").register_secrets("reg").build()
    runner = {"id": "a", "command": ["/bin/true"], "extra_properties": {"Nice": 1}}
    refused = await _answer(supervisor, _request("add_runner", params={"runner": runner, "secret": "reg"}))
    assert (refused["error"]["code"], refused["error"]["data"]["scope"]) == (-32030, "admin")


async def test_methods_need_their_scope_once_secrets_are_set(tmp_path: Path) -> None:
    supervisor = await _builder(tmp_path).admin_secrets("root").user_secrets("joe").build()
    start = _request("start_runner", params={"runner": "a"})
    assert (await _answer(supervisor, _request()))["result"] == []
    assert (await _answer(supervisor, start))["error"]["code"] == -32030
    start["params"] = {"runner": "a", "secret": "joe"}
    assert (await _answer(supervisor, start))["error"]["data"]["kind"] == errors.PermissionDenied.kind
    start["params"] = {"runner": "a", "secret": "root"}
    assert (await _answer(supervisor, start))["error"]["data"]["kind"] == errors.RunnerNotFound.kind


# -- HTTP ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def http(supervisor: Supervisor) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(http_app(supervisor, is_loopback=True))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3030")


@pytest.mark.parametrize("path", ["/", "/rpc"])
async def test_calls_are_answered_at_both_paths(http: httpx.AsyncClient, path: str) -> None:
    response = await http.post(path, json=_request())
    assert (response.status_code, response.json()["result"]) == (200, [])
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/", "/rpc"])
async def test_only_post_is_for_calls(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 405


async def test_a_notification_is_answered_by_204_without_a_body(http: httpx.AsyncClient) -> None:
    response = await http.post("/", json={"jsonrpc": "2.0", "method": "list_runners"})
    assert (response.status_code, response.content) == (204, b"")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_what_a_browser_sends_without_asking_is_refused(http: httpx.AsyncClient, content_type: str) -> None:
    response = await http.post("/", json=_request(), headers={"content-type": content_type})
    assert response.status_code == 415


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_may_name_its_charset(http: httpx.AsyncClient, content_type: str) -> None:
    response = await http.post("/", json=_request(), headers={"content-type": content_type})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:3030", 200), ("127.0.0.1", 200), ("[::1]:3030", 200), ("evil.example", 403), ("127.0.0.1.evil", 403)],
)
async def test_only_local_names_are_served_on_the_loopback_address(
    http: httpx.AsyncClient, host: str, status: int
) -> None:
    response = await http.post("/", json=_request(), headers={"host": host})
    assert response.status_code == status


async def test_an_oversize_body_is_refused(http: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    response = await http.post("/", content=b" " * (MAX_BODY_BYTES + 1), headers=headers)
    assert response.status_code == 413


async def test_a_bearer_token_is_a_secret(tmp_path: Path) -> None:
    supervisor = await _builder(tmp_path).admin_secrets("root").build()
    transport = httpx.ASGITransport(http_app(supervisor, is_loopback=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        call = _request("stop_all")
        denied = await http.post("/", json=call)
        allowed = await http.post("/", json=call, headers={"Authorization": "Bearer root"})
    assert denied.json()["error"]["code"] == -32030
    assert allowed.json()["result"] == []
