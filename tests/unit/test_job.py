"""Jobs as data: the original's ten fields, the builder, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from hero_supervisor.errors import InvalidJob
from hero_supervisor.job import (
    MAX_AHEAD_S,
    MAX_ENV_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_PREREQUISITES,
    CrashPolicy,
    Job,
    JobStatus,
    PrerequisitePolicy,
)
from hero_supervisor.job_builder import JobBuilder

THE_ORIGINALS = {
    "id": "job-1",
    "caller_id": "alice",
    "context_id": "ctx",
    "payload": "print(1)",
    "runner": "osis-runner-1",
    "executor": "osis",
    "timeout": 300,
    "env_vars": {"A": "1"},
    "created_at": "2023-01-01T00:00:00Z",
    "updated_at": "2023-01-01T00:00:00Z",
}


def test_the_originals_job_is_read_and_written_unchanged() -> None:
    written = msgspec.to_builtins(Job.from_data(THE_ORIGINALS))
    assert {name: written[name] for name in THE_ORIGINALS} == THE_ORIGINALS
    assert Job.from_data(written) == Job.from_data(THE_ORIGINALS)


def test_only_the_payload_is_required() -> None:
    job = Job.from_data({"payload": "x"})
    assert (job.timeout, job.env_vars, job.runner) == (300, {}, "")
    assert abs((datetime.now(UTC) - job.created_at).total_seconds()) < 5


def test_ids_that_are_not_given_are_unique() -> None:
    assert Job(payload="x").id != Job(payload="x").id


def test_signatures_are_kept_as_given() -> None:
    signatures = [{"public_key": "ab", "signature": "cd", "algorithm": "ed25519"}]
    assert Job.from_data({"payload": "x", "signatures": signatures}).signatures == signatures


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"payload": 1}, ["payload"]),
        ({"payload": "x\0"}, ["payload"]),
        ({"payload": "\ud800"}, ["payload"]),
        ({"payload": "x" * (MAX_PAYLOAD_BYTES + 1)}, ["payload"]),
        ({"id": "a b"}, ["id"]),
        ({"id": "a\n"}, ["id"]),
        ({"id": ""}, ["id"]),
        ({"timeout": 0}, ["timeout"]),
        ({"timeout": 10**9}, ["timeout"]),
        ({"timeout": "5"}, ["timeout"]),
        ({"timout": 5}, ["timout"]),
        ({"env_vars": {"A": 1}}, ["env_vars.A"]),
        ({"env_vars": {"A=B": "x"}}, ["env_vars.A=B"]),
        ({"env_vars": {"A": "x\0"}}, ["env_vars.A"]),
        ({"env_vars": {"A": "x" * MAX_ENV_BYTES}}, ["env_vars"]),
        ({"created_at": "yesterday"}, ["created_at"]),
        ({"created_at": "2023-01-01T00:00:00"}, ["created_at"]),
        ({"priority": 10}, ["priority"]),
        ({"priority": -1}, ["priority"]),
        ({"priority": 5.5}, ["priority"]),
        ({"run_at": "tomorrow"}, ["run_at"]),
        ({"run_at": "2023-01-01T00:00:00"}, ["run_at"]),
        ({"run_at": "2999-01-01T00:00:00Z"}, ["run_at"]),
        ({"run_at": "2023-01-01T00:00:00Z", "delay_s": 1}, ["run_at"]),
        ({"delay_s": -0.1}, ["delay_s"]),
        ({"delay_s": MAX_AHEAD_S + 1}, ["delay_s"]),
        ({"prerequisites": ["a b"]}, ["prerequisites[0]"]),
        ({"prerequisites": [str(number) for number in range(MAX_PREREQUISITES + 1)]}, ["prerequisites"]),
        ({"id": "a", "prerequisites": ["b", "a"]}, ["prerequisites"]),
        ({"on_prerequisite_failure": "wait"}, ["on_prerequisite_failure"]),
        ({"max_retries": 1001}, ["max_retries"]),
        ({"retry_delay_s": 86_401}, ["retry_delay_s"]),
        ({"retry_max_delay_s": -1}, ["retry_max_delay_s"]),
        ({"on_crash": "ignore"}, ["on_crash"]),
        ({"max_crashes": -1}, ["max_crashes"]),
        ({"soft_timeout": 300}, ["soft_timeout"]),
        ({"soft_timeout": 0}, ["soft_timeout"]),
        ({"idempotency_key": ""}, ["idempotency_key"]),
        ({"idempotency_key": "x" * 257}, ["idempotency_key"]),
        ({"result_ttl_s": 0}, ["result_ttl_s"]),
        ({"labels": {"-a": "x"}}, ["labels.-a"]),
        ({"group": "x" * 257}, ["group"]),
        ({"group": "a\0"}, ["group"]),
    ],
)
def test_every_fault_is_told_with_its_path(fields: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(InvalidJob) as caught:
        Job.from_data({"payload": "x", **fields})
    assert [fault.path for fault in caught.value.faults] == paths


def test_the_builder_sets_every_field() -> None:
    job = (
        JobBuilder()
        .id("job-1")
        .caller_id("alice")
        .context_id("ctx")
        .payload("x")
        .runner("r")
        .executor("shell")
        .timeout(5)
        .env_var("A", "1")
        .env_vars({"B": "2"})
        .signature("key", "sig")
        .build()
    )
    assert job.env_vars == {"A": "1", "B": "2"}
    assert job.signatures == [{"public_key": "key", "signature": "sig"}]
    assert (job.id, job.caller_id, job.context_id, job.runner) == ("job-1", "alice", "ctx", "r")
    assert (job.payload, job.executor, job.timeout) == ("x", "shell", 5)


def test_the_builder_reports_all_faults_at_once() -> None:
    with pytest.raises(InvalidJob) as caught:
        JobBuilder().timeout(0).build()
    assert {fault.path for fault in caught.value.faults} == {"payload", "timeout"}


def test_the_builder_sets_every_option() -> None:
    run_at = datetime.now(UTC) + timedelta(hours=1)
    job = (
        JobBuilder()
        .payload("x")
        .priority(9)
        .run_at(run_at)
        .prerequisite("a")
        .prerequisite("b")
        .retries(2, delay_s=0.5, max_delay_s=9)
        .on_crash(CrashPolicy.DEAD, max_crashes=1)
        .soft_timeout(5)
        .idempotency_key("key")
        .result_ttl(60)
        .label("a", "1")
        .label("b", "2")
        .group("g")
        .build()
    )
    assert (job.priority, job.run_at, job.prerequisites, job.group) == (9, run_at, ("a", "b"), "g")
    assert (job.max_retries, job.retry_delay_s, job.retry_max_delay_s) == (2, 0.5, 9)
    assert (job.on_crash, job.max_crashes, job.soft_timeout) == (CrashPolicy.DEAD, 1, 5)
    assert (job.idempotency_key, job.result_ttl_s, job.labels) == ("key", 60, {"a": "1", "b": "2"})
    assert JobBuilder().payload("x").delay(1.5).build().delay_s == 1.5
    assert job.on_prerequisite_failure is PrerequisitePolicy.CANCEL


def test_only_finished_error_and_cancelled_are_final() -> None:
    final = {JobStatus.FINISHED, JobStatus.ERROR, JobStatus.CANCELLED}
    assert {status for status in JobStatus if status.is_final} == final
