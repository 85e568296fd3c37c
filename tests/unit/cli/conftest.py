"""A service that answers from a table, and ways to run ``herosup`` against it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from hero_supervisor.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator


HEROSUP = str(Path(sys.executable).with_name("herosup"))


CLOSED = "http://127.0.0.1:1"


#: An answer: the connection is closed without one.
GONE = object()


class Failure(Exception):
    """An error for the stub to answer with."""

    def __init__(self, kind: str, message: str = "cannot do it", hint: str | None = None) -> None:
        self.error = {"code": -32000, "message": message, "data": {"kind": kind, "hint": hint}}


class Service(ThreadingHTTPServer):
    """Answers each method from a table: a value, a Failure, or a function of the params."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, Any] = {}
        self.calls: list[tuple[str, Any]] = []
        self.tokens: list[str | None] = []
        self.asked = threading.Event()
        self.released = threading.Event()

    def herosup(self, *words: str, stdin: str | None = None, **env: str) -> Result:
        """Run the command in this process."""
        return CliRunner(env={"HEROSUP_URL": self.url, **env}).invoke(app, words, input=stdin)

    def wait(self, _params: object) -> None:
        """Answer nothing until the test ends."""
        self.asked.set()
        self.released.wait(timeout=30)


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method, params = request["method"], request.get("params")
        self.server.calls.append((method, params))
        self.server.tokens.append(self.headers["Authorization"])
        answer = self.server.answers.get(method, Failure("method-not-found"))
        answer = answer(params) if callable(answer) else answer
        if answer is GONE:
            return
        outcome = {"error": answer.error} if isinstance(answer, Failure) else {"result": answer}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **outcome}).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield service
        service.released.set()
        service.shutdown()
        thread.join()


def ago(**units: int) -> str:
    return (datetime.now(UTC) - timedelta(**units)).isoformat()


def runner_status(id: str, status: str = "running", **fields: object) -> dict[str, object]:
    return {
        "id": id,
        "status": status,
        "unit": f"hero-runner-{id}.service",
        "main_pid": 42 if status == "running" else None,
        "since": ago(minutes=3),
        "restarts": 0,
        "result": "success",
        **fields,
    }


def outcome(id: str, status: str | None = "running", **fields: object) -> dict[str, object]:
    return {"id": id, "is_done": True, "status": status, "error": None, "kind": None, "hint": None, **fields}


def failed(id: str, kind: str = "unit-failed", error: str = "cannot do it") -> dict[str, object]:
    return outcome(id, None, error=error, kind=kind, hint="look")


def pending(id: str) -> dict[str, object]:
    return outcome(id, None, is_done=False)


def operation(*outcomes: dict[str, object], verb: str = "start", state: str = "done") -> dict[str, object]:
    ended_at = None if state == "running" else ago()
    times = {"started_at": ago(minutes=3), "ended_at": ended_at}
    return {"id": "0f", "verb": verb, "state": state, **times, "outcomes": list(outcomes)}


def installed(*words: str, url: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command, streams kept apart."""
    command = [HEROSUP, "--url", url, *words]
    return subprocess.run(
        command, capture_output=True, text=True, input=stdin, timeout=20, check=False, env={**os.environ, **env}
    )


def on_terminal(*words: str, url: str, typed: str = "", **env: str) -> str:
    """Run the installed command on a terminal where ``typed`` waits to be read, and return what was written there."""
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **env}
    with subprocess.Popen([HEROSUP, "--url", url, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environ):
        os.close(theirs)
        written = b""
        # Linux reports EIO when the last writer has closed a terminal.
        while chunk := _read_or_end(ours):
            written += chunk
    os.close(ours)
    return written.decode()


def _read_or_end(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""
