"""A job into its unit, and the names of such units."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from hero_supervisor.definition.limits import JobLimits, Limits
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.errors import InvalidRunner
from hero_supervisor.job import Job
from hero_supervisor.runner import Executor, JobProtocol, Runner
from hero_supervisor.unit import Capabilities, Site, executor_fault, render_job
from hero_supervisor.unit.transient import NO_LIMIT

SITE = Site("hero", Path("/var/lib/hero-supervisor/runner.env"))


def _runner(**fields: Any) -> Runner:
    return Runner(**{"id": "a", "command": ("/bin/true",), "protocol": JobProtocol.UNIT, **fields})


def _properties(runner: Runner, **job: Any) -> dict[str, Any]:
    payload, output = Path("/state/jobs/x.in"), Path("/state/jobs/x.out")
    job = {"id": "j1", "payload": "p", **job}
    unit = render_job(runner, Job(**job), SITE, attempt=2, payload=payload, output=output, capabilities=Capabilities())
    assert unit.name == "hero-job-a@j1:2.service"
    return {found.name: found.value for found in unit.properties}


HALF_A_GIB = JobLimits(memory_max_bytes=1 << 29)


@pytest.mark.parametrize(
    ("runner", "job", "name", "value"),
    [
        ({}, {}, "Description", "Hero job j1 of runner a"),
        ({}, {}, "Slice", "hero-jobs.slice"),
        ({}, {}, "Type", "simple"),
        ({}, {}, "RemainAfterExit", True),
        ({}, {}, "CollectMode", "inactive"),
        ({}, {}, "Restart", "no"),
        ({"restart": "always"}, {}, "Restart", "no"),
        ({}, {"timeout": 7}, "RuntimeMaxUSec", 7_000_000),
        ({"stop_timeout_s": 3}, {}, "TimeoutStopUSec", 3_000_000),
        ({"stop_signal": "SIGINT"}, {}, "KillSignal", 2),
        ({}, {}, "StandardInputFile", "/state/jobs/x.in"),
        ({}, {}, "StandardOutputFileToAppend", "/state/jobs/x.out"),
        ({}, {}, "StandardError", "journal"),
        ({"limits": Limits(memory_max_bytes=1 << 30)}, {}, "MemoryMax", 1 << 30),
        ({}, {}, "MemoryMax", NO_LIMIT),
        ({}, {}, "TasksMax", 1024),
        ({}, {"limits": HALF_A_GIB}, "MemoryMax", 1 << 29),
        (
            {"limits": Limits(memory_max_bytes=1 << 28)},
            {"limits": HALF_A_GIB},
            "MemoryMax",
            1 << 28,
        ),
        (
            {"limits": Limits(memory_high_bytes=1 << 30)},
            {"limits": HALF_A_GIB},
            "MemoryHigh",
            1 << 29,
        ),
        ({}, {"limits": JobLimits(tasks_max=5000)}, "TasksMax", 1024),
        ({}, {"limits": JobLimits(cpu_quota_percent=50)}, "CPUQuotaPerSecUSec", 500_000),
        ({"user": "x", "sandbox": Sandbox.TRUSTED}, {}, "User", "x"),
        ({"working_directory": "/srv"}, {}, "WorkingDirectory", "/srv"),
        ({"credentials": {"key": "/etc/key"}}, {}, "LoadCredential", [["key", "/etc/key"]]),
        ({}, {}, "DynamicUser", True),
        ({}, {}, "StateDirectory", ["hero/runners/a"]),
        ({"extra_properties": {"Nice": 5}}, {}, "Nice", 5),
        ({}, {}, "SyslogIdentifier", "a"),
        (
            *({}, {}, "LogExtraFields"),
            [b"HERO_JOB_ID=j1", b"HERO_ATTEMPT=2", b"HERO_RUNNER=a", b"HERO_NAMESPACE=hero"],
        ),
    ],
)
def test_what_runner_and_job_say_becomes_a_property(
    runner: dict[str, Any], job: dict[str, Any], name: str, value: object
) -> None:
    assert _properties(_runner(**runner), **job)[name] == value


def test_nothing_that_a_job_does_not_need_is_given_to_it() -> None:
    assert _properties(_runner()).keys().isdisjoint({"AddRef", "EnvironmentFiles", "ExecReloadEx", "WatchdogUSec"})


@pytest.mark.parametrize(
    ("runner", "job", "command"),
    [
        (
            {"command": ("/bin/cat", "$HOME", "%n", "a{payload_file}")},
            {},
            ["/bin/cat", "$HOME", "%n", "a{payload_file}"],
        ),
        ({"command": ("/bin/cat", "{payload_file}", "-")}, {}, ["/bin/cat", "/dev/stdin", "-"]),
        ({"command": ("/bin/cat",)}, {"executor": "python"}, ["/bin/cat"]),
        ({"command": (), "executor": Executor.SHELL}, {}, ["/bin/sh", "/dev/stdin"]),
        ({"command": (), "executor": Executor.PYTHON}, {"executor": "shell"}, ["/bin/sh", "/dev/stdin"]),
    ],
)
def test_the_command_is_the_runners_or_an_interpreters(
    runner: dict[str, Any], job: dict[str, Any], command: list[str]
) -> None:
    assert _properties(_runner(**runner), **job)["ExecStartEx"] == [[command[0], command, ["no-env-expand"]]]


def test_an_executor_that_there_is_not_is_told() -> None:
    runner = _runner(command=(), executor=Executor.SHELL)
    assert executor_fault(runner, Job(payload="", executor="v")).startswith("cannot execute: no executor 'v'")
    assert not executor_fault(runner, Job(payload=""))
    assert not executor_fault(_runner(), Job(payload="", executor="v"))


def test_a_jobs_variables_replace_the_runners_and_ours_replace_both() -> None:
    env_vars = {"B": "job", "C": "job", "HERO_JOB_ID": "forged"}
    found = _properties(_runner(env={"A": "runner", "B": "runner"}), env_vars=env_vars, caller_id="me")["Environment"]
    assert {"A=runner", "B=job", "C=job", "HERO_JOB_ID=j1", "HERO_ATTEMPT=2", "CALLER_ID=me"} < set(found)


def test_the_longest_name_of_a_jobs_unit_is_one_that_systemd_takes() -> None:
    site = Site("n" * 31, Path("/x"))
    name = site.job_unit_name("r" * 63, "j" * 128, 9_999_999_999)
    assert len(name) <= 255
    assert site.job_unit(name) == ("r" * 63, "j" * 128, 9_999_999_999)


@pytest.mark.parametrize(
    "name",
    [
        *("hero-job-a@j.service", "hero-job-a@:1.service", "hero-job-a:1.service", "hero-runner-a@2.service"),
        *("hero-job-a@j:01.service", "hero-job-a@j:x.service", "hero-job-a@j:1.slice", "other-job-a@j:1.service"),
        *("hero-job-a@j:\u0661.service", ""),
    ],
)
def test_a_unit_that_is_no_jobs_is_known_as_such(name: str) -> None:
    assert SITE.job_unit(name) is None


def test_the_units_of_a_runners_jobs_are_matched_and_are_in_its_log() -> None:
    name = SITE.job_unit_name("a", "j.-_1", 1)
    assert fnmatchcase(name, SITE.job_units("a"))
    assert any(fnmatchcase(name, pattern) for pattern in SITE.log_units("a"))
    assert not any(fnmatchcase(name, pattern) for other in ("b", "a-b", "j") for pattern in SITE.log_units(other))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("readiness", "notify"),
        ("readiness_probe", {"tcp": {"port": 1}}),
        ("liveness_probe", {"tcp": {"port": 1}}),
        ("watchdog_s", 1),
        ("reload_signal", "SIGHUP"),
        ("reload_command", ["/bin/true"]),
        ("drain_signal", "SIGUSR1"),
        ("max_age_s", 1),
        ("restart_calendar", "daily"),
    ],
)
def test_what_is_about_processes_that_stay_is_refused(field: str, value: object) -> None:
    definition = {"id": "a", "command": ["/bin/true"], field: value}
    assert Runner.from_data(definition)
    with pytest.raises(InvalidRunner) as caught:
        Runner.from_data({**definition, "protocol": "unit"})
    assert [fault.path for fault in caught.value.faults] == [field]
