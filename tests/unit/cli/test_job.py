"""``herosup job``: what is sent, and how results are told."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.conftest import HEROSUP, Failure, ago, installed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Service


def test_job_run_prints_the_result_exactly_as_it_is(service: Service) -> None:
    text = "\x1b[1mbold\x1b[0m ü\tno line break"
    service.answers["queue_and_wait"] = {"job_id": "1", "status": "finished", "result": text, "error": None}
    done = installed("job", "run", "sh", "-", url=service.url, stdin="echo hi\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")
    assert service.calls[0][1]["job"]["payload"] == "echo hi\n"


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


def test_a_job_may_have_an_id_of_ones_own(service: Service) -> None:
    service.answers["queue_job_to_runner"] = "mine"
    service.herosup("job", "queue", "sh", "x", "--id", "mine")
    assert service.calls[0][1]["job"]["id"] == "mine"


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


def test_options_of_a_job_are_sent_as_the_service_names_them(service: Service) -> None:
    service.answers["queue_job_to_runner"] = "abc"
    options = "--priority 9 --delay 1.5 --after x --after y --retries 3 --key k -l a=b --group g"
    service.herosup("job", "queue", "sh", "x", *options.split())
    job = service.calls[0][1]["job"]
    del job["id"]
    assert job == {
        "payload": "x",
        "priority": 9,
        "delay_s": 1.5,
        "prerequisites": ["x", "y"],
        "max_retries": 3,
        "idempotency_key": "k",
        "labels": {"a": "b"},
        "group": "g",
    }


@pytest.mark.parametrize(
    ("states", "first", "code"),
    [
        (["finished", "finished"], False, 0),
        (["finished", "error"], False, 1),
        (["finished", "cancelled"], False, 1),
        (["finished", "started"], False, 3),
        (["finished", "started"], True, 0),
        (["started", "started"], True, 3),
    ],
)
def test_waiting_for_jobs_tells_by_its_exit_code_how_they_ended(
    service: Service, states: list[str], first: bool, code: int
) -> None:
    service.answers["wait_for_jobs"] = [
        {"job_id": str(number), "status": state, "result": "one\ntwo"} for number, state in enumerate(states)
    ]
    result = service.herosup("job", "wait", "0", "1", *(["--first"] if first else []))
    assert result.exit_code == code
    assert result.stdout.splitlines()[1].split() == ["0", states[0], "one"]


@pytest.mark.parametrize(
    ("counts", "code"),
    [({"finished": 2}, 0), ({"finished": 1, "error": 1}, 1), ({"open": 1, "finished": 1}, 3)],
)
def test_waiting_for_a_group_does_too(service: Service, counts: dict[str, int], code: int) -> None:
    service.answers["wait_for_group"] = counts
    result = service.herosup("job", "wait", "--group", "g", "--timeout", "2")
    assert result.exit_code == code
    assert service.calls == [("wait_for_group", {"group": "g", "timeout": 2.0})]


@pytest.mark.parametrize("words", [[], ["1", "--group", "g"]])
def test_waiting_for_nothing_or_two_things_is_wrong_usage(service: Service, words: list[str]) -> None:
    result = service.herosup("job", "wait", *words)
    assert (result.exit_code, service.calls) == (2, [])


def test_cancelling_tells_how_each_job_stands(service: Service) -> None:
    service.answers["cancel_job"] = lambda params: {"job_id": params["job_id"], "status": "stopping"}
    result = service.herosup("job", "cancel", "1", "2")
    assert result.stdout.splitlines() == ["ID  STATUS", "1   stopping", "2   stopping"]


@pytest.mark.parametrize("verb", ["retry", "delete"])
def test_what_is_done_to_jobs_is_done_to_each_of_them(service: Service, verb: str) -> None:
    service.answers[f"{verb}_job"] = None
    assert service.herosup("job", verb, "1", "2").exit_code == 0
    assert service.calls == [(f"{verb}_job", {"job_id": "1"}), (f"{verb}_job", {"job_id": "2"})]


def test_a_job_is_shown_with_what_is_known_of_it(service: Service) -> None:
    service.answers["get_job_state"] = {
        "job_id": "1",
        "status": "error",
        "crashes": 2,
        "failures": 0,
        "error": "a\x1bb",
    }
    job = {
        "priority": 5,
        "labels": {"a": "b", "c": "d"},
        "prerequisites": [],
        "payload": "one\ntwo\nthree",
        "env_vars": {},
    }
    service.answers["get_job"] = job
    lines = service.herosup("job", "show", "1").stdout.splitlines()
    assert [(line[:15].rstrip(), line[17:]) for line in lines] == [
        ("job id", "1"),
        ("status", "error"),
        ("crashes", "2"),
        ("error", "a\\x1bb"),
        ("priority", "5"),
        ("labels", "a=b c=d"),
        ("payload", "one (3 lines)"),
    ]
    assert json.loads(service.herosup("job", "show", "1", "--json").stdout)["job"] == job


def test_a_cancelled_job_has_no_result(service: Service) -> None:
    service.answers["get_job_result"] = {"job_id": "1", "status": "cancelled", "error": None}
    result = service.herosup("job", "result", "1")
    assert (result.exit_code, result.stderr) == (1, "error: job 1 was cancelled\n")
