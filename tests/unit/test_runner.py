"""Runner definitions: what is accepted, in which forms, and how faults are told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hero_supervisor.definition.environment import MAX_COMMAND_BYTES
from hero_supervisor.definition.limits import Limits, LogRate
from hero_supervisor.definition.restart import Backoff
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


#: For every field a value that is wrong, and the path under which that is told.
WRONG: list[tuple[str, Any, str]] = [
    ("id", "a/b", "id"),
    ("command", ["x/y"], "command[0]"),
    ("executor", "perl", "executor"),
    ("command", ["/bin/x", "\ufffe"], "command[1]"),
    ("env", {"A=B": "x"}, "env.A=B"),
    ("env", {"A": "\ufdd0"}, "env.A"),
    ("description", "\U0010ffff", "description"),
    ("allow_secret_env", ["NOT_THERE"], "allow_secret_env[0]"),
    ("credentials", {"a:b": "/x"}, "credentials.a:b"),
    ("credentials", {"key": "x"}, "credentials.key"),
    ("credentials", {"key": "/x\ny"}, "credentials.key"),
    ("credentials", {str(number): "/x" for number in range(65)}, "credentials"),
    ("working_directory", "x", "working_directory"),
    ("user", "a\nb", "user"),
    ("group", 5, "group"),
    ("description", "x" * 201, "description"),
    ("labels", {"-a": "x"}, "labels.-a"),
    ("labels", {"a": "x y"}, "labels.a"),
    ("labels", {"a" * 64: "x"}, "labels." + "a" * 64),
    ("labels", {str(number): "x" for number in range(65)}, "labels"),
    ("autostart", "yes", "autostart"),
    ("external", "yes", "external"),
    ("instances", -1, "instances"),
    ("instances", 65, "instances"),
    ("queue", "", "queue"),
    ("protocol", "guess", "protocol"),
    ("concurrency", 0, "concurrency"),
    ("concurrency", 1001, "concurrency"),
    ("demand", {"min_instances": 2}, "demand.min_instances"),
    ("demand", {"max_instances": 65}, "demand.max_instances"),
    ("demand", {"jobs_per_instance": 0}, "demand.jobs_per_instance"),
    ("idle_ping", {"after_s": 0}, "idle_ping.after_s"),
    ("idle_ping", {"timeout_s": 3601}, "idle_ping.timeout_s"),
    ("readiness", "soon", "readiness"),
    ("readiness_probe", {"tcp": {"port": 0}}, "readiness_probe.tcp.port"),
    ("liveness_probe", {"http": {"port": 80, "path": 5}}, "liveness_probe.http.path"),
    ("after", {"B": "ready"}, "after.B"),
    ("after", {"b": "later"}, "after.b"),
    ("after", {"a": "ready"}, "after.a"),
    ("restart", "sometimes", "restart"),
    ("restart_delay_s", 86_401, "restart_delay_s"),
    ("backoff", 5, "backoff"),
    ("backoff.fast_retries", 101, "backoff.fast_retries"),
    ("backoff.delay_s", 0, "backoff.delay_s"),
    ("backoff.delay_s", 301, "backoff.delay_s"),
    ("backoff.max_delay_s", "long", "backoff.max_delay_s"),
    ("backoff.factor", 0.5, "backoff.factor"),
    ("backoff.jitter", 1.1, "backoff.jitter"),
    ("backoff.give_up_after", 0, "backoff.give_up_after"),
    ("backoff.stable_after_s", 0.5, "backoff.stable_after_s"),
    ("backoff.fast", 1, "backoff.fast"),
    ("start_timeout_s", 0, "start_timeout_s"),
    ("stop_timeout_s", -1, "stop_timeout_s"),
    ("stop_signal", "SIGKILL", "stop_signal"),
    ("stop_signal", 15, "stop_signal"),
    ("reload_signal", "SIGTERM", "reload_signal"),
    ("reload_command", ["x/y"], "reload_command[0]"),
    ("reload_command", ["/bin/true", "a\0"], "reload_command[1]"),
    ("watchdog_s", 0, "watchdog_s"),
    ("drain_signal", "SIGKILL", "drain_signal"),
    ("max_age_s", 0, "max_age_s"),
    ("readiness_probe", {"tcp": {"port": 0}}, "readiness_probe.tcp.port"),
    ("liveness_probe", {"tcp": {"port": 1}, "timeout_s": 0}, "liveness_probe.timeout_s"),
    ("max_age_jitter_s", 5, "max_age_jitter_s"),
    ("restart_calendar", "daily; reboot", "restart_calendar"),
    ("restart_calendar", "x" * 201, "restart_calendar"),
    ("limits.memory_high_bytes", "512Q", "limits.memory_high_bytes"),
    ("limits.memory_max_bytes", "1K", "limits.memory_max_bytes"),
    ("limits.memory_max_bytes", 1.5, "limits.memory_max_bytes"),
    ("limits.memory_swap_max_bytes", -1, "limits.memory_swap_max_bytes"),
    ("limits.cpu_quota_percent", 0, "limits.cpu_quota_percent"),
    ("limits.cpu_weight", 10_001, "limits.cpu_weight"),
    ("limits.io_weight", 0, "limits.io_weight"),
    ("limits.tasks_max", 0, "limits.tasks_max"),
    ("limits.open_files", 1, "limits.open_files"),
    ("oom_policy", "ignore", "oom_policy"),
    ("sandbox", "none", "sandbox"),
    ("log_rate.burst", 0, "log_rate.burst"),
    ("log_rate.interval_s", 0, "log_rate.interval_s"),
    ("extra_properties", {"ExecStartPre": ["/bin/sh"]}, "extra_properties.ExecStartPre"),
    ("extra_properties", {"Nice": 20}, "extra_properties.Nice"),
    ("extra_properties", {"Nice": True}, "extra_properties.Nice"),
    ("extra_properties", {"Nice": {}}, "extra_properties.Nice"),
    ("extra_properties", {"PrivateNetwork": 1}, "extra_properties.PrivateNetwork"),
    ("extra_properties", {"BindReadOnlyPaths": ["/x", "/a'b"]}, "extra_properties.BindReadOnlyPaths[1]"),
    ("extra_properties", {"ReadOnlyPaths": "/x"}, "extra_properties.ReadOnlyPaths"),
    ("extra_properties", {"ReadOnlyPaths": ["/x", "-/y"]}, "extra_properties.ReadOnlyPaths[1]"),
    ("extra_properties", {"ReadOnlyPaths": ["/x"] * 65}, "extra_properties.ReadOnlyPaths"),
]


@pytest.mark.parametrize(("field", "value", "path"), WRONG)
def test_a_wrong_value_is_told_with_the_path_of_its_field(field: str, value: Any, path: str) -> None:
    outer, _, inner = field.partition(".")
    assert _paths(_with(**{outer: {inner: value} if inner else value})) == [path]


def test_every_field_has_a_wrong_value_above() -> None:
    names = set()
    for struct, prefix in ((Runner, ""), (Backoff, "backoff."), (Limits, "limits."), (LogRate, "log_rate.")):
        names |= {prefix + field.name for field in msgspec.structs.fields(struct)}
    assert names - {"limits", "log_rate"} <= {field for field, *_ in WRONG}


def test_faults_of_several_parts_are_told_together() -> None:
    wrong = {"memory_max_bytes": "x", "tasks_max": 0}
    paths = ["backoff.jitter", "limits.memory_max_bytes", "limits.tasks_max"]
    assert _paths(_with(limits=wrong, backoff={"jitter": 2})) == paths


def test_limits_that_contradict_each_other_are_refused() -> None:
    assert _paths(_with(limits={"memory_high_bytes": "2M", "memory_max_bytes": "1M"})) == ["limits.memory_high_bytes"]
    assert _paths(_with(reload_command=["/bin/true"], reload_signal="SIGHUP")) == ["reload_command"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1048576", 1 << 20), ("64K", 1 << 16), ("3M", 3 << 20), ("2G", 2 << 30), ("1T", 1 << 40)],
)
def test_a_size_may_be_a_text(text: str, size: int) -> None:
    runner = Runner.from_data(_with(limits={"memory_swap_max_bytes": text}))
    assert runner.limits.memory_swap_max_bytes == size
    assert Runner.from_data(msgspec.to_builtins(runner)) == runner


@pytest.mark.parametrize(
    "text", ["", "M", "-1M", "1.5G", "1 G", "1m", "1MB", "0x10", "\uff19", "1\n", "infinity", "9" * 30]
)
def test_a_text_that_is_no_size_is_refused(text: str) -> None:
    assert _paths(_with(limits={"memory_swap_max_bytes": text})) == ["limits.memory_swap_max_bytes"]


@pytest.mark.parametrize(
    "name",
    [
        *("PASSWORD", "db_password", "GITHUB_TOKEN", "token", "APP_SECRET", "SECRET_KEY_BASE", "API_KEY", "TOKEN_A"),
        *("OPENAI_API_KEY", "SSH_PRIVATE_KEY", "AWS_SECRET_ACCESS_KEY", "Passphrase", "APIKEY"),
    ],
)
def test_a_variable_that_looks_like_a_secret_is_refused_unless_it_is_named(name: str) -> None:
    assert _paths(_with(env={name: "x"})) == [f"env.{name}"]
    assert Runner.from_data(_with(env={name: "x"}, allow_secret_env=[name])).env == {name: "x"}


@pytest.mark.parametrize(
    "name",
    ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "SECRETARY", "KEY", "API_KEY_FILE", "PASSWORD_PATH", "PRIVATE", "HOME"],
)
def test_a_variable_that_only_resembles_a_secret_is_accepted(name: str) -> None:
    assert Runner.from_data(_with(env={name: "x"})).env == {name: "x"}


def test_the_hint_for_a_secret_names_both_ways_out() -> None:
    with pytest.raises(InvalidRunner, match=r"credentials.*allow_secret_env"):
        Runner.from_data(_with(env={"API_KEY": "x"}))


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


def test_a_password_in_the_originals_redis_url_is_accepted_as_it_always_was() -> None:
    url = "redis://:s3cret@localhost:6379"
    runner = Runner.from_data({"id": "osis", "binary_path": "/usr/bin/actor", "redis_url": url})
    assert runner.command == ("/usr/bin/actor", "osis", "--redis-url", url)


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
