"""Jobs as data: the original's ten fields, the builder, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from hero_supervisor.errors import InvalidJob
from hero_supervisor.job import MAX_ENV_BYTES, MAX_PAYLOAD_BYTES, Job, JobBuilder, JobStatus

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
    assert written == {**THE_ORIGINALS, "signatures": []}


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


def test_only_finished_and_error_are_final() -> None:
    assert {status for status in JobStatus if status.is_final} == {JobStatus.FINISHED, JobStatus.ERROR}
