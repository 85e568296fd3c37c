"""A runner into its unit: every field ends up in the right property."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from hero_supervisor.definition.restart import Backoff, RestartPolicy
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.runner import Executor, Milestone, Readiness, Runner
from hero_supervisor.unit import Capabilities, Site, render

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
        "HERO_UNIT=hero-runner-a.service",
        "HERO_CONCURRENCY=1",
    ]


def test_an_executor_runs_the_bundled_runner_with_our_own_interpreter() -> None:
    commands: Any = _properties(command=(), executor=Executor.SHELL)["ExecStartEx"]
    ((program, words, _),) = commands
    assert program == sys.executable
    assert words == [sys.executable, "-P", "-m", "hero_supervisor.worker", "a", "--executor", "shell"]


def test_what_an_older_systemd_does_not_know_is_left_out_and_told() -> None:
    runner = Runner(id="a", command=("/bin/true",), sandbox=Sandbox.STRICT)
    old = render(runner, SITE, queue="q", capabilities=Capabilities(version=252))
    new = render(runner, SITE, queue="q", capabilities=Capabilities(version=257))
    assert old.left_out == ("ProtectControlGroupsEx",)
    assert "ProtectControlGroupsEx" not in {prop.name for prop in old.properties}
    assert new.left_out == ()
    assert "ProtectControlGroupsEx" in {prop.name for prop in new.properties}


def test_a_burst_of_the_callers_takes_the_place_of_the_runners() -> None:
    runner = Runner(id="a", command=("/bin/true",))
    values = {prop.name: prop.value for prop in render(runner, SITE, queue="q", burst=1).properties}
    assert values["StartLimitBurst"] == 1


def test_what_only_the_supervisor_acts_on_is_in_no_property() -> None:
    fields: dict[str, Any] = {
        "labels": {"a": "b"},
        "autostart": True,
        "instances": 3,
        "after": {"b": Milestone.READY},
        "reload_signal": "SIGHUP",
        "max_age_s": 60.0,
        "max_age_jitter_s": 5.0,
        "restart_calendar": "daily",
        "backoff": Backoff(delay_s=2, max_delay_s=9, factor=3, jitter=0, give_up_after=5),
    }
    assert _properties(**fields) == _properties()


def test_instances_are_found_back_by_their_names() -> None:
    assert (SITE.unit_name("a"), SITE.unit_name("a", 12)) == ("hero-runner-a.service", "hero-runner-a@12.service")
    for middle, instance in {"": 1, "@12": 12, "@x": 0}.items():
        name = f"hero-runner-a{middle}.service"
        assert (SITE.runner_id(name), SITE.instance(name)) == ("a", instance)


def test_a_trusted_runner_has_no_property_of_a_sandbox() -> None:
    assert not {"DynamicUser", "NoNewPrivileges", "StateDirectory"} & _properties(sandbox=Sandbox.TRUSTED).keys()


@pytest.mark.parametrize(
    ("fields", "is_user", "has_one"), [({}, False, True), ({"user": "joe"}, False, False), ({}, True, False)]
)
def test_a_dynamic_user_is_made_by_the_system_manager_unless_one_is_named(
    fields: dict[str, Any], *, is_user: bool, has_one: bool
) -> None:
    runner = Runner(**{"id": "a", "command": ("/bin/true",), **fields})
    unit = render(runner, SITE, queue="q", capabilities=Capabilities(is_user=is_user))
    assert ("DynamicUser" in {prop.name for prop in unit.properties}) is has_one


@pytest.mark.parametrize(
    ("sandbox", "bound"),
    [
        (Sandbox.TRUSTED, []),
        (Sandbox.DEFAULT, ["/tmp/hero/package"]),
        (Sandbox.STRICT, ["/home/joe/venv", "/tmp/hero/package"]),
    ],
)
def test_the_bundled_runner_is_mounted_where_its_sandbox_hides_it(
    sandbox: Sandbox, bound: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ("/home/joe/venv", "/usr", "/tmp/hero/package")
    monkeypatch.setattr("hero_supervisor.unit.sandbox.executor_paths", lambda: paths)
    found: Any = _properties(command=(), executor=Executor.SHELL, sandbox=sandbox).get("BindReadOnlyPaths", [])
    assert [mount[:3] for mount in found] == [[path, path, False] for path in bound]
