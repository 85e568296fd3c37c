"""A runner into its unit: every field ends up in the right property."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from hero_supervisor.restart import RestartPolicy
from hero_supervisor.runner import Executor, Readiness, Runner
from hero_supervisor.unit import Site, render

SITE = Site("hero", Path("/var/lib/hero-supervisor/runner.env"))


def _properties(**fields: Any) -> dict[str, object]:
    runner = Runner(**{"id": "a", "command": ("/bin/true",), **fields})
    unit = render(runner, SITE, queue="hero:q:work:type:a")
    return {found.name: found.value for found in unit.properties}


def test_names_carry_the_namespace_and_are_found_back() -> None:
    assert SITE.unit_name("ocr-1") == "hero-runner-ocr-1.service"
    assert SITE.runner_id("hero-runner-ocr-1.service") == "ocr-1"
    assert SITE.slice == "hero-runners.slice"


@pytest.mark.parametrize(
    ("instance", "name"),
    [(1, "hero-runner-a.service"), (2, "hero-runner-a@2.service"), (10, "hero-runner-a@10.service")],
)
def test_instances_after_the_first_carry_their_number(instance: int, name: str) -> None:
    assert SITE.unit_name("a", instance) == name
    assert (SITE.runner_id(name), SITE.instance(name)) == ("a", instance)


@pytest.mark.parametrize(("name", "instance"), [("", 1), ("a.scope", 1), ("a@b.service", 0), ("a@-2.service", 0)])
def test_a_unit_that_is_not_ours_is_no_further_instance(name: str, instance: int) -> None:
    assert SITE.instance(name) == instance


def test_the_log_of_a_runner_is_that_of_all_its_instances_and_of_no_other_runner() -> None:
    def has(runner: str, instance: int) -> bool:
        return any(fnmatchcase(SITE.unit_name(runner, instance), pattern) for pattern in SITE.log_units("a"))

    assert all(has("a", instance) for instance in (1, 2, 10))
    assert not any(has(runner, instance) for runner in ("a-b", "ab", "b", "b-a") for instance in (1, 2))


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({}, "Description", "Hero runner a"),
        ({"description": "OCR"}, "Description", "OCR"),
        ({}, "Type", "exec"),
        ({"readiness": Readiness.NOTIFY}, "Type", "notify"),
        ({}, "Restart", "always"),
        ({"restart": RestartPolicy.NEVER}, "Restart", "no"),
        ({"restart": RestartPolicy.ON_FAILURE}, "Restart", "on-failure"),
        ({"restart_delay_s": 0.25}, "RestartUSec", 250_000),
        ({"start_timeout_s": 3}, "TimeoutStartUSec", 3_000_000),
        ({"stop_timeout_s": 4}, "TimeoutStopUSec", 4_000_000),
        ({"user": "nobody"}, "User", "nobody"),
        ({"group": "daemon"}, "Group", "daemon"),
        ({"working_directory": "/tmp"}, "WorkingDirectory", "/tmp"),
        ({}, "Slice", "hero-runners.slice"),
        ({}, "KillMode", "control-group"),
        ({}, "SyslogIdentifier", "a"),
        ({}, "LogExtraFields", [b"HERO_RUNNER=a", b"HERO_INSTANCE=1", b"HERO_NAMESPACE=hero"]),
        ({}, "EnvironmentFiles", [["/var/lib/hero-supervisor/runner.env", False]]),
    ],
)
def test_a_field_ends_up_in_its_property(fields: dict[str, Any], name: str, value: object) -> None:
    assert _properties(**fields)[name] == value


def test_what_a_runner_does_not_say_is_left_to_systemd() -> None:
    assert not {"User", "Group", "WorkingDirectory"} & _properties().keys()


def test_arguments_are_given_unexpanded() -> None:
    words = ("/bin/echo", "$HOME", "${HOME}", "$$", "%n", "%%", 'a "b"', "line\nline", "", "ü")
    assert _properties(command=words)["ExecStartEx"] == [["/bin/echo", list(words), ["no-env-expand"]]]


def test_the_supervisors_variables_join_the_runners_own() -> None:
    assert _properties(env={"A": "1 2"})["Environment"] == [
        "A=1 2",
        "HERO_RUNNER=a",
        "HERO_INSTANCE=1",
        "HERO_NAMESPACE=hero",
        "HERO_QUEUE=hero:q:work:type:a",
    ]


def test_an_executor_runs_the_bundled_runner_with_our_own_interpreter() -> None:
    commands: Any = _properties(command=(), executor=Executor.SHELL)["ExecStartEx"]
    ((program, words, _),) = commands
    assert program == sys.executable
    assert words == [sys.executable, "-P", "-m", "hero_supervisor.worker", "a", "--executor", "shell"]
