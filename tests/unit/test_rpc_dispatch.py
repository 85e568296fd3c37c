"""JSON-RPC 2.0 to the letter, over bytes and over HTTP. The supervisor behind it is not opened: it has no runners."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hero_supervisor import errors
from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.rpc import Dispatcher
from hero_supervisor.rpc.audit import MAX_REFUSALS
from hero_supervisor.rpc.dispatch import MAX_BATCH
from hero_supervisor.scope import Scope
from hero_supervisor.settings import Settings
from hero_supervisor.testing import InMemoryAuditLog, InMemoryLogSource, InMemoryProcessManager
from hero_supervisor.web import MAX_BODY_BYTES, http_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hero_supervisor.supervisor import Supervisor


def _builder(tmp_path: Path, audit: InMemoryAuditLog | None = None) -> SupervisorBuilder:
    builder = SupervisorBuilder().state_dir(tmp_path).audit_log(audit or InMemoryAuditLog())
    return builder.process_manager(InMemoryProcessManager()).log_source(InMemoryLogSource())


@pytest.fixture
async def supervisor(tmp_path: Path) -> Supervisor:
    return await _builder(tmp_path).anonymous_scope(Scope.ADMIN).build()


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


async def test_a_call_with_an_idempotency_key_is_carried_out_once(supervisor: Supervisor) -> None:
    dispatcher = Dispatcher(supervisor)
    added = {"id": "a", "command": ["/bin/true"], "idempotency_key": "k"}
    calls = [_request("add_runner", params=params) for params in (added, [added], added | {"idempotency_key": "l"})]
    first, second, other = [json.loads(await dispatcher.answer(json.dumps(call).encode()) or b"") for call in calls]
    assert first["result"]["id"] == "a"
    assert first == second
    assert other["error"]["data"]["kind"] == "runner-exists"


@pytest.mark.parametrize(
    ("method", "params", "path"),
    [
        ("stop_all", {"idempotency_key": ""}, "idempotency_key"),
        ("stop_all", {"idempotency_key": 5}, "idempotency_key"),
        ("stop_all", {"idempotency_key": "k" * 257}, "idempotency_key"),
        ("list_runners", {"idempotency_key": "k"}, "idempotency_key"),  # it changes nothing
        ("queue_job_to_runner", {"runner": "a", "job": {"payload": "x"}, "idempotency_key": "k"}, "idempotency_key"),
    ],
)
async def test_an_idempotency_key_that_cannot_be_used_is_a_fault(
    supervisor: Supervisor, method: str, params: object, path: str
) -> None:
    error = (await _answer(supervisor, _request(method, params=params)))["error"]
    assert error["code"] == -32602
    assert [fault["path"] for fault in error["data"]["faults"]] == [path]


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


# -- access ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def audit() -> InMemoryAuditLog:
    return InMemoryAuditLog()


@pytest.fixture
async def guarded(tmp_path: Path, audit: InMemoryAuditLog) -> Supervisor:
    return await _builder(tmp_path, audit).admin_secrets("root").user_secrets("joe").build()


@pytest.fixture
async def callers(guarded: Supervisor) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(http_app(guarded, is_loopback=True), client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def test_without_a_secret_one_may_read_and_is_told_what_is_missing(callers: httpx.AsyncClient) -> None:
    assert (await callers.post("/", json=_request())).json()["result"] == []
    response = await callers.post("/", json=_request("start_runner", params=["a"]))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["data"]["kind"]) == (200, -32030, "permission-denied")
    assert error["message"] == (
        "cannot call start_runner: it needs scope 'admin', and callers without a secret have 'read'"
    )
    assert "herosup key create NAME --scope admin" in error["data"]["hint"]


async def test_a_wrong_secret_in_the_header_is_told_by_http_too(callers: httpx.AsyncClient) -> None:
    response = await callers.post("/", json=_request(), headers=_bearer("wrong"))
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    error = response.json()["error"]
    assert (error["code"], error["data"]["kind"], response.json()["id"]) == (-32031, "wrong-secret", None)
    for _ in range(9):
        await callers.post("/", json=_request(), headers=_bearer("wrong"))
    throttled = await callers.post("/", json=_request(), headers=_bearer("wrong"))
    error = throttled.json()["error"]
    assert (throttled.status_code, error["code"], error["data"]["kind"]) == (429, -32032, "too-many-tries")
    assert 0 < int(throttled.headers["retry-after"]) == error["data"]["retry_after_s"] <= 60
    # Others from there are not held up.
    assert (await callers.post("/", json=_request())).status_code == 200
    assert (await callers.post("/", json=_request("stop_all"), headers=_bearer("root"))).json()["result"] == []


@pytest.mark.parametrize("name", ["secret", "admin_key"])
async def test_a_wrong_secret_in_the_params_is_an_error_of_the_call(callers: httpx.AsyncClient, name: str) -> None:
    response = await callers.post("/", json=_request(params={name: "wrong"}))
    assert (response.status_code, response.json()["error"]["code"]) == (200, -32031)


async def test_another_scheme_is_no_secret(callers: httpx.AsyncClient) -> None:
    response = await callers.post("/", json=_request(), headers={"Authorization": "Basic cm9vdDpyb290"})
    assert response.json()["result"] == []


@pytest.mark.parametrize(
    ("create", "verify", "remove", "scope"),
    [
        ("create_key", "verify_key", "remove_key", "register"),
        ("auth.create_key", "auth.verify", "auth.remove_key", "registrar"),
    ],
)
async def test_a_key_is_made_used_and_removed(
    callers: httpx.AsyncClient, create: str, verify: str, remove: str, scope: str
) -> None:
    async def call(method: str, *, secret: str | None = None, **params: object) -> Any:
        headers = _bearer(secret) if secret else {}
        return (await callers.post("/", json=_request(method, params=params), headers=headers)).json()

    made = (await call(create, admin_key="root", name="ci", scope=scope))["result"]
    assert (made["name"], made["scope"]) == ("ci", scope)
    key = made["key"]
    check = (await call(verify, key=key))["result"]
    assert (check.get("valid", check.get("is_valid")), check["name"], check["scope"]) == (True, "ci", scope)
    added = await call("add_runner", secret=key, id="a", command=["/bin/true"])
    assert added["result"]["status"] == "stopped"
    assert (await call("start_runner", secret=key, runner="a"))["error"]["code"] == -32030
    listed = (await call(create.replace("create_key", "list_keys"), secret="root"))["result"]
    assert [(each["name"], "key" in each) for each in listed] == [("ci", False)]
    assert (await call(remove, secret="root", name="ci"))["result"]["name"] == "ci"
    assert (await call("list_runners", secret=key))["error"]["code"] == -32031
    assert (await call(verify, key=key))["result"].get("valid", False) is False
    assert (await call("remove_key", secret="root", key="ci"))["error"]["code"] == -32016


@pytest.mark.parametrize(
    "params",
    [{"name": "", "scope": "user"}, {"name": "a\n", "scope": "user"}, {"name": "a" * 65, "scope": "user"}]
    + [{"name": "a", "scope": scope} for scope in ("none", "root", "")]
    + [{"name": "a", "scope": "user", "expires_in_s": seconds} for seconds in (0, -1, 10**10)],
)
async def test_a_key_that_cannot_be_is_refused(callers: httpx.AsyncClient, params: dict[str, Any]) -> None:
    answer = await callers.post("/", json=_request("create_key", params=params), headers=_bearer("root"))
    assert answer.json()["error"]["code"] == -32602


async def test_what_changes_something_is_written_down_and_what_reads_is_not(
    callers: httpx.AsyncClient, audit: InMemoryAuditLog
) -> None:
    async def call(method: str, params: object, secret: str | None = None) -> None:
        await callers.post("/", json=_request(method, params=params), headers=_bearer(secret) if secret else {})

    await call("list_runners", {})
    await call("add_runner", {"id": "a", "command": ["/bin/true"], "env": {"A": "private"}}, "root")
    await call("remove_runner", ["nobody"], "root")
    await call("start_runner", {"runner": "a"})
    await call("start_runner", {"runner": "a"}, "wrong")
    await call("queue_job_to_runner", {"runner": "a", "job": {"id": "j1", "payload": "private"}}, "joe")
    await call("operate_runners", {"verb": "stop", "runners": ["a", "b-*"]}, "joe")
    await call("create_key", {"name": "ci", "scope": "user"}, "root")
    await call("verify_key", {"key": "private"}, "root")
    assert [(entry.who, entry.method, entry.objects, entry.result) for entry in audit.entries] == [
        ("admin_secrets", "add_runner", {"runner": "a"}, "ok"),
        ("admin_secrets", "remove_runner", {"runner": "nobody"}, "runner-not-found"),
        ("anonymous", "start_runner", {"runner": "a"}, "permission-denied"),
        ("user_secrets", "queue_job_to_runner", {"runner": "a", "job": "j1"}, "redis-unavailable"),
        ("user_secrets", "operate_runners", {"verb": "stop", "runner": "a, b-*"}, "permission-denied"),
        ("admin_secrets", "create_key", {"key": "ci"}, "ok"),
    ]
    assert {entry.peer for entry in audit.entries} == {"203.0.113.9"}
    assert "private" not in repr(audit.entries)
    assert "root" not in repr(audit.entries)
    assert all(entry.duration_s >= 0 for entry in audit.entries)


async def test_who_is_refused_again_and_again_does_not_fill_the_journal(
    callers: httpx.AsyncClient, audit: InMemoryAuditLog
) -> None:
    batch = [_request("stop_all", id=number) for number in range(100)]
    for _ in range(3):
        await callers.post("/", json=batch)
    assert len(audit.entries) == MAX_REFUSALS
    await callers.post("/", json=_request("stop_all"), headers=_bearer("root"))
    assert audit.entries[-1].result == "ok"


async def test_jobs_can_be_left_out_of_the_audit_log(tmp_path: Path, audit: InMemoryAuditLog) -> None:
    settings = Settings(audit_scope=Scope.ADMIN, anonymous_scope=Scope.ADMIN, state_dir=str(tmp_path))
    builder = SupervisorBuilder.from_settings(settings).audit_log(audit).process_manager(InMemoryProcessManager())
    supervisor = await builder.log_source(InMemoryLogSource()).build()
    for method, params in (("create_job", {"payload": "x"}), ("add_runner", {}), ("stop_all", {})):
        await _answer(supervisor, _request(method, params=params))
    assert [entry.method for entry in audit.entries] == ["stop_all"]


async def test_the_audit_log_is_read_by_administrators_only(
    callers: httpx.AsyncClient, audit: InMemoryAuditLog
) -> None:
    call = _request("get_audit_log", params={"who": "admin_secrets", "limit": 1})
    assert (await callers.post("/", json=call)).json()["error"]["code"] == -32030
    await callers.post("/", json=_request("stop_all"), headers=_bearer("root"))
    found = (await callers.post("/", json=call, headers=_bearer("root"))).json()["result"]
    assert [(entry["method"], entry["result"]) for entry in found] == [("stop_all", "ok")]
    assert len(audit.entries) == 3


# -- names and web pages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_loopback", "names", "host", "status"),
    [
        (True, ["ops.example.org"], "OPS.example.org:3030", 200),
        (True, ["ops.example.org"], "localhost", 200),
        (True, ["ops.example.org"], "203.0.113.9", 403),
        (True, ["ops.example.org"], "evil.example", 403),
        (False, ["ops.example.org"], "203.0.113.9:3030", 200),
        (False, ["ops.example.org"], "evil.example", 403),
        (False, [], "evil.example", 200),
    ],
)
async def test_further_names_are_a_setting(
    supervisor: Supervisor, *, is_loopback: bool, names: list[str], host: str, status: int
) -> None:
    app = http_app(supervisor, is_loopback=is_loopback, allowed_hosts=names)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.post("/", json=_request(), headers={"host": host})).status_code == status


async def test_web_pages_may_call_from_the_origins_in_the_settings_only(
    supervisor: Supervisor, http: httpx.AsyncClient
) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    app = http_app(supervisor, is_loopback=True, cors_origins=["https://ops.example.org"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for origin, is_allowed in (("https://ops.example.org", True), ("https://evil.example", False)):
            before = await client.options("/", headers={"Origin": origin, **asked})
            assert (before.status_code == 200) is is_allowed
            call = await client.post("/", json=_request(), headers={"Origin": origin})
            assert (call.headers.get("access-control-allow-origin") == origin) is is_allowed
    usual = await http.post("/", json=_request(), headers={"Origin": "https://ops.example.org"})
    assert "access-control-allow-origin" not in usual.headers
    assert (await http.options("/", headers={"Origin": "https://ops.example.org", **asked})).status_code == 405
