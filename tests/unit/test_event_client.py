"""The client that follows events, against a server that says what a test wants."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import HeroError
from hero_supervisor.event_client import EventClient
from hero_supervisor.rpc_client import RpcError, ServiceUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Service(ThreadingHTTPServer):
    """Answers each request with the next of its answers, and hangs up."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, str]] = []
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.client = EventClient(f"http://127.0.0.1:{self.server_port}", "secret", retry_s=0)


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:  # the standard library's name
        headers = self.headers
        self.server.asked.append((self.path, headers["Last-Event-ID"], headers["Authorization"]))
        status, text = self.server.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield service
        service.shutdown()
        thread.join()


def told(*numbers: int) -> str:
    events = [f'id: e-{number}\nevent: runner\ndata: {{"topic": "runner", "n": {number}}}\n\n' for number in numbers]
    return "retry: 2000\nid: e-0\n\n" + "".join(events)


def test_it_goes_on_after_the_last_event_when_the_connection_is_lost(service: Service) -> None:
    service.answers = [
        (200, told(1, 2)),
        (200, told(3) + "id: e-4\nevent: ru"),
        (200, ": ping\nid: e-9\n\n"),
        (200, told(5)),
    ]
    events = service.client.follow(topics=["runner", "log"], runners=["a", "b"], job="j")
    assert [next(events)["n"] for _ in range(4)] == [1, 2, 3, 5]
    path = "/events?topics=runner%2Clog&runner=a&runner=b&job=j"
    assert service.asked == [(path, cursor, "Bearer secret") for cursor in (None, "e-2", "e-4", "e-9")]


def test_it_begins_after_an_event(service: Service) -> None:
    service.answers = [(200, told(8))]
    assert next(service.client.follow(since="e-7"))["n"] == 8
    assert service.asked[0][:2] == ("/events?", "e-7")


def test_a_refusal_is_raised_as_the_error_that_it_tells(service: Service) -> None:
    error = {"code": -32602, "message": "cannot accept this", "data": {"kind": "invalid-input", "hint": "do better"}}
    service.answers = [(400, json.dumps({"error": error}))]
    with pytest.raises(RpcError, match="cannot accept this") as refused:
        next(service.client.follow(topics=["x"]))
    assert (refused.value.kind, refused.value.hint, refused.value.code) == ("invalid-input", "do better", -32602)


@pytest.mark.parametrize(
    "answer", [(404, "no"), (500, "{}"), (400, "[]"), (200, "id: 1\ndata: {\n\n"), (200, "data: 7\n\n")]
)
def test_what_is_no_answer_of_a_supervisor_is_told(service: Service, answer: tuple[int, str]) -> None:
    service.answers = [answer]
    with pytest.raises(HeroError, match="cannot"):
        next(service.client.follow())


def test_a_service_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(ServiceUnreachable, match="cannot reach the supervisor at http"):
        next(EventClient("http://127.0.0.1:1").follow())
