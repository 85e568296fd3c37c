"""``herosup events``: what it prints. That it follows is shown in tests/e2e/test_events.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from hero_supervisor.cli.app import app
from hero_supervisor.event_client import EventClient

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = "2026-07-02T10:00:00Z"
STATE = {"change": "state", "status": "running", "previous": "starting", "main_pid": 7}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"topic": "runner", "runner": "a", "instance": 1, "data": STATE},
            "runner  a  running (was starting, process 7)",
        ),
        (
            {"topic": "runner", "runner": "a", "instance": 2, "data": {"change": "state", "status": "failed"}},
            "runner  a@2  failed",
        ),
        ({"topic": "runner", "runner": "a", "data": {"change": "removed"}}, "runner  a  removed"),
        (
            {"topic": "exit", "runner": "a", "data": {"reason": "oom-kill", "explanation": "it took too much"}},
            "exit  a  oom-kill: it took too much",
        ),
        (
            {
                "topic": "job",
                "runner": "a",
                "job_id": "j",
                "data": {"status": "error", "reason": "timeout", "attempt": 2},
            },
            "job  a  j  error (timeout, attempt 2)",
        ),
        (
            {"topic": "job", "job_id": "j", "data": {"status": "started", "progress": {"done": 0.5}}},
            'job  j  started (progress {"done": 0.5})',
        ),
        ({"topic": "job", "job_id": "j", "data": {"status": None}}, "job  j  deleted"),
        (
            {"topic": "operation", "data": {"id": "o", "verb": "start", "state": "running", "runners": 2, "failed": 0}},
            "operation  start begins (2 runners, o)",
        ),
        (
            {"topic": "operation", "data": {"id": "o", "verb": "start", "state": "done", "runners": 2, "failed": 1}},
            "operation  start done (2 runners, 1 failed, o)",
        ),
        ({"topic": "log", "runner": "a", "data": {"message": "hello\x1b[2J"}}, "log  a  hello\\x1b[2J"),
        (
            {"topic": "gap", "data": {"cause": "slow", "topics": ["job", "runner"], "lost": 7}},
            "gap  events are missing: job, runner (slow, 7 lost)",
        ),
        (
            {"topic": "gap", "data": {"cause": "restarted", "topics": ["job"], "lost": None}},
            "gap  events are missing: job (restarted, some lost)",
        ),
        ({"topic": "news", "data": {"a": 1}}, 'news  {"a": 1}'),
        ({"topic": "runner", "data": []}, "runner  None"),
    ],
)
def test_an_event_is_a_line(event: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = follow([{"at": AT, **event}], monkeypatch)
    assert result.stdout[:10].startswith("2026-07-0")
    assert result.stdout[25:] == line + "\n"


def test_with_json_an_event_is_an_object_on_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[dict[str, Any]] = [{"topic": "log", "data": {"message": "a\nb"}}, {"topic": "exit"}]
    result = follow(events, monkeypatch, "--json")
    assert list(map(json.loads, result.stdout.splitlines())) == events


def test_what_is_wanted_is_asked_for_and_an_interrupt_ends_it_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    words = ("-t", "job", "--topic", "exit", "-r", "a", "--job", "j", "--since", "x")
    result = follow([], monkeypatch, *words, asked=asked)
    assert asked == [{"topics": ["job", "exit"], "runners": ["a"], "job": "j", "since": "x"}]
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


def follow(
    events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, *words: str, asked: list[Any] | None = None
) -> Any:
    def told(_: EventClient, **wanted: Any) -> Iterator[dict[str, Any]]:
        if asked is not None:
            asked.append(wanted)
        yield from events
        raise KeyboardInterrupt

    monkeypatch.setattr(EventClient, "follow", told)
    return CliRunner().invoke(app, ["events", *words])
