"""The arguments of ``hero-runner``, and the environment of workers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.errors import InvalidSettings
from hero_supervisor.worker import __main__ as program
from hero_supervisor.worker.options import WorkerOptions
from hero_supervisor.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

Found = tuple[str, str, float, int, str]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    """Collect what would have been started."""
    found: list[Found] = []

    def run(worker: Worker, _: object) -> None:
        options = worker.options
        default = worker._default_executor or ""
        found.append((options.runner, options.queue, options.stop_grace_s, options.concurrency, default))
        raise SystemExit(0)

    monkeypatch.setattr(Worker, "run", run)
    for name in [name for name in os.environ if name.startswith("HERO_")]:
        monkeypatch.delenv(name)
    return found


LIST = "hero:q:work:type:r"


@pytest.mark.parametrize(
    ("words", "variables", "expected"),
    [
        (["r"], {}, ("r", LIST, 8.0, 1, "python")),
        (["--actor-id", "r"], {}, ("r", LIST, 8.0, 1, "python")),
        ([], {"HERO_RUNNER": "r", "HERO_NAMESPACE": "n"}, ("r", "n:q:work:type:r", 8.0, 1, "python")),
        ([], {"HERO_RUNNER": "r", "HERO_QUEUE": "q", "HERO_CONCURRENCY": "4"}, ("r", "q", 8.0, 4, "python")),
        (["r"], {"HERO_RUNNER": "x", "HERO_NAMESPACE": "", "HERO_QUEUE": ""}, ("r", LIST, 8.0, 1, "python")),
        (["r", "--queue", "q", "--executor", "shell", "--stop-grace", "0.5"], {}, ("r", "q", 0.5, 1, "shell")),
        (["r", "--concurrency", "2"], {"HERO_CONCURRENCY": "4"}, ("r", LIST, 8.0, 2, "python")),
        (["r", "--db-path", "/db", "--redis-url", "redis://h"], {}, ("r", LIST, 8.0, 1, "python")),
    ],
)
def test_options_come_from_arguments_then_environment(
    started: list[Found],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    variables: dict[str, str],
    expected: Found,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        program.main(words)
    assert started == [expected]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["r", "--executor", "rhai"],
        ["r", "--stop-grace", "-1"],
        ["r", "--concurrency", "0"],
        ["a}b"],
        ["r", "--redis-url", "http://:s3cret@h"],
    ],
)
def test_wrong_arguments_exit_with_2(
    started: list[Found], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(words)
    assert not started
    assert "s3cret" not in capsys.readouterr().err


def test_the_help_does_not_show_the_redis_url_of_the_environment(
    started: list[Found], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HERO_REDIS_URL", "redis://:s3cret@h")
    with pytest.raises(SystemExit, match="0"):
        program.main(["--help"])
    assert "s3cret" not in capsys.readouterr().out


UNIT = {"HERO_UNIT": "u.service", "HERO_NODE_ID": "n", "HERO_INSTANCE": "3", "INVOCATION_ID": "i", "HERO_BOOT_ID": "b"}


def test_a_worker_in_its_unit_is_known_by_its_run() -> None:
    options = WorkerOptions.resolve(UNIT, runner="r")
    assert (options.holder, options.is_supervised) == ("i", True)
    record = options.record()
    assert (record.node, record.unit, record.instance, record.pid) == ("n", "u.service", 3, os.getpid())
    assert record.boot_id == "b"


@pytest.mark.parametrize("missing", ["HERO_UNIT", "INVOCATION_ID"])
def test_a_worker_outside_of_a_unit_has_a_name_of_its_own(missing: str) -> None:
    variables = {name: value for name, value in UNIT.items() if name != missing}
    options = [WorkerOptions.resolve(variables, runner="r") for _ in range(2)]
    assert len({each.holder for each in options} | {"i"}) == 3
    assert {(each.record().node, each.record().unit) for each in options} == {("", "")}


@pytest.mark.parametrize(
    ("variables", "paths"),
    [
        ({}, ["runner"]),
        ({"HERO_RUNNER": "a\nb", "HERO_CONCURRENCY": "1001"}, ["runner", "queue", "concurrency"]),
        ({"HERO_CONCURRENCY": "²", "HERO_INSTANCE": "-1"}, ["HERO_CONCURRENCY", "HERO_INSTANCE", "runner"]),
        (
            {"HERO_RUNNER": "r", "HERO_REDIS_URL": "http://h", "HERO_NAMESPACE": "\0"},
            ["namespace", "queue", "redis_url"],
        ),
    ],
)
def test_every_fault_of_the_environment_is_told(variables: Mapping[str, str], paths: list[str]) -> None:
    with pytest.raises(InvalidSettings) as caught:
        WorkerOptions.resolve(variables)
    assert {fault.path for fault in caught.value.faults} == set(paths)


@pytest.mark.parametrize("name", ["", "twice"])
def test_an_executor_has_one_name_and_one_handler(name: str) -> None:
    worker = Worker("r")
    worker.executor("twice")(print)
    with pytest.raises(ValueError, match="cannot register executor"):
        worker.executor(name)
