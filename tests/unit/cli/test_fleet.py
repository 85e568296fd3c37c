"""``herosup runner``'s verbs on many runners: whom they choose, and what they ask before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.cli import fleet
from hero_supervisor.records import Verb
from tests.unit.cli.conftest import on_terminal, operation, outcome

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Service


def test_every_verb_of_the_service_has_a_command() -> None:
    assert {*fleet.VERBS, "signal", "remove", "apply"} == set(Verb)


@pytest.mark.parametrize("verb", list(fleet.VERBS))
def test_a_verb_is_carried_out_on_the_runners_that_are_chosen(service: Service, verb: str) -> None:
    service.answers["operate_runners"] = operation(outcome("a"), verb=verb)
    result = service.herosup("runner", verb, "a", "web-*")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "a: running\n", "")
    assert service.calls == [("operate_runners", {"verb": verb, "runners": ["a", "web-*"], "wait": False})]


@pytest.mark.parametrize(
    ("words", "params"),
    [
        (["start", "--all"], {"verb": "start", "runners": ["*"]}),
        (["stop", "-l", "a=b", "--label", "c="], {"verb": "stop", "runners": [], "labels": {"a": "b", "c": ""}}),
        (["roll", "w*", "-l", "a=b"], {"verb": "roll", "runners": ["w*"], "labels": {"a": "b"}}),
        (["kill", "--all", "-l", "a=b"], {"verb": "kill", "runners": ["*"], "labels": {"a": "b"}}),
        (["signal", "SIGUSR1", "a"], {"verb": "signal", "signal": "SIGUSR1", "runners": ["a"]}),
        (["signal", "hup", "--all"], {"verb": "signal", "signal": "SIGHUP", "runners": ["*"]}),
        (["remove", "a", "b"], {"verb": "remove", "runners": ["a", "b"]}),
        (["remove", "--all", "-y"], {"verb": "remove", "runners": ["*"]}),
        (["remove", "w*", "--yes"], {"verb": "remove", "runners": ["w*"]}),
        (["remove", "a", "-l", "a=b"], {"verb": "remove", "runners": ["a"], "labels": {"a": "b"}}),
    ],
)
def test_runners_are_chosen_by_ids_globs_and_labels(service: Service, words: list[str], params: dict[str, Any]) -> None:
    service.answers["operate_runners"] = operation()
    assert service.herosup("runner", *words).exit_code == 0
    assert service.calls == [("operate_runners", {**params, "wait": False})]


CHOICES = [
    (["--all"], "all runners"),
    (["a", "web-*"], "runners a web-*"),
    (["a?"], "runners a?"),
    (["[ab]"], "runners [ab]"),
    (["-l", "a=b"], "all runners with the labels a=b"),
    (["x*", "-l", "a=b", "-l", "c=d"], "runners x* with the labels a=b, c=d"),
]


@pytest.mark.parametrize(("words", "name"), CHOICES)
def test_removing_what_is_not_named_needs_somebody_to_confirm_it(service: Service, words: list[str], name: str) -> None:
    result = service.herosup("runner", "remove", *words, stdin="y\n")
    assert (result.exit_code, result.stdout, service.calls) == (2, "", [])
    assert result.stderr == f"error: cannot remove {name}: there is nobody to confirm it\nhint: say it with --yes\n"


@pytest.mark.parametrize(("answer", "calls"), [("y", 1), ("n", 0), ("", 0)])
def test_on_a_terminal_it_asks(service: Service, answer: str, calls: int) -> None:
    service.answers["operate_runners"] = operation(outcome("web-1", None), verb="remove")
    screen = on_terminal("runner", "remove", "web-*", url=service.url, typed=f"{answer}\n")
    assert "remove runners web-*? [y/N]: " in screen
    assert ("web-1: removed" in screen, "it was not confirmed" in screen) == (bool(calls), not calls)
    assert len(service.calls) == calls


def test_what_is_asked_cannot_steer_the_terminal(service: Service) -> None:
    screen = on_terminal("runner", "remove", "\x1b[2J*", url=service.url, typed="n\n")
    assert "remove runners \\x1b[2J*? [y/N]: " in screen
