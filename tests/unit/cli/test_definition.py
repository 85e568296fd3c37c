"""``herosup runner``'s commands about definitions: what they send, and how they show plans and units."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.conftest import operation, outcome, runner_status

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Service


def test_runner_add_sends_the_definition_and_shows_the_status(service: Service) -> None:
    service.answers["add_runner"] = runner_status("w", "stopped")
    options = "--env A=1 --env B=x=y --cwd /srv --user u --group g --description d --queue q --readiness notify"
    times = "--restart never --restart-delay 2 --start-timeout 3 --stop-timeout 4 --sandbox strict -l t=w"
    jobs = "--instances 2 --concurrency 3 --protocol list"
    result = service.herosup(*f"runner add w {options} {times} {jobs} -- /bin/cat --json -n".split())
    assert (result.exit_code, result.stdout) == (0, "w: stopped\n")
    definition = {
        "id": "w",
        "command": ["/bin/cat", "--json", "-n"],
        "env": {"A": "1", "B": "x=y"},
        "labels": {"t": "w"},
        "instances": 2,
        "concurrency": 3,
        "protocol": "list",
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


PRESENT = {"id": "w", "command": ["cat"], "executor": None, "env": {"A": "1"}, "labels": {"t": "w"}, "instances": 2}


def plan(action: str, *changes: tuple[object, ...], id: str = "w") -> dict[str, object]:
    names = ("field", "before", "after", "effect")
    return {"id": id, "action": action, "changes": [dict(zip(names, change, strict=True)) for change in changes]}


@pytest.mark.parametrize(("action", "word"), [("nothing", "unchanged"), ("change", "updated"), ("restart", "updated")])
def test_an_update_changes_what_the_options_say(service: Service, action: str, word: str) -> None:
    service.answers |= {"get_runner": PRESENT, "update_runner": plan(action)}
    options = "--env B=2 -l t=x --instances 3 --restart never --at-once 2"
    result = service.herosup("runner", "update", "w", *options.split())
    assert (result.exit_code, result.stdout) == (0, f"w: {word}\n")
    said = {"env": {"A": "1", "B": "2"}, "labels": {"t": "x"}, "instances": 3, "restart": "never"}
    assert service.calls == [
        ("get_runner", {"runner": "w"}),
        ("update_runner", {"runner": PRESENT | said, "at_once": 2}),
    ]


def test_an_update_by_file_is_the_whole_definition(service: Service) -> None:
    service.answers["update_runner"] = plan("restart")
    result = service.herosup("runner", "update", "-f", "-", "--queue", "q", "--json", stdin='id = "w"\ncommand = ["x"]')
    assert json.loads(result.stdout) == plan("restart")
    assert service.calls == [("update_runner", {"runner": {"id": "w", "command": ["x"], "queue": "q"}, "at_once": 1})]


@pytest.mark.parametrize(
    ("words", "kept"),
    [(["--executor", "shell"], {"executor": "shell"}), (["--", "dog"], {"command": ["dog"]})],
)
def test_a_command_takes_the_place_of_an_executor_and_the_reverse(
    service: Service, words: list[str], kept: dict[str, object]
) -> None:
    service.answers |= {"get_runner": {"id": "w", "command": ["cat"], "executor": "python"}, "update_runner": plan("x")}
    service.herosup("runner", "update", "w", *words)
    assert service.calls[1] == ("update_runner", {"runner": {"id": "w", **kept}, "at_once": 1})


def test_a_dry_run_shows_the_fields_that_would_change(service: Service) -> None:
    changes: list[tuple[object, ...]] = [
        ("env", {}, {"A": "1"}, "restart"),
        ("watchdog_s", None, 3.5, "restart"),
        ("queue", "p", "q", "live"),
    ]
    answer = plan("restart", *changes)
    service.answers |= {"get_runner": PRESENT, "plan_runner": answer}
    result = service.herosup("runner", "update", "w", "--env", "A=1", "--dry-run")
    assert result.stdout.splitlines() == [
        "w: restart",
        "FIELD       BEFORE  AFTER       EFFECT",
        'env         {}      {"A": "1"}  restart',
        "watchdog_s  -       3.5         restart",
        "queue       p       q           live",
    ]
    as_json = service.herosup("runner", "update", "w", "--env", "A=1", "--dry-run", "--json")
    assert json.loads(as_json.stdout) == answer


def test_a_dry_run_of_an_update_adds_nothing(service: Service) -> None:
    service.answers["plan_runner"] = plan("add")
    result = service.herosup("runner", "update", "--file", "-", "--dry-run", stdin='{"id": "w"}')
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == "error: cannot update runner 'w': there is none\nhint: herosup runner add\n"


def test_a_runner_is_scaled(service: Service) -> None:
    service.answers["scale_runner"] = runner_status("w")
    assert service.herosup("runner", "scale", "w", "0").stdout == "w: running\n"
    assert service.calls == [("scale_runner", {"runner": "w", "instances": 0})]


DECLARED = '[[runners]]\nid = "w"\n[[runners]]\nid = "v"\n'


@pytest.mark.parametrize("text", [DECLARED, '{"runners": [{"id": "w"}, {"id": "v"}]}'])
def test_a_set_is_applied_and_its_outcomes_shown(service: Service, text: str) -> None:
    service.answers["apply_runners"] = operation(outcome("w"), outcome("v", None), verb="apply")
    result = service.herosup("runner", "apply", "-f", "-", stdin=text)
    assert (result.exit_code, result.stdout) == (0, "w: running\nv: removed\n")
    params = {"runners": [{"id": "w"}, {"id": "v"}], "prune": False, "wait": False}
    assert service.calls == [("apply_runners", params)]


def test_a_dry_run_shows_what_applying_a_set_would_do(service: Service) -> None:
    service.answers["plan_runners"] = [plan("change", ("queue", None, "q", "live")), plan("remove", id="v")]
    result = service.herosup("runner", "apply", "-f", "-", "--prune", "--dry-run", stdin=DECLARED)
    assert result.stdout.splitlines() == [
        "w: change",
        "FIELD  BEFORE  AFTER  EFFECT",
        "queue  -       q      live",
        "v: remove",
    ]
    assert service.calls == [("plan_runners", {"runners": [{"id": "w"}, {"id": "v"}], "prune": True})]


@pytest.mark.parametrize("text", ["", "[[runner]]", "[1]", "{}", "= 1"])
def test_a_file_that_declares_nothing_is_wrong_usage(service: Service, text: str) -> None:
    result = service.herosup("runner", "apply", "-f", "-", "--prune", stdin=text)
    assert (result.exit_code, service.calls) == (2, [])


UNIT = {
    "name": "hero-runner-w.service",
    "properties": [],
    "command_line": "systemd-run --unit=w '--property=A=b c' -- /bin/sh -c 'a; -- b'",
    "unsayable": ["AddRef"],
    "left_out": ["X", "Y\x1b"],
}


def test_a_unit_is_rendered_as_a_command_that_a_shell_takes(service: Service) -> None:
    service.answers |= {"get_runner": PRESENT, "render_runner": UNIT}
    result = service.herosup("runner", "render", "w", "--instance", "2")
    assert result.stdout.splitlines() == [
        "systemd-run \\",
        "    --unit=w \\",
        "    '--property=A=b c' \\",
        "    -- /bin/sh -c 'a; -- b'",
    ]
    assert shlex.split(result.stdout.replace("\\\n", "")) == shlex.split(str(UNIT["command_line"]))
    assert result.stderr == "note: the line cannot say AddRef\nnote: this systemd does not know X, Y\\x1b\n"
    assert service.calls[1] == ("render_runner", {"runner": PRESENT, "instance": 2})


def test_a_unit_is_rendered_of_a_file_and_shown_as_json(service: Service) -> None:
    service.answers["render_runner"] = UNIT
    result = service.herosup("runner", "render", "--file", "-", "--json", stdin='{"id": "w"}')
    assert (json.loads(result.stdout), result.stderr) == (UNIT, "")
    assert service.calls == [("render_runner", {"runner": {"id": "w"}, "instance": 1})]


@pytest.mark.parametrize("words", [["add", "w", "--start", "--", "x"], ["update", "w"], ["scale", "w", "3"]])
def test_a_change_may_take_longer_than_other_answers(service: Service, words: list[str]) -> None:
    def change(_: object) -> dict[str, object]:
        time.sleep(0.3)
        return runner_status("w")

    service.answers |= {"get_runner": PRESENT, "add_runner": PRESENT}
    service.answers |= dict.fromkeys(("start_runner", "update_runner", "scale_runner"), change)
    assert service.herosup("--timeout", "0.2", "runner", *words).exit_code == 0
