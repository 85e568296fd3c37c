"""Jobs and hash fields, both ways; the hostile contents are in the integration tests of the client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hero_supervisor.errors import CorruptRecord, InvalidInput, InvalidJob
from hero_supervisor.job import MAX_RESULT_BYTES, CrashPolicy, Job, JobStatus, PrerequisitePolicy
from hero_supervisor.queue import records
from hero_supervisor.queue.keys import Keys

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
names = texts.filter(lambda name: bool(name) and "=" not in name)


def raw_of(job: Job) -> list[bytes | int | None]:
    fields = records.to_fields(job)
    return [fields[name].encode() if name in fields else None for name in records.JOB_FIELDS]


@given(
    payload=texts,
    caller_id=texts,
    env_vars=st.dictionaries(names, texts, max_size=5),
    signatures=st.lists(st.dictionaries(texts, texts, max_size=2), max_size=2),
    timeout=st.integers(1, 604_800),
    created_at=st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_any_valid_job_survives_being_stored(**fields: Any) -> None:
    job = Job(**fields)
    assert records.job_from(job.id, raw_of(job)) == job


@given(
    priority=st.integers(0, 9),
    delay_s=st.one_of(st.integers(0, 10**6).map(float), st.floats(0, 10**6)),
    prerequisites=st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,5}", fullmatch=True), max_size=3).map(tuple),
    on_prerequisite_failure=st.sampled_from(PrerequisitePolicy),
    max_retries=st.integers(0, 1000),
    retry_delay_s=st.floats(0, 86_400),
    on_crash=st.sampled_from(CrashPolicy),
    max_crashes=st.integers(0, 1000),
    soft_timeout=st.none() | st.integers(1, 299),
    idempotency_key=st.none() | texts.filter(bool),
    result_ttl_s=st.none() | st.integers(1, 1000),
    labels=st.dictionaries(st.sampled_from(["a", "b.c/d"]), st.sampled_from(["", "x", "1.0"]), max_size=2),
    group=texts,
)
def test_any_options_survive_being_stored(**fields: Any) -> None:
    job = Job(payload="x", **fields)
    try:
        job = job.checked()
    except InvalidJob:
        assume(False)
    assert records.job_from(job.id, raw_of(job)) == job


def test_options_that_are_as_usual_are_not_stored() -> None:
    assert not records.to_fields(Job(payload="x")).keys() & {"priority", "delay_s", "labels", "group", "on_crash"}


def test_times_are_written_in_utc() -> None:
    moment = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert records.to_text(moment) == "2025-12-31T23:30:00Z"


def test_the_digest_tells_jobs_apart_by_everything_but_their_times() -> None:
    job = Job(id="a", payload="x", env_vars={"A": "1", "B": "2"})
    again = Job(id="a", payload="x", env_vars={"B": "2", "A": "1"}, created_at=records.UNKNOWN_TIME)
    others = [
        Job(id="a", payload="y", env_vars=job.env_vars),
        Job(id="a", payload="x", env_vars={"A": "1"}),
        Job(id="a", payload="x", env_vars=job.env_vars, runner="r"),
        Job(id="a", payload="x", env_vars=job.env_vars, signatures=[{}]),
    ]
    assert records.digest_of(job) == records.digest_of(again)
    assert len({records.digest_of(other) for other in [job, *others]}) == 5


def test_signatures_that_could_not_be_read_back_are_not_written() -> None:
    with pytest.raises(InvalidJob, match="signatures"):
        records.to_fields(Job(payload="x", signatures=[{"signature": "x" * records.MAX_SIGNATURES_BYTES}]))


@pytest.mark.parametrize(
    ("values", "status", "result", "error", "reason"),
    [
        ([None, None, None, None, None], JobStatus.DISPATCHED, None, None, ""),
        ([b"", b"", b"", b"", b""], JobStatus.DISPATCHED, None, None, ""),
        ([b"started", b"early", None, None, None], JobStatus.STARTED, None, None, ""),
        ([b"scheduled", None, None, b"the last time", b"failed"], JobStatus.SCHEDULED, None, None, "failed"),
        ([b"finished", b"", b"r", None, b""], JobStatus.FINISHED, "", None, ""),
        ([b"finished", None, b"r", b"e", None], JobStatus.FINISHED, "r", None, ""),
        ([b"finished", None, None, None, None], JobStatus.FINISHED, None, None, ""),
        ([b"error", b"o", b"r", b"e", b"timeout"], JobStatus.ERROR, None, "e", "timeout"),
        ([b"error", None, None, None, None], JobStatus.ERROR, None, None, ""),
        ([b"cancelled", None, None, b"e", b"prerequisite"], JobStatus.CANCELLED, None, "e", "prerequisite"),
    ],
)
def test_a_result_is_shown_by_its_status(
    values: list[bytes | int | None], status: JobStatus, result: str | None, error: str | None, reason: str
) -> None:
    found = records.result_from("a", values)
    assert (found.status, found.result, found.error, found.reason) == (status, result, error, reason)


def test_a_value_that_was_too_long_to_fetch_is_told_by_its_length() -> None:
    with pytest.raises(CorruptRecord, match="'a': its output has 9999999 bytes") as caught:
        records.result_from("a", [b"finished", 9_999_999, None, None, None])
    assert caught.value.facts == {"job_id": "a", "field": "output"}


STATE: dict[str, bytes | int | None] = dict.fromkeys(records.STATE_FIELDS)


def test_a_state_is_made_from_the_fields_of_the_life_of_a_job() -> None:
    values = STATE | {"status": b"scheduled", "runner": b"r", "attempt": b"2", "failures": b"1", "reason": b"failed"}
    values |= {"error": b"boom", "progress": b'{"done": 3}', "due": b"1700000000123"}
    state = records.state_from("a", list(values.values()))
    assert (state.status, state.runner, state.attempt, state.failures, state.crashes) == ("scheduled", "r", 2, 1, 0)
    assert (state.reason, state.error, state.progress, state.holder) == ("failed", "boom", {"done": 3}, "")
    assert state.due_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    assert (state.queued_at, state.started_at, state.ended_at) == (None, None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", b"dreaming"),
        ("attempt", b"-1"),
        ("failures", b"1.5"),
        ("crashes", b"x" * 10),
        ("progress", b"{"),
        ("progress", 10**9),
        ("holder", b"\xff"),
        ("due", b"soon"),
        ("due", b"9" * 15),
        ("started_at", b"9" * 16),
    ],
)
def test_a_state_of_a_hostile_writer_is_refused_by_field(field: str, value: bytes | int) -> None:
    with pytest.raises(CorruptRecord, match=f"'a': its {field}"):
        records.state_from("a", list((STATE | {field: value}).values()))


@pytest.mark.parametrize("text", ["x" * (MAX_RESULT_BYTES + 1), "\ud800"])
def test_a_text_that_could_not_be_read_back_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="result"):
        records.check_result(text)


INDEXED_AT = datetime(2026, 1, 1, tzinfo=UTC)
SUMMARY: dict[str, bytes | int | None] = dict.fromkeys(records.SUMMARY_FIELDS)


def test_a_summary_takes_the_time_of_the_index_when_the_job_has_none() -> None:
    values = SUMMARY | {"status": b"created", "labels": b'{"a": "1"}'}
    summary = records.summary_from("a", list(values.values()), indexed_at=INDEXED_AT)
    assert (summary.status, summary.created_at, summary.updated_at) == (JobStatus.CREATED, INDEXED_AT, None)
    assert (summary.labels, summary.fault) == ({"a": "1"}, None)


@pytest.mark.parametrize("labels", [b"{", b"[1]", b'{"a": 1}', 9_999_999, b"\xff"])
def test_a_summary_that_cannot_be_made_has_a_fault(labels: bytes | int) -> None:
    summary = records.summary_from("a", list((SUMMARY | {"labels": labels}).values()), indexed_at=INDEXED_AT)
    assert "'a': its labels" in (summary.fault or "")
    assert (summary.id, summary.status, summary.created_at) == ("a", None, INDEXED_AT)


def test_keys_keep_the_originals_names() -> None:
    keys = Keys("hero")
    assert keys.job("a") == "hero:job:a"
    assert keys.work_queue("r") == "hero:q:work:type:r"
    assert keys.reply_queue("a") == "hero:q:reply:a"
    assert keys.queue("r", "pending") == "hero:q:{r}:pending"
    assert keys.settings("r") == "hero:q:{r}:settings"
    assert keys.job_id(b"hero:job:a:b") == "a:b"
    assert keys.job_id(b"hero:job:\xff") == "\ufffd"
