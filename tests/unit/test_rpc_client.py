"""The JSON-RPC client: what it sends, and that nothing a server answers surprises its caller."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import InvalidInput
from hero_supervisor.rpc_client import RpcClient, RpcError, ServiceUnreachable, default_url, locating
from hero_supervisor.rpc_client.address import Address, address_in
from hero_supervisor.rpc_client.connecting import _hint_for

if TYPE_CHECKING:
    from collections.abc import Iterator


class Server(ThreadingHTTPServer):
    """Answers every request with the same status and bytes, and remembers what it was asked."""

    daemon_threads = True
    status = 200
    body = b""
    chunk_pause_s = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, **members: object) -> None:
        self.body = json.dumps({"jsonrpc": "2.0", "id": 1, **members}).encode()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()
        for byte in self.server.body if self.server.chunk_pause_s else ():
            self.wfile.write(bytes([byte]))
            time.sleep(self.server.chunk_pause_s)
        if not self.server.chunk_pause_s:
            self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_call_posts_one_request_and_returns_its_result(server: Server) -> None:
    server.answer(result=["a", "b"])
    assert RpcClient(server.url).call("list_runners", {"x": 1}) == ["a", "b"]
    path, headers, request = server.requests[0]
    assert path == "/"
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers
    assert request == {"jsonrpc": "2.0", "id": 1, "method": "list_runners", "params": {"x": 1}}


def test_no_params_are_sent_when_none_are_given(server: Server) -> None:
    server.answer(result=None)
    assert RpcClient(server.url).call("start_all") is None
    assert "params" not in server.requests[0][2]


def test_each_call_has_an_id_of_its_own(server: Server) -> None:
    client = RpcClient(server.url)
    server.answer(result=1)
    client.call("one")
    server.answer(result=2, id=2)
    assert client.call("two") == 2


def test_the_token_is_sent_as_bearer(server: Server) -> None:
    server.answer(result=1)
    RpcClient(server.url, "s3cret").call("x")
    assert server.requests[0][1]["Authorization"] == "Bearer s3cret"


def test_a_path_in_the_url_is_kept(server: Server) -> None:
    server.answer(result=1)
    RpcClient(f"{server.url}/hero/rpc").call("x")
    assert server.requests[0][0] == "/hero/rpc"


def test_an_error_carries_code_kind_hint_and_facts(server: Server) -> None:
    data = {"kind": "runner-not-found", "hint": "look", "runner": "a", "message": "mine", "self": 1}
    server.answer(error={"code": -32001, "message": "cannot find runner 'a'", "data": data})
    with pytest.raises(RpcError) as caught:
        RpcClient(server.url).call("get_runner_status")
    error = caught.value
    assert (error.code, error.kind, error.hint) == (-32001, "runner-not-found", "look")
    assert error.message == "cannot find runner 'a'"
    assert error.facts == {"runner": "a", "message": "mine", "self": 1}
    assert error.data()["kind"] == "runner-not-found"


@pytest.mark.parametrize(
    ("code", "data", "kind"),
    [
        (-32602, None, "invalid-params"),
        (-32601, "text", "method-not-found"),
        (-32603, {"kind": 7}, "internal-error"),
        (-1, {}, "error"),
    ],
)
def test_an_error_without_a_kind_gets_one_from_its_code(server: Server, code: int, data: object, kind: str) -> None:
    server.answer(error={"code": code, "message": "no", "data": data})
    with pytest.raises(RpcError) as caught:
        RpcClient(server.url).call("x")
    assert (caught.value.kind, caught.value.hint) == (kind, None)


def test_an_error_with_another_http_status_and_no_id_is_understood(server: Server) -> None:
    server.status = 403
    server.answer(error={"code": -32003, "message": "no", "data": {"kind": "permission-denied"}}, id=None)
    with pytest.raises(RpcError) as caught:
        RpcClient(server.url).call("x")
    assert caught.value.kind == "permission-denied"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"[1, 2]",
        b"null",
        b'{"result": 1, "id": 1}',
        b'{"jsonrpc": "2.0", "id": 1}',
        b'{"jsonrpc": "2.0", "id": 2, "result": 1}',
        b'{"jsonrpc": "2.0", "id": true, "result": 1}',
        b'{"jsonrpc": "2.0", "id": "1", "result": 1}',
        b'{"jsonrpc": "2.0", "id": null, "result": 1}',
        b'{"jsonrpc": "2.0", "id": 1, "result": NaN}',
        b'{"jsonrpc": "2.0", "id": 1, "error": "no"}',
        b'{"jsonrpc": "2.0", "id": 1, "error": {"code": "1", "message": "no"}}',
        b'{"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}',
        b'{"jsonrpc": "2.0", "id": 9, "error": {"code": 1, "message": "no"}}',
        b'{"jsonrpc": "2.0", "id": 1, "result": 1, "error": {"code": 1, "message": "no"}}',
        b'{"jsonrpc": "2.0", "id": 1, "result": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
    ],
)
def test_anything_but_a_fitting_answer_means_unreachable(server: Server, body: bytes) -> None:
    server.body = body
    with pytest.raises(ServiceUnreachable) as caught:
        RpcClient(server.url).call("x")
    assert server.url in caught.value.message
    assert caught.value.hint


def test_an_answer_over_the_limit_is_refused(server: Server) -> None:
    server.answer(result="x" * 1000)
    with pytest.raises(ServiceUnreachable, match="longer than 1000 bytes"):
        RpcClient(server.url, max_answer_bytes=1000).call("x")


def test_an_answer_that_trickles_in_runs_into_the_timeout(server: Server) -> None:
    server.answer(result="x" * 100)
    server.chunk_pause_s = 0.02
    with pytest.raises(ServiceUnreachable, match=r"no answer within 0\.2 s"):
        RpcClient(server.url, timeout_s=0.2).call("x")


def test_a_server_that_says_nothing_runs_into_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ServiceUnreachable) as caught:
        RpcClient(f"http://127.0.0.1:{silent.getsockname()[1]}").call("x", timeout_s=0.1)
    assert "no answer within 0.1 s" in caught.value.message
    assert caught.value.hint == "allow more with timeout_s, or --timeout SECONDS"


def test_an_answer_that_is_not_http_means_unreachable() -> None:
    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(ServiceUnreachable):
            RpcClient(f"http://127.0.0.1:{listener.getsockname()[1]}").call("x")
        thread.join()


def test_a_closed_port_is_named_with_the_cause_and_how_to_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ServiceUnreachable) as caught:
        RpcClient(f"http://127.0.0.1:{port}").call("x")
    assert f"http://127.0.0.1:{port}/: connection refused" in caught.value.message
    assert caught.value.hint is not None
    assert "systemctl start hero-supervisor" in caught.value.hint
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_host_name_that_cannot_be_encoded_means_unreachable() -> None:
    with pytest.raises(ServiceUnreachable):
        RpcClient("http://a..b:1").call("x")


def test_ipv6_addresses_work() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener, pytest.raises(ServiceUnreachable, match=r"\[::1\]:\d+/: no answer"):
        RpcClient(f"http://[::1]:{listener.getsockname()[1]}", timeout_s=0.1).call("x")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://[::1]:3030", Address("::1", 3030, "/")),
        ("http://host", Address("host", 80, "/")),
        ("http://host:3030/", Address("host", 3030, "/")),
        ("HTTP://Host:1/rpc", Address("host", 1, "/rpc")),
        ("https://host", Address("host", 443, "/", is_tls=True)),
        ("unix:/run/x.sock", Address("", 0, "/", socket="/run/x.sock")),
        ("unix:/run/a%20b", Address("", 0, "/", socket="/run/a b")),
        ("unix:///run/x.sock", Address("", 0, "/", socket="/run/x.sock")),
    ],
)
def test_a_url_is_read_in_its_parts(url: str, address: Address) -> None:
    assert address_in(url) == address


def test_a_socket_that_may_not_be_used_says_who_may(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with pytest.raises(ServiceUnreachable, match=f"unix:{path}: no such file") as missing:
        RpcClient(f"unix://{path}").call("x")
    assert "systemctl start" in (missing.value.hint or "")
    assert "group hero-supervisor" in _hint_for(PermissionError())


@pytest.mark.parametrize("is_root", [True, False])
def test_a_service_of_this_machine_is_found_by_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_root: bool
) -> None:
    system, own = tmp_path / "api.sock", tmp_path / "own/hero-supervisor/api.sock"
    own.parent.mkdir(parents=True)
    monkeypatch.setattr(locating, "LOCAL_SOCKET", _Placed(system))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "own"))
    monkeypatch.setattr("os.geteuid", lambda: 0 if is_root else 7)
    assert default_url() == "http://127.0.0.1:3030"
    with listening_at(system):
        assert default_url() == f"unix:{system}"
        with listening_at(own):
            assert default_url() == f"unix:{system if is_root else own}"
    assert default_url() == "http://127.0.0.1:3030"  # stale sockets are there


class _Placed(type(Path())):  # type: ignore[misc]  # the class of this platform
    """Stands for a path in /run."""

    def relative_to(self, *_: object) -> Path:
        return Path("hero-supervisor/api.sock")


@contextmanager
def listening_at(path: Path) -> Iterator[None]:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        yield


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:3030",
        "ftp://host",
        "unix:relative",
        "unix://host/socket",
        "unix:",
        "unix:///socket?a=b",
        "unix:///socket#a",
        "http://",
        "http://:3030",
        "http://host:x",
        "http://host:99999",
        "http://[::1",
        "http://user:pw@host",
        "http://host/?q",
        "http://host/#f",
        "http://host/a b",
        "http://host/\r\nX: y",
        "http://hö",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        RpcClient(url)
    assert caught.value.faults[0].path == "url"
    assert "pw" not in caught.value.message


def test_a_token_that_would_break_the_header_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidInput) as caught:
        RpcClient(token="s3cret\r\nX: y")
    assert "s3cret" not in str(caught.value)
