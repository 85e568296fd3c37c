"""The arguments of ``hero-runner``."""

from __future__ import annotations

import os

import pytest

from hero_supervisor.worker import __main__ as program
from hero_supervisor.worker.runner_loop import RunnerOptions


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunnerOptions]:
    """Collect what would have been started."""
    found: list[RunnerOptions] = []

    async def serve(options: RunnerOptions, *_: object) -> int:
        found.append(options)
        return 0

    monkeypatch.setattr(program, "_serve", serve)
    for name in [name for name in os.environ if name.startswith("HERO_")]:
        monkeypatch.delenv(name)
    return found


@pytest.mark.parametrize(
    ("words", "variables", "expected"),
    [
        (["r"], {}, ("r", "hero:q:work:type:r", "python", 8.0)),
        (["--actor-id", "r"], {}, ("r", "hero:q:work:type:r", "python", 8.0)),
        ([], {"HERO_RUNNER": "r", "HERO_NAMESPACE": "n"}, ("r", "n:q:work:type:r", "python", 8.0)),
        ([], {"HERO_RUNNER": "r", "HERO_QUEUE": "q"}, ("r", "q", "python", 8.0)),
        (
            ["r"],
            {"HERO_RUNNER": "x", "HERO_NAMESPACE": "", "HERO_QUEUE": ""},
            ("r", "hero:q:work:type:r", "python", 8.0),
        ),
        (["r", "--queue", "q", "--executor", "shell", "--stop-grace", "0.5"], {}, ("r", "q", "shell", 0.5)),
        (["r", "--db-path", "/db", "--redis-url", "redis://h"], {}, ("r", "hero:q:work:type:r", "python", 8.0)),
    ],
)
def test_options_come_from_arguments_then_environment(
    started: list[RunnerOptions],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    variables: dict[str, str],
    expected: tuple[str, str, str, float],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert program.main(words) == 0
    assert started == [RunnerOptions(*expected)]


@pytest.mark.parametrize(
    "words", [[], ["r", "--executor", "rhai"], ["r", "--stop-grace", "-1"], ["r", "--redis-url", "http://:s3cret@h"]]
)
def test_wrong_arguments_exit_with_2(
    started: list[RunnerOptions], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(words)
    assert not started
    assert "s3cret" not in capsys.readouterr().err


def test_the_help_does_not_show_the_redis_url_of_the_environment(
    started: list[RunnerOptions], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HERO_REDIS_URL", "redis://:s3cret@h")
    with pytest.raises(SystemExit, match="0"):
        program.main(["--help"])
    assert "s3cret" not in capsys.readouterr().out
