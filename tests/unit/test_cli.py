"""``herosup`` against a service that answers from a table: what it asks, prints, and exits with."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from hero_supervisor.cli import output
from hero_supervisor.cli.app import app
from hero_supervisor.cli.failure import exit_code_of

if TYPE_CHECKING:
    from collections.abc import Iterator

HEROSUP = str(Path(sys.executable).with_name("herosup"))
CLOSED = "http://127.0.0.1:1"


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


def installed(*words: str, url: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command, streams kept apart."""
    command = [HEROSUP, "--url", url, *words]
    return subprocess.run(
        command, capture_output=True, text=True, input=stdin, timeout=20, check=False, env={**os.environ, **env}
    )


def on_terminal(*words: str, url: str, **env: str) -> str:
    """Run the installed command with a terminal as its standard output, and return what it wrote there."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **env}
    with subprocess.Popen([HEROSUP, "--url", url, *words], stdin=theirs, stdout=theirs, env=environ):
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


# The installed command: exit codes and streams.


def test_status_prints_a_table_and_the_counts_on_standard_output(service: Service) -> None:
    service.answers["get_all_runner_status"] = [runner_status("ocr"), runner_status("mail", "stopped", since=None)]
    service.answers["get_all_status"] = {"total": 2, "counts": {"running": 1, "stopped": 1, "failed": 0}, "runners": {}}
    done = installed("status", url=service.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "ID    STATUS   SINCE    PID  RESTARTS  RESULT",
        "ocr   running  3 m ago  42   0         success",
        "mail  stopped  -        -    0         success",
        "2 runners: 1 running, 1 stopped",
    ]


def test_an_unreachable_service_is_exit_5_with_error_and_hint_on_standard_error() -> None:
    done = installed("status", url=CLOSED)
    assert (done.returncode, done.stdout) == (5, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: cannot reach the supervisor at {CLOSED}/: ")
    assert hint.startswith("hint: ")


def test_with_json_an_error_is_one_object_on_standard_error() -> None:
    done = installed("status", "--json", url=CLOSED)
    assert (done.returncode, done.stdout) == (5, "")
    assert json.loads(done.stderr)["kind"] == "service-unreachable"


def test_debug_adds_the_traceback_and_nothing_else_does() -> None:
    assert "Traceback" in installed("--debug", "status", url=CLOSED).stderr
    assert "Traceback" not in installed("status", url=CLOSED).stderr


def test_job_run_prints_the_result_exactly_as_it_is(service: Service) -> None:
    text = "\x1b[1mbold\x1b[0m ü\tno line break"
    service.answers["queue_and_wait"] = {"job_id": "1", "status": "finished", "result": text, "error": None}
    done = installed("job", "run", "sh", "-", url=service.url, stdin="echo hi\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")
    assert service.calls[0][1]["job"]["payload"] == "echo hi\n"


def test_a_reader_that_goes_away_is_no_error(service: Service) -> None:
    service.answers["get_runner_logs"] = [{"timestamp": ago(), "message": "x" * 1000}] * 1000
    command = f"set -o pipefail; {shlex.quote(str(HEROSUP))} --url {service.url} runner logs a | head -c 10 >/dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_ctrl_c_is_exit_130_and_names_the_job_that_goes_on(service: Service) -> None:
    service.answers["queue_and_wait"] = service.wait
    command = [HEROSUP, "--url", service.url, "job", "run", "sh", "sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert service.asked.wait(timeout=20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    id = service.calls[0][1]["job"]["id"]
    assert (process.returncode, out) == (130, "")
    assert err == f"hint: the job goes on: herosup job result {id}\n"


def test_without_typer_one_sentence_names_the_extra() -> None:
    program = "import sys; sys.modules['typer'] = None; from hero_supervisor.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr == "herosup needs typer: pip install 'hero-supervisor[cli]'\n"


def test_starting_up_imports_nothing_of_the_server() -> None:
    heavy = {"redis", "dbus_next", "starlette", "uvicorn", "msgspec", "httpx", "rich", "asyncio"}
    program = "import sys; import hero_supervisor.cli.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert not heavy & set(done.stdout.split())


def test_help_lists_the_exit_codes() -> None:
    done = installed("--help", url=CLOSED)
    assert done.returncode == 0
    for line in ("5    the service cannot be reached", "124  not done in time"):
        assert line in done.stdout


def test_a_terminal_gets_colour_unless_it_is_not_wanted(service: Service) -> None:
    service.answers["get_all_runner_status"] = [runner_status("ocr")]
    assert "\x1b[32mrunning" in on_terminal("runner", "list", url=service.url, NO_COLOR="")
    assert "\x1b" not in on_terminal("runner", "list", url=service.url, NO_COLOR="1")


def test_hostile_text_cannot_steer_a_terminal(service: Service) -> None:
    service.answers["get_all_runner_status"] = [runner_status("a\x1b[2J[red]", "\u202erunning")]
    service.answers["get_job_result"] = {
        "job_id": "1",
        "status": "finished",
        "result": "a\x1b[2J\x9b\n\tb",
        "error": "",
    }
    table = on_terminal("runner", "list", url=service.url, NO_COLOR="")
    assert "a\\x1b[2J[red]" in table
    assert "\\u202erunning" in table
    assert on_terminal("job", "result", "1", url=service.url).replace("\r\n", "\n") == "a\\x1b[2J\\x9b\n\tb\n"


# In this process: breadth.


def test_the_token_and_the_url_come_from_options_or_the_environment(service: Service) -> None:
    service.answers["x"] = 1
    service.herosup("rpc", "x", HEROSUP_TOKEN="from-env")
    service.herosup("--token", "from-option", "rpc", "x", HEROSUP_TOKEN="from-env")
    assert service.tokens == ["Bearer from-env", "Bearer from-option"]


@pytest.mark.parametrize("words", [["--json", "runner", "list"], ["runner", "list", "--json"]])
def test_json_is_accepted_before_and_after_the_command(service: Service, words: list[str]) -> None:
    service.answers["get_all_runner_status"] = [runner_status("a")]
    result = service.herosup(*words)
    assert json.loads(result.stdout) == service.answers["get_all_runner_status"]


def test_status_as_json_is_the_summary(service: Service) -> None:
    service.answers["get_all_status"] = {"total": 0, "counts": {}, "runners": {}}
    assert json.loads(service.herosup("status", "--json").stdout) == {"total": 0, "counts": {}, "runners": {}}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("runner-not-found", 4),
        ("job-not-found", 4),
        ("permission-denied", 6),
        ("timeout", 124),
        ("redis-unavailable", 1),
        ("systemd-unavailable", 1),
        ("journal-unavailable", 1),
        ("service-unreachable", 5),
        ("invalid-runner", 2),
        ("invalid-job", 2),
        ("invalid-params", 2),
        ("method-not-found", 2),
        ("runner-exists", 1),
        ("unit-failed", 1),
        ("never-heard-of", 1),
    ],
)
def test_the_exit_code_follows_the_kind(service: Service, kind: str, code: int) -> None:
    service.answers["x"] = Failure(kind, "cannot \x1b do it", hint="look")
    result = service.herosup("rpc", "x")
    assert exit_code_of(kind) == code
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == "error: cannot \\x1b do it\nhint: look\n"


@pytest.mark.parametrize(
    "words",
    [
        ["frob"],
        ["runner", "frob"],
        ["runner", "start"],
        ["runner", "start", "a", "--all"],
        ["runner", "stop"],
        ["runner", "restart"],
        ["runner", "status"],
        ["runner", "logs", "a", "-n", "0"],
        ["runner", "add"],
        ["runner", "add", "a", "--env", "novalue", "--", "cat"],
        ["runner", "add", "a", "--file", "/does/not/exist"],
        ["job", "run", "sh"],
        ["job", "run", "sh", "payload", "--file", "x"],
        ["job", "run", "sh", "payload", "--timeout", "0"],
        ["job", "run", "sh", "payload", "--env", "=x"],
        ["rpc", "x", "novalue"],
        ["rpc", "x", "{broken"],
        ["--url", "https://host", "status"],
        ["--timeout", "-1", "status"],
    ],
)
def test_wrong_usage_is_exit_2_and_asks_the_service_nothing(service: Service, words: list[str]) -> None:
    result = service.herosup(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    in_json = service.herosup("--json", *words)
    assert in_json.exit_code == 2
    assert json.loads(in_json.stderr)["error"]
    assert service.calls == []


def test_no_command_shows_the_help_and_is_wrong_usage(service: Service) -> None:
    result = service.herosup()
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_version_is_printed(service: Service) -> None:
    assert re.fullmatch(r"herosup \d+\.\d+\S*\n", service.herosup("--version").stdout)


def test_an_unforeseen_error_is_exit_1_without_a_traceback(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.answers["x"] = 1
    monkeypatch.setattr(output, "write_json", lambda _: 1 / 0)
    result = service.herosup("rpc", "x")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cannot go on: ZeroDivisionError")


def test_runner_add_sends_the_definition_and_shows_the_status(service: Service) -> None:
    service.answers["add_runner"] = runner_status("w", "stopped")
    options = "--env A=1 --env B=x=y --cwd /srv --user u --group g --description d --queue q --readiness notify"
    times = "--restart never --restart-delay 2 --start-timeout 3 --stop-timeout 4 --sandbox strict"
    result = service.herosup(*f"runner add w {options} {times} -- /bin/cat --json -n".split())
    assert (result.exit_code, result.stdout) == (0, "w: stopped\n")
    definition = {
        "id": "w",
        "command": ["/bin/cat", "--json", "-n"],
        "env": {"A": "1", "B": "x=y"},
        "working_directory": "/srv",
        "user": "u",
        "group": "g",
        "description": "d",
        "queue": "q",
        "readiness": "notify",
        "restart": "never",
        "restart_delay_s": 2.0,
        "start_timeout_s": 3.0,
        "stop_timeout_s": 4.0,
        "sandbox": "strict",
    }
    assert service.calls == [("add_runner", {"runner": definition})]


def test_runner_add_can_use_the_bundled_runner_and_start_it(service: Service) -> None:
    service.answers["add_runner"] = runner_status("py", "stopped")
    service.answers["start_runner"] = runner_status("py")
    assert service.herosup("runner", "add", "py", "--executor", "python", "--start").stdout == "py: running\n"
    assert service.calls == [
        ("add_runner", {"runner": {"id": "py", "executor": "python"}}),
        ("start_runner", {"runner": "py"}),
    ]


@pytest.mark.parametrize(
    "text",
    ['{"id": "w", "command": ["cat"], "env": {"A": "1"}}', 'id = "w"\ncommand = ["cat"]\nenv = {A = "1"}\n'],
)
def test_a_definition_file_is_json_or_toml_and_options_override_it(service: Service, text: str, tmp_path: Path) -> None:
    service.answers["add_runner"] = runner_status("w", "stopped")
    file = tmp_path / "runner"
    file.write_text(text)
    service.herosup("runner", "add", "--file", str(file), "--env", "B=2", "--description", "d")
    service.herosup("runner", "add", "other", "--file", "-", stdin=text)
    first, second = (params["runner"] for _, params in service.calls)
    assert first == {"id": "w", "command": ["cat"], "env": {"A": "1", "B": "2"}, "description": "d"}
    assert second["id"] == "other"


@pytest.mark.parametrize("text", ["[1]", "{", "= 1", '"x"'])
def test_a_definition_file_that_is_no_object_is_wrong_usage(service: Service, text: str) -> None:
    assert service.herosup("runner", "add", "a", "--file", "-", stdin=text).exit_code == 2


@pytest.mark.parametrize(("status", "code"), [("running", 0), ("stopped", 3), ("failed", 3), ("starting", 3)])
def test_runner_status_tells_by_its_exit_code_whether_it_runs(service: Service, status: str, code: int) -> None:
    service.answers["get_runner_status"] = runner_status("a", status)
    result = service.herosup("runner", "status", "a")
    assert result.exit_code == code
    assert f"status:        {status}\n" in result.stdout
    assert "since:         3 m ago\n" in result.stdout
    assert result.stderr == ""


USED = {
    "id": "a",
    "uptime_s": 7300.5,
    "restarts": 2,
    "cpu_s": 0.1234,
    "cpu_percent": 12.5,
    "memory_bytes": 52_428_800,
    "memory_peak_bytes": None,
    "tasks": 7,
    "io_read_bytes": 0,
    "io_write_bytes": 1536,
    "processes": 3,
}


def test_runner_stats_is_a_table_in_units_for_people(service: Service) -> None:
    unused = dict.fromkeys(USED) | {"id": "b", "restarts": 0, "processes": 0}
    service.answers["get_all_runner_stats"] = [USED, unused]
    assert service.herosup("runner", "stats").stdout.splitlines() == [
        "ID  CPU%  CPU     MEMORY    PEAK  PROCS  TASKS  READ  WRITTEN  UPTIME  RESTARTS",
        "a   12.5  0.12 s  50.0 MiB  -     3      7      0 B   1.5 KiB  2 h     2",
        "b   -     -       -         -     0      -      -     -        -       0",
    ]


def test_runner_stats_as_json_are_the_numbers_of_the_runners_asked_for(service: Service) -> None:
    service.answers["get_runner_stats"] = lambda params: {**USED, "id": params["runner"]}
    result = service.herosup("runner", "stats", "a", "b", "--json")
    assert json.loads(result.stdout) == [USED, {**USED, "id": "b"}]


def test_runner_stats_of_an_unknown_runner_exit_with_its_kinds_code(service: Service) -> None:
    service.answers["get_runner_stats"] = Failure("runner-not-found", "cannot find 'a'")
    result = service.herosup("runner", "stats", "a")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "", "error: cannot find 'a'\n")


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "remove"])
def test_one_runner_that_fails_exits_with_its_kinds_code(service: Service, verb: str) -> None:
    service.answers[f"{verb}_runner"] = Failure("runner-not-found", "cannot find 'a'")
    result = service.herosup("runner", verb, "a")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "", "error: cannot find 'a'\n")


def test_several_runners_are_changed_one_by_one_and_a_failure_is_exit_1(service: Service) -> None:
    service.answers["stop_runner"] = lambda params: (
        Failure("runner-not-found", "cannot find it") if params["runner"] == "b" else runner_status(params["runner"])
    )
    result = service.herosup("runner", "stop", "a", "b", "c")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "a: running\nc: running\n",
        "error: cannot find it\n",
    )
    in_json = service.herosup("runner", "stop", "a", "b", "c", "--json")
    assert [outcome["status"] for outcome in json.loads(in_json.stdout)] == ["running", None, "running"]
    assert json.loads(in_json.stderr)["error"] == "cannot stop 1 of 3 runners"


def test_removed_runners_are_named(service: Service) -> None:
    service.answers["remove_runner"] = None
    assert service.herosup("runner", "remove", "a", "b").stdout == "a: removed\nb: removed\n"


def test_changing_many_stops_when_nobody_answers() -> None:
    result = CliRunner().invoke(app, ["--url", CLOSED, "runner", "stop", "a", "b"])
    assert result.exit_code == 5
    assert result.stderr.count("error: ") == 1


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_all_runners_can_be_changed_at_once(service: Service, verb: str) -> None:
    failed = {"id": "b", "status": None, "error": "cannot do it", "kind": "timeout"}
    service.answers[f"{verb}_all"] = [{"id": "a", "status": "running", "error": None, "kind": None}, failed]
    result = service.herosup("runner", verb, "--all")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "a: running\n", "error: cannot do it\n")


def test_logs_look_like_a_journal_and_pass_the_selection_on(service: Service) -> None:
    stamp = "2026-07-02T10:00:00.123456Z"
    service.answers["get_runner_logs"] = [{"timestamp": stamp, "message": "one\n\ttwo \x1b[2J"}]
    options = "-n 5 --job j --after c -S 2026-07-02T10:00Z -U 2026-07-02T11:00+01:00 -p 3 -g x --instance 2 --run r"
    result = service.herosup("runner", "logs", "a", *options.split())
    when = output.local_time(stamp)
    assert re.fullmatch(r"2026-07-0[123] \d\d:\d\d:00\.123", when)
    assert result.stdout == f"{when} one\n{' ' * len(when)} \ttwo \\x1b[2J\n"
    when_utc = {"since": "2026-07-02T10:00:00+00:00", "until": "2026-07-02T10:00:00+00:00"}
    more = {"priority": 3, "grep": "x", "instance": 2, "invocation_id": "r", **when_utc}
    params = {"runner": "a", "lines": 5, "after_cursor": "c", "job_id": "j", **more}
    assert service.calls == [("get_runner_logs", params)]


def test_logs_may_begin_some_time_ago_and_at_a_named_priority(service: Service) -> None:
    service.answers["get_runner_logs"] = []
    assert service.herosup("runner", "logs", "a", "-S", "-2m", "-p", "err").exit_code == 0
    params = service.calls[0][1]
    since = datetime.fromisoformat(params["since"])
    assert timedelta(minutes=2) <= datetime.now(UTC) - since < timedelta(minutes=3)
    assert params["priority"] == "err"


@pytest.mark.parametrize("time", ["soon", "-5", "-5y", "", "0001-01-01", "-999999999d"])
def test_a_time_that_is_none_is_refused(service: Service, time: str) -> None:
    result = service.herosup("runner", "logs", "a", "-S", time)
    assert (result.exit_code, service.calls) == (2, [])
    assert "cannot use time" in result.stderr


def test_missing_lines_stand_between_dashes(service: Service) -> None:
    stamp = "2026-07-02T10:00:00Z"
    service.answers["get_runner_logs"] = [{"timestamp": stamp, "kind": "gap", "message": "lost\x1b"}]
    result = service.herosup("runner", "logs", "a")
    assert result.stdout == f"-- {output.local_time(stamp)} lost\\x1b --\n"


def test_logs_as_json_are_the_records(service: Service) -> None:
    records = [{"timestamp": "2026-07-02T10:00:00Z", "message": "a\x1b"}]
    service.answers["get_runner_logs"] = records
    result = service.herosup("runner", "logs", "a", "--json")
    assert json.loads(result.stdout) == records
    assert "\x1b" not in result.stdout


def test_job_run_sends_the_job_and_leaves_the_wait_to_the_service(service: Service, tmp_path: Path) -> None:
    service.answers["queue_and_wait"] = {"job_id": "1", "status": "finished", "result": "hi\n"}
    file = tmp_path / "script"
    file.write_text("echo hi")
    options = "--executor shell --timeout 7 --env A=1 --caller me --context it"
    result = service.herosup("job", "run", "sh", "--file", str(file), *options.split())
    assert (result.exit_code, result.stdout) == (0, "hi\n")
    params = service.calls[0][1]
    assert params["job"].pop("id")
    assert params == {
        "runner": "sh",
        "job": {
            "payload": "echo hi",
            "executor": "shell",
            "timeout": 7,
            "env_vars": {"A": "1"},
            "caller_id": "me",
            "context_id": "it",
        },
    }


def test_a_wait_that_ends_first_is_exit_124_and_says_where_the_result_will_be(service: Service) -> None:
    service.answers["queue_and_wait"] = Failure("timeout", "cannot wait longer")
    result = service.herosup("job", "run", "sh", "x", "--wait", "0.5")
    assert result.exit_code == 124
    assert f"herosup job result {service.calls[0][1]['job']['id']}" in result.stderr
    assert service.calls[0][1]["timeout"] == 0.5


@pytest.mark.parametrize("words", [["job", "run", "sh", "x"], ["job", "result", "1"]])
@pytest.mark.parametrize(
    ("answer", "code", "stdout", "stderr"),
    [
        ({"status": "finished", "result": "out"}, 0, "out", ""),
        ({"status": "finished", "result": None}, 0, "", ""),
        ({"status": "error", "error": "one\n\ttwo\x1b\n"}, 1, "", "error: one\n  \ttwo\\x1b\n"),
        ({"status": "error", "error": None}, 1, "", "error: the job gave no reason\n"),
        ({"status": "started"}, 3, "", "error: cannot show the result of job 1: it is started\n"),
    ],
)
def test_a_result_is_told_by_stream_and_exit_code(
    service: Service, words: list[str], answer: dict[str, object], code: int, stdout: str, stderr: str
) -> None:
    answer = {"job_id": "1", **answer}
    service.answers |= {"queue_and_wait": answer, "get_job_result": answer}
    result = service.herosup(*words)
    assert (result.exit_code, result.stdout, result.stderr) == (code, stdout, stderr)
    in_json = service.herosup(*words, "--json")
    assert (in_json.exit_code, json.loads(in_json.stdout)) == (code, answer)


def test_job_queue_prints_the_id(service: Service) -> None:
    service.answers["queue_job_to_runner"] = "abc"
    assert service.herosup("job", "queue", "sh", "echo hi").stdout == "abc\n"
    assert service.calls[0][1]["job"]["payload"] == "echo hi"


def test_job_status_prints_the_word(service: Service) -> None:
    service.answers["get_job_status"] = "started"
    assert service.herosup("job", "status", "1").stdout == "started\n"
    assert service.herosup("job", "status", "1", "--json").stdout == '"started"\n'


def test_job_list_is_a_table(service: Service) -> None:
    job = {"id": "1", "runner": "sh", "executor": "", "status": "error", "created_at": ago(days=2), "updated_at": ago()}
    service.answers["list_jobs"] = [job]
    result = service.herosup("job", "list", "--runner", "sh", "--status", "error", "--limit", "5")
    assert result.stdout.splitlines() == [
        "ID  RUNNER  EXECUTOR  STATUS  CREATED  UPDATED",
        "1   sh                error   2 d ago  now",
    ]
    assert service.calls == [("list_jobs", {"runner": "sh", "status": "error", "limit": 5})]


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ([], None),
        (["a=1", "b=x", "c=[1]", "d=", "e=a=b", 'f="1"'], {"a": 1, "b": "x", "c": [1], "d": "", "e": "a=b", "f": "1"}),
        (["a=NaN", "b={"], {"a": "NaN", "b": "{"}),
        (["[1, 2]"], [1, 2]),
        (['{"a": 1}'], {"a": 1}),
    ],
)
def test_rpc_passes_parameters_on(service: Service, words: list[str], params: object) -> None:
    service.answers["x"] = {"ok": True}
    result = service.herosup("rpc", "x", *words)
    assert json.loads(result.stdout) == {"ok": True}
    assert service.calls == [("x", params)]


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (["runner", "list"], "get_all_runner_status"),
        (["runner", "stats"], "get_all_runner_stats"),
        (["runner", "status", "a"], "get_runner_status"),
        (["job", "status", "1"], "get_job_status"),
        (["runner", "stop", "--all"], "stop_all"),
    ],
)
def test_an_answer_of_another_form_is_an_error(service: Service, words: list[str], method: str) -> None:
    service.answers[method] = [17]
    result = service.herosup(*words)
    assert result.exit_code == 1
    assert f"cannot use the answer of {method}" in result.stderr


def test_text_that_the_output_cannot_encode_is_escaped(service: Service) -> None:
    service.answers["get_job_result"] = {"job_id": "1", "status": "finished", "result": "a\ud800"}
    assert service.herosup("job", "result", "1").stdout == "a\\ud800"


@pytest.mark.parametrize(
    ("minutes", "text"), [(3, "3 m ago"), (119, "1 h ago"), (30 * 60, "1 d ago"), (0, "now"), (-5, "now")]
)
def test_ages_are_in_the_largest_unit(minutes: int, text: str) -> None:
    assert output.age(ago(minutes=minutes)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00 s"), (0.5, "0.50 s"), (59.9, "59 s"), (3600, "1 h"), (200_000, "2 d"), (None, "-"), ("x", "-")],
)
def test_durations_are_in_the_largest_unit(value: object, text: str) -> None:
    assert output.duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 29, "1.5 GiB"), (1 << 50, "1024.0 TiB"), (True, "-")],
)
def test_sizes_are_in_the_largest_unit(value: object, text: str) -> None:
    assert output.size(value) == text


@pytest.mark.parametrize("text", ["soon", "0001-01-01T00:00:00+23:00"])
def test_an_age_that_cannot_be_told_is_left_as_it_is(text: str) -> None:
    assert output.age(text) == text
    assert output.age(None) == "-"


def test_completion_offers_the_ids_of_runners(service: Service) -> None:
    service.answers["list_runners"] = ["ocr", "other", "mail", 7, "o\x1b"]
    env = {"_HEROSUP_COMPLETE": "complete_bash", "COMP_WORDS": "herosup runner start o", "COMP_CWORD": "3"}
    done = subprocess.run(
        [HEROSUP],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, **env, "HEROSUP_URL": service.url},
    )
    assert done.stdout.split() == ["ocr", "other"]


# Exits.


def exit_record(**fields: object) -> dict[str, object]:
    return {
        "runner": "ocr",
        "instance": 1,
        "invocation_id": "0123456789abcdef" * 2,
        "reason": "exit",
        "explanation": "its program ended by itself with exit status 3",
        "exit_code": 3,
        "signal": None,
        "ended_at": ago(minutes=5),
        "duration_s": 4.25,
        "memory_peak_bytes": None,
        "cpu_s": None,
        "will_restart": False,
        "log_tail": ["Traceback", "ValueError: \x1b[31mno\x1b[m"],
        **fields,
    }


def story(service: Service, record: dict[str, object], **status: object) -> list[str]:
    service.answers["get_runner_exits"] = [record]
    service.answers["get_runner_status"] = runner_status("ocr", **{"status": "failed", **status})  # type: ignore[arg-type]  # the test's own words
    done = service.herosup("why", "ocr")
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_why_tells_what_ended_when_and_why_what_comes_next_and_where_to_read_on(service: Service) -> None:
    lines = story(service, exit_record(cpu_s=1.26, memory_peak_bytes=3 * 2**20))
    assert re.fullmatch(r"ocr ended 5 m ago, at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, after 4\.2 s\.", lines[0])
    run = "0123456789abcdef0123456789abcdef"
    assert lines[1:] == [
        "Why:   its program ended by itself with exit status 3.",
        "Next:  it was given up; when the cause is mended: herosup runner start ocr.",
        "Used:  1.3 s of CPU time, at most 3.0 MiB of memory.",
        "Its last words:",
        "    Traceback",
        "    ValueError: \\x1b[31mno\\x1b[m",
        "All of that run:",
        f"    journalctl _SYSTEMD_INVOCATION_ID={run} + INVOCATION_ID={run} + USER_INVOCATION_ID={run}",
    ]
    assert service.calls[0] == ("get_runner_exits", {"runner": "ocr", "limit": 1})


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({}, {"status": "backoff"}, "systemd starts it again, after its restart delay."),
        (
            {},
            {"status": "backoff", "next_start": "2026-01-01T12:00:00"},
            "the supervisor starts it again, at 12:00:00.",
        ),
        ({}, {"status": "running"}, "nothing to do: it was started again 3 m ago and is running."),
        ({}, {"status": "stopped"}, "it is stopped; to start it: herosup runner start ocr."),
        ({"instance": 2}, {"instances": [{"instance": 2, "status": "backoff"}]}, "systemd starts it again, after its "),
        ({"instance": 3}, {"instances": [{"instance": 2, "status": "backoff"}]}, "it was given up; when the cause is "),
    ],
)
def test_why_tells_what_comes_next(
    service: Service, fields: dict[str, object], status: dict[str, object], words: str
) -> None:
    assert story(service, exit_record(**fields), **status)[2].startswith(f"Next:  {words}")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"duration_s": 59.94}, "after 59.9 s."),
        ({"duration_s": 61}, "after 1 min 1 s."),
        ({"duration_s": 3 * 86_400 + 7_200 + 5}, "after 3 d 2 h."),
        ({"duration_s": None}, "after an unknown time."),
        ({"duration_s": None, "reason": "not-started"}, "after no time."),
        ({"instance": 2}, "ocr (instance 2) ended"),
    ],
)
def test_why_tells_how_long_it_ran(service: Service, fields: dict[str, object], words: str) -> None:
    assert words in story(service, exit_record(**fields))[0]


def test_why_says_so_when_it_wrote_nothing(service: Service) -> None:
    assert "It wrote nothing." in story(service, exit_record(log_tail=[]))


def test_why_of_a_runner_that_never_ended_is_exit_3(service: Service) -> None:
    service.answers |= {"get_runner_exits": [], "get_runner_status": runner_status("ocr")}
    done = service.herosup("why", "ocr")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == "error: cannot tell why: no run of 'ocr' has ended; it is running\n"


def test_why_as_json_is_the_record_and_the_status(service: Service) -> None:
    record, status = exit_record(), runner_status("ocr")
    service.answers |= {"get_runner_exits": [record], "get_runner_status": status}
    done = service.herosup("why", "ocr", "--instance", "2", "--json")
    assert json.loads(done.stdout) == {"exit": record, "status": status}
    assert service.calls[0] == ("get_runner_exits", {"runner": "ocr", "limit": 1, "instance": 2})


def test_runner_exits_is_a_table_or_the_records(service: Service) -> None:
    killed = exit_record(exit_code=None, signal="SIGKILL", will_restart=True, reason="signal", explanation="killed")
    service.answers["get_runner_exits"] = [killed, exit_record()]
    lines = service.herosup("runner", "exits", "ocr", "-n", "5").stdout.splitlines()
    assert lines[0].split() == ["ENDED", "AFTER", "REASON", "EXIT", "RESTART", "RUN", "WHY"]
    assert lines[1].split()[2:] == ["4.2", "s", "signal", "SIGKILL", "yes", "01234567", "killed"]
    assert lines[2].split()[4:8] == ["exit", "3", "no", "01234567"]
    assert service.calls == [("get_runner_exits", {"runner": "ocr", "limit": 5})]
    as_json = service.herosup("runner", "exits", "ocr", "--json").stdout
    assert json.loads(as_json) == service.answers["get_runner_exits"]
