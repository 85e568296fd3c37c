"""Operations on many runners: how they are followed, what they exit with, and ``herosup operation``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from hero_supervisor.cli.app import app
from tests.unit.cli.conftest import CLOSED, GONE, HEROSUP, Failure, failed, operation, outcome, pending

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Service


def test_an_operation_is_followed_to_its_end_and_each_outcome_shown_once(service: Service) -> None:
    looks = iter(
        [
            operation(outcome("a"), pending("b"), state="running"),
            operation(outcome("a"), failed("b"), state="running"),
            operation(outcome("a"), failed("b")),
        ]
    )
    service.answers["operate_runners"] = operation(pending("a"), pending("b"), state="running")
    service.answers["get_operation"] = lambda _: next(looks)
    result = service.herosup("runner", "start", "a", "b")
    assert (result.exit_code, result.stdout) == (1, "a: running\n")
    assert result.stderr == "error: cannot do it\nhint: look\n"
    assert service.calls[1:] == [("get_operation", {"operation_id": "0f"})] * 3


def test_outcomes_are_shown_as_they_come_and_ctrl_c_leaves_the_operation_going(service: Service) -> None:
    service.answers["operate_runners"] = operation(outcome("a"), pending("b"), state="running")
    service.answers["get_operation"] = service.wait
    command = [HEROSUP, "--url", service.url, "runner", "start", "a", "b"]
    env = {**os.environ, "PYTHONUNBUFFERED": ""}  # where it is set, nothing has to be flushed
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout
        assert process.stdout.readline() == "a: running\n"
        assert service.asked.wait(timeout=20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err == "hint: it goes on: herosup operation show 0f\n"
    assert [method for method, _ in service.calls] == ["operate_runners", "get_operation"]


def test_without_waiting_the_id_is_printed(service: Service) -> None:
    begun = operation(pending("a"), state="running")
    service.answers["operate_runners"] = begun
    result = service.herosup("runner", "start", "a", "--no-wait")
    assert (result.exit_code, result.stdout, len(service.calls)) == (0, "0f\n", 1)
    assert json.loads(service.herosup("runner", "start", "a", "--no-wait", "--json").stdout) == begun


@pytest.mark.parametrize(
    ("verb", "word"),
    [("kill", "killed"), ("reload", "reloaded"), ("freeze", "frozen"), ("thaw", "thawed"), ("later", "done")],
)
def test_what_became_of_a_runner_is_named_where_its_status_is_not(service: Service, verb: str, word: str) -> None:
    service.answers["operate_runners"] = operation(outcome("a", None), verb=verb)
    assert service.herosup("runner", "kill", "a").stdout == f"a: {word}\n"


@pytest.mark.parametrize(("kind", "code"), [("unit-failed", 1), ("timeout", 124), ("runner-not-found", 4)])
def test_one_runner_that_fails_exits_with_its_kinds_code(service: Service, kind: str, code: int) -> None:
    service.answers["operate_runners"] = operation(failed("a", kind))
    result = service.herosup("runner", "start", "a")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "error: cannot do it\nhint: look\n")
    in_json = service.herosup("runner", "start", "a", "--json")
    assert (in_json.exit_code, json.loads(in_json.stderr)["kind"]) == (code, kind)


def test_as_json_it_is_the_operation_and_the_failures(service: Service) -> None:
    answer = operation(outcome("a"), failed("b", "timeout"), outcome("c"), verb="stop")
    service.answers["operate_runners"] = answer
    result = service.herosup("runner", "stop", "--all", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, answer)
    error = json.loads(result.stderr)
    assert (error["error"], error["kind"]) == ("cannot stop 1 of 3 runners", "some-failed")
    assert [each["id"] for each in error["failed"]] == ["b"]


def test_a_pattern_that_matches_nothing_is_exit_4(service: Service) -> None:
    service.answers["operate_runners"] = Failure("runner-not-found", "cannot find runner 'x*'")
    result = service.herosup("runner", "stop", "x*", "a")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "", "error: cannot find runner 'x*'\n")


def test_an_operation_that_somebody_cancels_is_exit_1(service: Service) -> None:
    service.answers["operate_runners"] = operation(outcome("a"), pending("b"), state="cancelled")
    result = service.herosup("runner", "start", "a", "b")
    assert (result.exit_code, result.stdout) == (1, "a: running\n")
    assert result.stderr == "error: cannot finish: the operation was cancelled with 1 of 2 runners left\n"


def test_nobody_answers_is_exit_5() -> None:
    result = CliRunner().invoke(app, ["--url", CLOSED, "runner", "stop", "a", "b"])
    assert result.exit_code == 5
    assert result.stderr.count("error: ") == 1


def test_when_the_service_goes_away_meanwhile_the_id_is_told(service: Service) -> None:
    service.answers["operate_runners"] = operation(outcome("a"), pending("b"), state="running")
    service.answers["get_operation"] = GONE
    result = service.herosup("runner", "start", "a", "b")
    assert (result.exit_code, result.stdout) == (5, "a: running\n")
    assert result.stderr.endswith("hint: when it answers again: herosup operation show 0f\n")


def test_operations_are_listed_with_how_far_they_are(service: Service) -> None:
    service.answers["list_operations"] = [operation(outcome("a"), failed("b"), pending("c"), state="running")] * 3
    assert service.herosup("operation", "list", "-n", "1").stdout.splitlines() == [
        "ID  VERB   STATE    BEGUN    RUNNERS  DONE  FAILED",
        "0f  start  running  3 m ago  3        2     1",
    ]
    assert len(json.loads(service.herosup("operation", "list", "--json").stdout)) == 3


@pytest.mark.parametrize("verb", ["show", "cancel"])
def test_an_operation_is_shown_with_its_outcomes(service: Service, verb: str) -> None:
    method = "get_operation" if verb == "show" else "cancel_operation"
    answer = operation(outcome("a"), failed("b"), pending("c"), state="cancelled")
    service.answers[method] = answer
    result = service.herosup("operation", verb, "0f")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "start: cancelled, begun 3 m ago, ended now",
        "ID  OUTCOME  ERROR",
        "a   running",
        "b   failed   cannot do it",
        "c   -",
    ]
    assert service.calls == [(method, {"operation_id": "0f"})]
    assert json.loads(service.herosup("operation", verb, "0f", "--json").stdout) == answer


def test_an_unknown_operation_is_exit_4(service: Service) -> None:
    service.answers["get_operation"] = Failure("operation-not-found")
    assert service.herosup("operation", "show", "x").exit_code == 4
