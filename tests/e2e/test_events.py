"""Events as clients get them: server-sent events and WebSockets, from the installed service."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.e2e.conftest import BIN, eventually
from tests.integrating_fixtures import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(120)

SLEEP = ["/bin/sleep", "infinity"]


class Feed:
    """Reads server-sent events as a browser does."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.last_id = ""
        self.events: list[dict[str, Any]] = []

    def next(self) -> dict[str, Any] | None:
        """Return the next event; ``None`` at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self._response.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if line != "\n":
                fields[name] = value
                continue
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                event: dict[str, Any] = json.loads(fields["data"])
                assert (fields["event"], fields["id"]) == (event["topic"], event["cursor"])
                self.events.append(event)
                return event
            fields = {}
        return None

    def until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first event from here on that is like this."""
        while (event := self.next()) is not None:
            if is_it(event):
                return event
        raise AssertionError("the stream has ended")


@contextmanager
def feed(service: Service, headers: dict[str, str] | None = None, **query: Any) -> Iterator[Feed]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    try:
        connection.request("GET", f"/events?{urlencode(query, doseq=True)}", headers=headers or {})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.getheader("content-type") == "text/event-stream; charset=utf-8"
        yield Feed(response)
    finally:
        connection.close()


def state(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["topic"] in {"runner", "job"} and event["data"]["status"] == name


def pids(events: Feed) -> set[int]:
    return {event["data"]["main_pid"] for event in events.events if state("running")(event)}


def answer_to(service: Service, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, str]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, response.headers, body


def make_news(service: Service, count: int) -> None:
    """Have two events for each of so many operations."""
    calls = [{"jsonrpc": "2.0", "id": number, "method": "start_all"} for number in range(count)]
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("POST", "/", json.dumps(calls), {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.close()


def open_sockets(service: Service) -> int:
    return len(os.listdir(f"/proc/{service.show('MainPID')}/fd"))  # noqa: PTH208


# -- what is told --------------------------------------------------------------------------------------------------


def test_a_runner_that_is_killed_is_told_with_its_end(service: Service) -> None:
    with feed(service, topics="runner,exit") as events:
        service.add("a")
        running = events.until(state("running"))
        assert (running["runner"], running["instance"], running["data"]["desired"]) == ("a", 1, "running")
        os.kill(running["data"]["main_pid"], signal.SIGKILL)
        ended = events.until(lambda event: event["topic"] == "exit")
        assert (ended["runner"], ended["data"]["reason"], ended["data"]["signal"]) == ("a", "signal", "SIGKILL")
        assert ended["data"]["invocation_id"] == running["data"]["invocation_id"]
        service.rpc.call("start_runner", ["a"])  # unless systemd has already
        while len(pids(events)) < 2:
            events.until(state("running"))
        service.rpc.call("stop_runner", ["a"])
        stopped = events.until(state("stopped"))
        assert stopped["data"]["desired"] == "stopped"
        service.rpc.call("remove_runner", ["a"])
        events.until(lambda event: event["topic"] == "runner" and event["data"]["change"] == "removed")
    assert events.events[0]["data"]["change"] == "added"


def test_an_exit_is_told_as_get_runner_exits_has_it(service: Service) -> None:
    with feed(service, topics="exit", runner="a") as events:
        service.add("b", command=["/bin/sh", "-c", "sleep 0.2; exit 3"], restart="never")
        service.add("a", command=["/bin/sh", "-c", "sleep 0.2; echo last words; exit 7"], restart="never")
        event = events.until(lambda _: True)
        [record] = service.rpc.call("get_runner_exits", ["a"])
        assert event["data"] == record
        assert (event["data"]["reason"], event["data"]["exit_code"]) == ("exit", 7)


def test_the_life_of_a_job_is_told(service: Service) -> None:
    service.add("sh", executor="shell")
    with feed(service, topics="job,operation") as events:
        job_id = service.rpc.call("queue_job_to_runner", {"runner": "sh", "job": {"payload": "sleep 0.5; echo 42"}})
        started = events.until(state("started"))
        assert (started["job_id"], started["runner"], started["data"]["attempt"]) == (job_id, "sh", 1)
        events.until(state("finished"))
        bad = service.rpc.call("queue_job_to_runner", {"runner": "sh", "job": {"payload": "exit 3"}})
        assert events.until(state("error"))["job_id"] == bad
        service.rpc.call("stop_all")
        ended = events.until(lambda event: event["topic"] == "operation" and event["data"]["state"] == "done")
        assert (ended["data"]["verb"], ended["data"]["runners"], ended["data"]["failed"]) == ("stop", 1, 0)


def test_lines_are_told_and_go_on_where_one_was(service: Service) -> None:
    script = "i=0; while [ ! -e {path} ]; do i=$((i+1)); echo line $i; sleep 0.05; done"
    stop = service.state_dir / "stop"
    service.add("a", command=["/bin/sh", "-c", script.format(path=stop)], sandbox="trusted")
    with feed(service, topics="log,exit", runner="a") as events:
        for _ in range(10):
            events.until(lambda event: event["topic"] == "log")
        cursor = events.last_id
        seen = [event["data"]["message"] for event in events.events]
    time.sleep(0.5)  # lines that nobody takes
    with feed(service, {"Last-Event-ID": cursor}, topics="log,exit", runner="a") as events:
        for _ in range(20):
            events.until(lambda event: event["topic"] == "log")
        seen += [event["data"]["message"] for event in events.events]
    first = int(seen[0].split()[1])
    assert seen == [f"line {first + number}" for number in range(30)]


# -- coming back ---------------------------------------------------------------------------------------------------


def test_who_comes_back_lacks_nothing_and_gets_nothing_twice(service: Service) -> None:
    service.add("sh", executor="shell")
    jobs = [f"job-{number}" for number in range(60)]
    ended: list[str] = []
    cursor = ""
    sent = 0
    while len(ended) < len(jobs):
        headers = {"Last-Event-ID": cursor} if cursor else {}
        with feed(service, headers, topics="job,runner,exit") as events:
            for job_id in jobs[sent : sent + 10]:
                service.rpc.call("queue_job_to_runner", {"runner": "sh", "job": {"id": job_id, "payload": "true"}})
            sent += 10
            for _ in range(3):
                events.until(state("finished"))
            ended += [event["job_id"] for event in events.events if state("finished")(event)]
            assert not [event for event in events.events if event["topic"] == "gap"]
            cursor = events.last_id
    assert sorted(ended) == sorted(jobs)


def test_after_a_restart_of_the_supervisor_there_is_a_gap(service: Service) -> None:
    with feed(service) as events:
        service.add("a")
        events.until(state("running"))
    service.stop()
    service.start()
    with feed(service, since=events.last_id) as again:
        gap = again.next()
        assert gap is not None
        assert (gap["topic"], gap["data"]["cause"]) == ("gap", "restarted")
        service.rpc.call("stop_runner", ["a"])
        again.until(state("stopped"))


def test_there_is_a_cursor_before_anything_has_happened(service: Service) -> None:
    with feed(service, topics="operation") as events:
        begin = [events._response.readline().decode() for _ in range(3)]
    assert begin[0] == "retry: 2000\n"
    assert begin[1].startswith("id: ")
    service.rpc.call("start_all")
    with feed(service, {"Last-Event-ID": begin[1][4:].strip()}, topics="operation") as events:
        assert events.until(lambda _: True)["data"]["state"] == "running"


# -- slow and gone -------------------------------------------------------------------------------------------------


def test_a_client_that_reads_nothing_loses_its_own_events_only(service: Service) -> None:
    with ExitStack() as stack:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", service.port))
        slow.settimeout(30)
        stack.callback(slow.close)
        slow.sendall(b"GET /events?topics=operation,runner HTTP/1.1\r\nHost: localhost\r\n\r\n")
        quick = stack.enter_context(feed(service, topics="operation"))
        for _ in range(60):
            make_news(service, 100)
            for _ in range(200):
                event = quick.next()
                assert event is not None
                assert event["topic"] == "operation"
        text = b""
        while b'"cause":"slow"' not in text:
            text += slow.recv(65536)
        assert b'"topic":"operation"' in text


def test_the_service_stops_in_time_with_clients_that_read_nothing(service: Service) -> None:
    with ExitStack() as stack:
        for path in (b"/events", b"/events?topics=operation"):
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", service.port))
            stack.callback(slow.close)
            slow.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
        connection = stack.enter_context(web_socket(service))
        call(connection, "events_subscribe")
        for _ in range(60):
            make_news(service, 100)
        began = time.monotonic()
        service.stop()
        assert time.monotonic() - began < 5


def test_clients_that_hang_up_are_freed(service: Service) -> None:
    before = open_sockets(service)
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(feed(service))
        eventually(lambda: open_sockets(service) >= before + 50)
    eventually(lambda: open_sockets(service) <= before + 3)


def test_the_service_stops_in_time_with_clients_of_all_kinds(service: Service) -> None:
    with ExitStack() as stack:
        feeds = [stack.enter_context(feed(service)) for _ in range(200)]
        sockets = [stack.enter_context(web_socket(service)) for _ in range(20)]
        for each in sockets:
            call(each, "events_subscribe")
        deaf = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
        deaf.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        began = time.monotonic()
        service.stop()
        assert time.monotonic() - began < 5
        assert [each.next() for each in feeds] == [None] * 200
        for each in sockets:
            with pytest.raises(ConnectionClosed) as closed:
                each.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
    assert "Traceback" not in service.journal()


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "headers", "status", "text"),
    [
        ("topics=jobs", {}, 400, "topics: has 'jobs'; topics are runner, exit, job, operation, log"),
        ("topic=job", {}, 400, "topic: is not a parameter; parameters: topics, runner, job, since"),
        ("since=7", {}, 400, "since: must be the cursor of an event"),
        ("", {"Last-Event-ID": "7"}, 400, "since: must be the cursor of an event"),
        ("job=a&job=b", {}, 400, "job: must be given once"),
        ("topics=log", {}, 400, "runner: is required"),
        ("topics=log&runner=a", {}, 404, "cannot find runner 'a'"),
        ("topics=log&job=a", {}, 404, "cannot find job 'a'"),
        ("", {"Host": "evil.example"}, 403, "cannot serve host"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    service: Service, query: str, headers: dict[str, str], status: int, text: str
) -> None:
    found, _, body = answer_to(service, f"/events?{query}", **headers)
    assert found == status
    assert text in (body if status == 403 else json.loads(body)["error"]["message"])


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE"])
def test_other_methods_are_refused(service: Service, method: str) -> None:
    status, headers, _ = answer_to(service, "/events", method)
    assert (status, headers["allow"]) == (405, "GET")


# -- WebSockets ----------------------------------------------------------------------------------------------------


@contextmanager
def web_socket(service: Service, **options: Any) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{service.port}/ws", compression=None, **options) as connection:
        yield connection


def send(connection: ClientConnection, method: str, params: object = None, id: object = 1) -> None:
    connection.send(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))


def receive(connection: ClientConnection) -> Any:
    return json.loads(connection.recv(timeout=20))


def call(connection: ClientConnection, method: str, params: object = None) -> Any:
    send(connection, method, params)
    return receive(connection)


def test_methods_are_called_through_a_web_socket(service: Service) -> None:
    with web_socket(service) as connection:
        assert call(connection, "add_runner", {"id": "a", "command": SLEEP})["result"]["status"] == "stopped"
        assert call(connection, "list_runners") == {"jsonrpc": "2.0", "id": 1, "result": ["a"]}
        assert call(connection, "nothing")["error"]["code"] == -32601
        connection.send(b'[{"jsonrpc": "2.0", "id": 1, "method": "list_runners"}, 1]')  # binary does as well
        assert [each.get("result") for each in receive(connection)] == [["a"], None]
        connection.send('{"jsonrpc": "2.0", "method": "list_runners"}')
        connection.send("{")
        assert receive(connection)["error"]["code"] == -32700


def test_calls_are_answered_as_they_end(service: Service) -> None:
    with web_socket(service) as connection:
        service.add("a")
        send(connection, "wait_for_jobs", {"job_ids": ["none"], "timeout": 0.1}, id="missing")
        assert receive(connection)["id"] == "missing"
        job_id = service.rpc.call("create_job", {"runner": "a", "payload": "x"})
        send(connection, "wait_for_jobs", {"job_ids": [job_id], "timeout": 1}, id="slow")
        send(connection, "list_runners", id="quick")
        assert [receive(connection)["id"] for _ in range(2)] == ["quick", "slow"]


def test_more_calls_than_are_executed_at_once_are_all_answered(service: Service) -> None:
    with web_socket(service) as connection:
        for number in range(200):
            send(connection, "list_runners", id=number)
        assert sorted(receive(connection)["id"] for _ in range(200)) == list(range(200))


def test_events_are_subscribed_to_until_they_are_not(service: Service) -> None:
    with web_socket(service) as connection:
        subscription = call(connection, "events_subscribe", {"topics": ["runner"], "runner": "a"})["result"]
        other = call(connection, "events_subscribe", [["operation"]])["result"]
        service.add("a")
        told = receive(connection)
        assert told.keys() == {"jsonrpc", "method", "params"}
        assert (told["method"], told["params"]["subscription"]) == ("events_subscription", subscription)
        assert told["params"]["result"]["data"]["change"] == "added"
        while told["params"]["result"]["data"]["status"] != "running":
            told = receive(connection)
        assert call(connection, "events_unsubscribe", [subscription])["result"] is True
        assert call(connection, "events_unsubscribe", [subscription])["result"] is False
        service.rpc.call("start_all")
        service.rpc.call("stop_runner", ["a"])
        assert {receive(connection)["params"]["subscription"] for _ in range(2)} == {other}
        missed = call(
            connection, "events_subscribe", {"topics": ["runner"], "since": told["params"]["result"]["cursor"]}
        )
        stopping = receive(connection)["params"]
        assert stopping["subscription"] == missed["result"]
        assert stopping["result"]["data"]["previous"] == "running"


def test_the_id_of_a_subscription_comes_before_what_is_told(service: Service) -> None:
    service.rpc.call("start_all")
    with feed(service, topics="operation", since="00000000-0") as events:
        gap = events.until(lambda _: True)
    with web_socket(service) as connection:
        params = {"topics": ["operation"], "since": gap["cursor"]}
        slow = {"jsonrpc": "2.0", "id": 2, "method": "wait_for_group", "params": {"group": "g", "timeout": 0.3}}
        subscribe = {"jsonrpc": "2.0", "id": 1, "method": "events_subscribe", "params": params}
        connection.send(json.dumps([subscribe, slow]))
        answers = receive(connection)
        assert isinstance(answers, list)
        assert receive(connection)["params"]["subscription"] == answers[0]["result"]


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({"topics": ["jobs"]}, "invalid-input"),
        ({"topics": ["log"]}, "invalid-input"),
        ({"since": "x"}, "invalid-input"),
        ({"runner": "A B"}, "invalid-input"),
        ({"topics": ["log"], "runner": "a"}, "runner-not-found"),
    ],
)
def test_what_cannot_be_subscribed_to_is_refused(service: Service, params: dict[str, Any], kind: str) -> None:
    with web_socket(service) as connection:
        assert call(connection, "events_subscribe", params)["error"]["data"]["kind"] == kind


def test_a_connection_has_so_many_subscriptions(service: Service) -> None:
    with web_socket(service) as connection:
        for _ in range(16):
            assert "result" in call(connection, "events_subscribe")
        assert call(connection, "events_subscribe")["error"]["data"]["kind"] == "too-many-streams"


def test_a_message_that_is_too_long_ends_the_connection(service: Service) -> None:
    with web_socket(service) as connection:
        # Only its beginning: who still sends when he is hung up on does not get to read why.
        connection.socket.sendall(b"\x81\xff" + (9 * 1024 * 1024).to_bytes(8, "big") + b"mask")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("origin", "is_accepted"),
    [
        ("http://evil.example", False),
        ("null", False),
        ("http://localhost.evil.example", False),
        ("http://localhost:8080", True),
        ("http://127.0.0.1", True),
    ],
)
def test_only_pages_of_this_machine_may_connect(service: Service, origin: str, is_accepted: bool) -> None:
    headers = {"additional_headers": {"Origin": origin}}
    if is_accepted:
        with web_socket(service, **headers) as connection:
            assert call(connection, "list_runners")["result"] == []
        return
    with pytest.raises(InvalidStatus) as refused, web_socket(service, **headers):
        pass
    assert refused.value.response.status_code == 403
    assert b"cannot serve pages from" in refused.value.response.body


def test_a_foreign_host_may_not_connect(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as sock:
        sock.sendall(
            b"GET /ws HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert sock.recv(65536).startswith(b"HTTP/1.1 403")


# -- the command line and the documentation ------------------------------------------------------------------------


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that prints what it follows, until it is interrupted."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str], service: Service) -> str:
    """Return the first line that a program prints when there is news."""
    assert process.stdout is not None
    news = threading.Event()

    def make_news() -> None:
        while not news.wait(0.2):  # nobody tells when it follows
            service.rpc.call("register_runner", ["web"])
            service.rpc.call("remove_runner", ["web"])

    making = threading.Thread(target=make_news)
    making.start()
    line = process.stdout.readline()
    news.set()
    making.join()
    return line


def test_herosup_follows_until_it_is_interrupted(service: Service) -> None:
    with running([str(BIN / "herosup"), "--url", service.url, "events", "-t", "runner", "-r", "web"]) as process:
        assert "  runner  web  " in first_line(process, service)
        process.send_signal(signal.SIGINT)
        process.stdout.read()  # type: ignore[union-attr]  # it is a pipe
        assert (process.wait(10), process.stderr.read()) == (130, "")  # type: ignore[union-attr]


def test_herosup_goes_on_when_the_supervisor_is_back(service: Service) -> None:
    with running([str(BIN / "herosup"), "--url", service.url, "--json", "events", "-t", "runner"]) as process:
        first_line(process, service)
        service.stop()
        service.start()
        assert process.stdout is not None
        while (event := json.loads(process.stdout.readline()))["topic"] != "gap":
            pass
        assert event["data"]["cause"] == "restarted"
        assert json.loads(first_line(process, service))["runner"] == "web"


def test_herosup_says_what_cannot_be_followed(service: Service) -> None:
    done = service.herosup("events", "-t", "jobs")
    assert (done.returncode, done.stdout) == (2, "")
    assert "topics: has 'jobs'" in done.stderr
    assert service.herosup("events", "-t", "log", "-r", "none").returncode == 4


@pytest.mark.parametrize(
    ("language", "number", "command"),
    [("bash", 0, ["bash", "-euc"]), ("python", 0, [sys.executable, "-c"]), ("python", 1, [sys.executable, "-c"])],
)
def test_a_program_of_the_documentation_prints_what_happens(
    service: Service, language: str, number: int, command: list[str]
) -> None:
    program = programs(language, service.url, page="events")[number]
    with running([*command, program]) as process:
        line = first_line(process, service)
        assert "web" in line
        assert "runner" in line
