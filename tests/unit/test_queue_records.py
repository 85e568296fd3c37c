"""Jobs and hash fields, both ways; the hostile contents are in the integration tests of the client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hero_supervisor.errors import CorruptRecord, InvalidInput, InvalidJob
from hero_supervisor.job import MAX_RESULT_BYTES, Job, JobStatus
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
    ("values", "status", "result", "error"),
    [
        ([None, None, None, None], JobStatus.DISPATCHED, None, None),
        ([b"", b"", b"", b""], JobStatus.DISPATCHED, None, None),
        ([b"started", b"early", None, None], JobStatus.STARTED, None, None),
        ([b"finished", b"", b"r", None], JobStatus.FINISHED, "", None),
        ([b"finished", None, b"r", b"e"], JobStatus.FINISHED, "r", None),
        ([b"finished", None, None, None], JobStatus.FINISHED, None, None),
        ([b"error", b"o", b"r", b"e"], JobStatus.ERROR, None, "e"),
        ([b"error", None, None, None], JobStatus.ERROR, None, None),
    ],
)
def test_a_result_is_shown_by_its_status(
    values: list[bytes | int | None], status: JobStatus, result: str | None, error: str | None
) -> None:
    found = records.result_from("a", values)
    assert (found.status, found.result, found.error) == (status, result, error)


def test_a_value_that_was_too_long_to_fetch_is_told_by_its_length() -> None:
    with pytest.raises(CorruptRecord, match="'a': its output has 9999999 bytes") as caught:
        records.result_from("a", [b"finished", 9_999_999, None, None])
    assert caught.value.facts == {"job_id": "a", "field": "output"}


@pytest.mark.parametrize("text", ["x" * (MAX_RESULT_BYTES + 1), "\ud800"])
def test_a_text_that_could_not_be_read_back_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="result"):
        records.check_result(text)


def test_a_summary_takes_the_time_of_the_index_when_the_job_has_none() -> None:
    indexed_at = datetime(2026, 1, 1, tzinfo=UTC)
    summary = records.summary_from("a", [None, None, b"created", None, None], indexed_at=indexed_at)
    assert (summary.status, summary.created_at, summary.updated_at) == (JobStatus.CREATED, indexed_at, None)


def test_keys_keep_the_originals_names() -> None:
    keys = Keys("hero")
    assert keys.job("a") == "hero:job:a"
    assert keys.work_queue("r") == "hero:q:work:type:r"
    assert keys.reply_queue("a") == "hero:q:reply:a"
    assert keys.job_id(b"hero:job:a:b") == "a:b"
    assert keys.job_id(b"hero:job:\xff") == "\ufffd"
