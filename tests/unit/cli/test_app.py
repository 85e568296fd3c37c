"""All commands alike: exit codes, streams, ``--json``, wrong usage, what is loaded."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.cli import output
from hero_supervisor.cli.failure import exit_code_of
from tests.unit.cli.conftest import CLOSED, HEROSUP, Failure, ago, installed, runner_status

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Service


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


def test_a_reader_that_goes_away_is_no_error(service: Service) -> None:
    service.answers["get_runner_logs"] = [{"timestamp": ago(), "message": "x" * 1000}] * 1000
    command = f"set -o pipefail; {shlex.quote(str(HEROSUP))} --url {service.url} runner logs a | head -c 10 >/dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (141, "")


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
        ["runner", "stop", "-l", "novalue"],
        ["runner", "signal", "SIGHUP"],
        ["runner", "remove"],
        ["runner", "scale", "a"],
        ["runner", "scale", "a", "many"],
        ["runner", "update"],
        ["runner", "update", "a", "--at-once", "0"],
        ["runner", "render"],
        ["runner", "render", "a", "--file", "x"],
        ["runner", "apply"],
        ["runner", "apply", "-f", "/does/not/exist"],
        ["operation", "show"],
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
        ["--url", "ftp://host", "status"],
        ["--timeout", "-1", "status"],
    ],
)
def test_wrong_usage_is_exit_2_and_asks_the_service_nothing(service: Service, words: list[str]) -> None:
    result = service.herosup(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    at_end = ["--json", *words] if "--" in words else [*words, "--json"]
    for in_json in (service.herosup("--json", *words), service.herosup(*at_end)):
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


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (["runner", "list"], "get_all_runner_status"),
        (["runner", "stats"], "get_all_runner_stats"),
        (["runner", "status", "a"], "get_runner_status"),
        (["job", "status", "1"], "get_job_status"),
        (["runner", "stop", "--all"], "operate_runners"),
        (["operation", "show", "0f"], "get_operation"),
    ],
)
def test_an_answer_of_another_form_is_an_error(service: Service, words: list[str], method: str) -> None:
    service.answers[method] = [17]
    result = service.herosup(*words)
    assert result.exit_code == 1
    assert f"cannot use the answer of {method}" in result.stderr


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
