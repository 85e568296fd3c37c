"""Runner definitions: what is accepted, in which forms, and how faults are told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hero_supervisor.environment import MAX_COMMAND_BYTES
from hero_supervisor.errors import InvalidRunner
from hero_supervisor.runner import Runner


def _paths(data: object) -> list[str]:
    with pytest.raises(InvalidRunner) as caught:
        Runner.from_data(data)
    return [fault.path for fault in caught.value.faults]


def _with(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "command": ["/bin/true"], **fields}


def test_the_shortest_definition_is_an_id_and_a_command() -> None:
    assert Runner.from_data({"id": "a", "command": ["/bin/true"]}) == Runner(id="a", command=("/bin/true",))


def test_the_bundled_runner_needs_an_executor_instead_of_a_command() -> None:
    assert Runner.from_data({"id": "a", "executor": "python"}).command == ()


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({}, ["id"]),
        ({"id": "a"}, ["command"]),
        ({"id": "a", "command": []}, ["command"]),
        (_with(executor="python"), ["command"]),
        (_with(id="A"), ["id"]),
        (_with(id="a\n"), ["id"]),
        (_with(id="-a"), ["id"]),
        (_with(id="a" * 64), ["id"]),
        (_with(id="../a"), ["id"]),
        (_with(comand=1), ["comand"]),
        (_with(command="/bin/true"), ["command"]),
        (_with(command=["/bin/true", 1]), ["command[1]"]),
        (_with(command=["./true"]), ["command[0]"]),
        (_with(command=["bin/true"]), ["command[0]"]),
        (_with(command=[".."]), ["command[0]"]),
        (_with(command=["", "x"]), ["command[0]"]),
        (_with(command=["/bin/true", "a\0b"]), ["command[1]"]),
        (_with(command=["/bin/true", "\ud800"]), ["command[1]"]),
        (_with(command=["/bin/true", "x" * MAX_COMMAND_BYTES]), ["command"]),
        (_with(env={"A": 1, "B": "x"}), ["env.A"]),
        (_with(env={"A-B": "x"}), ["env.A-B"]),
        (_with(env={"": "x"}), ["env."]),
        (_with(env={"A": "a\0b"}), ["env.A"]),
        (_with(env={"HERO_REDIS_URL": "x"}), ["env.HERO_REDIS_URL"]),
        (_with(env={"A": "x" * MAX_COMMAND_BYTES}), ["env"]),
        (_with(working_directory="tmp"), ["working_directory"]),
        (_with(description="two\nlines"), ["description"]),
        (_with(queue="q\n"), ["queue"]),
        (_with(restart="sometimes"), ["restart"]),
        (_with(restart_delay_s=-1), ["restart_delay_s"]),
        (_with(stop_timeout_s=0), ["stop_timeout_s"]),
        (_with(id="A", command=["x/y"], env={"A": 1}), ["id", "env.A"]),
        (_with(command=["x/y"], env={"A-": "x"}, working_directory="t"), ["command[0]", "env.A-", "working_directory"]),
        (5, ["$"]),
        (None, ["$"]),
    ],
)
def test_every_fault_is_told_with_its_path(data: object, paths: list[str]) -> None:
    assert _paths(data) == paths


def test_a_bare_program_name_is_accepted() -> None:
    assert Runner.from_data({"id": "a", "command": ["python3", "-V"]}).command == ("python3", "-V")


def test_the_originals_definition_becomes_a_command() -> None:
    runner = Runner.from_data(
        {
            "id": "osis",
            "name": "OSIS actor",
            "binary_path": "/usr/bin/actor",
            "db_path": "/var/lib/db",
            "redis_url": "redis://localhost:6379",
            "process_manager": "tmux:main",
        }
    )
    addresses = ("--db-path", "/var/lib/db", "--redis-url", "redis://localhost:6379")
    assert runner == Runner(id="osis", description="OSIS actor", command=("/usr/bin/actor", "osis", *addresses))


def test_faults_in_the_originals_definition_name_its_own_fields() -> None:
    assert _paths({"id": "a", "binary_path": 1, "process_manager": "docker"}) == ["binary_path", "process_manager"]


def test_a_runner_built_in_code_is_checked_like_one_that_arrives() -> None:
    with pytest.raises(InvalidRunner, match=r"command\[0\]"):
        Runner(id="a", command=("x/y",)).checked()


@given(st.lists(st.text(max_size=20), max_size=5), st.dictionaries(st.text(max_size=5), st.text(max_size=10)))
def test_a_definition_is_refused_or_comes_back_as_it_was(words: list[str], env: dict[str, str]) -> None:
    try:
        runner = Runner.from_data({"id": "a", "command": ["/bin/echo", *words], "env": env})
    except InvalidRunner:
        return
    assert runner.command == ("/bin/echo", *words)
    assert runner.env == env
    assert Runner.from_data(msgspec.json.decode(msgspec.json.encode(runner))) == runner
