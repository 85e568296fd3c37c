"""What clients send as params: every shape that the original's clients use means the same call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hero_supervisor.errors import InvalidInput, InvalidRunner
from hero_supervisor.records import Priority
from hero_supervisor.rpc import params
from hero_supervisor.supervisor import Supervisor

LOGS = params.parameters_of(Supervisor.get_runner_logs)
ADD = params.parameters_of(Supervisor.add_runner)
QUEUE = params.parameters_of(Supervisor.queue_job_to_runner)
LIST = params.parameters_of(Supervisor.list_runners)
GET_JOB = params.parameters_of(Supervisor.get_job)

DEFINITION = {"id": "a", "command": ["/bin/true"]}
JOB = {"payload": "x"}


def _arguments(sent: object, parameters: tuple[params.Parameter, ...]) -> dict[str, Any]:
    return params.read(sent, parameters).arguments


@pytest.mark.parametrize(
    "sent",
    [
        {"runner": "a", "lines": 5},
        {"id": "a", "lines": 5},
        {"runner_id": "a", "lines": 5},
        {"runnerId": "a", "lines": 5},
        {"runner_name": "a", "lines": 5},
        {"actor_id": "a", "lines": 5},
        {"name": "a", "lines": 5},
        ["a", 5],
        [{"runner": "a", "lines": 5}],
        {"params": {"actor_id": "a", "lines": 5}},
        {"params": ["a", 5]},
        [{"params": {"id": "a", "lines": 5}}],
        {"secret": "s", "runner": "a", "lines": 5},
    ],
)
def test_a_call_may_come_in_any_of_these_shapes(sent: object) -> None:
    assert _arguments(sent, LOGS) == {"runner": "a", "lines": 5}


@pytest.mark.parametrize("sent", [None, [], {}, {"params": []}])
def test_a_method_without_parameters_takes_nothing_in_any_form(sent: object) -> None:
    assert _arguments(sent, LIST) == {}


@pytest.mark.parametrize(
    "sent",
    [
        DEFINITION,
        [DEFINITION],
        {"runner": DEFINITION},
        {"config": DEFINITION},
        {"params": DEFINITION},
        [{"runner": DEFINITION}],
    ],
)
def test_a_definition_may_be_an_argument_or_be_spread(sent: object) -> None:
    assert _arguments(sent, ADD) == {"runner": DEFINITION}


@pytest.mark.parametrize(
    "sent",
    [{"runner": "a", "job": JOB}, {"runner_name": "a", "job": JOB}, ["a", JOB], {"runner": "a", **JOB}],
)
def test_a_job_may_be_an_argument_or_be_spread(sent: object) -> None:
    assert _arguments(sent, QUEUE) == {"runner": "a", "job": JOB}


@pytest.mark.parametrize("sent", [{"job_id": "j"}, {"jobId": "j"}, {"id": "j"}, {"job": "j"}, ["j"]])
def test_a_jobs_id_has_aliases_too(sent: object) -> None:
    assert _arguments(sent, GET_JOB) == {"job_id": "j"}


def test_the_secret_is_taken_out_of_the_params() -> None:
    assert params.read({"secret": "s", **DEFINITION}, ADD) == params.Call({"runner": DEFINITION}, "s")
    assert params.read([{"admin_key": "s"}], LIST) == params.Call({}, "s")


@pytest.mark.parametrize(
    ("sent", "parameters", "path"),
    [
        ({"lnes": 5, "runner": "a"}, LOGS, "lnes"),
        (["a", 5, *[None] * 8, 1], LOGS, "params"),
        ({"x": 1}, LIST, "x"),
        ([1], LIST, "params"),
    ],
)
def test_what_fits_no_parameter_is_refused(sent: object, parameters: tuple[params.Parameter, ...], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        params.read(sent, parameters)
    assert [fault.path for fault in caught.value.faults] == [path]


def test_every_wrong_argument_is_told() -> None:
    with pytest.raises(InvalidInput) as caught:
        params.bind({"lines": 0, "runner": "A B", "job_id": 5}, LOGS)
    assert [fault.path for fault in caught.value.faults] == ["runner", "lines", "job_id"]


def test_a_missing_argument_is_told() -> None:
    with pytest.raises(InvalidInput, match="runner: is required"):
        params.bind({}, LOGS)


def test_a_bad_definition_keeps_its_own_error() -> None:
    with pytest.raises(InvalidRunner, match="id: is required"):
        params.bind({"runner": {"command": ["/bin/true"]}}, ADD)


@pytest.mark.parametrize(
    ("name", "sent", "value"),
    [
        ("since", "2026-07-02T10:00:00+02:00", datetime(2026, 7, 2, 8, tzinfo=UTC)),
        ("priority", "err", Priority.ERR),
        ("priority", 3, 3),
        ("instance", 2, 2),
        ("invocation_id", "a" * 32, "a" * 32),
    ],
)
def test_log_conditions_are_converted(name: str, sent: object, value: object) -> None:
    assert params.bind({"runner": "a", name: sent}, LOGS)[name] == value


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("since", "2026-07-02T10:00:00"),
        ("until", "yesterday"),
        ("priority", 8),
        ("priority", "error"),
        ("grep", ""),
        ("grep", "x" * 257),
        ("instance", 0),
        ("invocation_id", "A" * 32),
    ],
)
def test_log_conditions_that_cannot_be_are_refused(name: str, sent: object) -> None:
    with pytest.raises(InvalidInput, match=name):
        params.bind({"runner": "a", name: sent}, LOGS)
