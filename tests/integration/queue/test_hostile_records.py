"""Records that others have written: little in them, or anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import CorruptRecord
from hero_supervisor.job import MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES, JobStatus
from tests.integration.queue.conftest import a_job

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hero_supervisor.client import JobClient


async def test_a_foreign_job_with_little_in_it_is_read(client: JobClient, raw: Redis) -> None:
    await raw.hset(client.keys.job("f"), mapping={"payload": "x", "env_vars": "", "timeout": ""})
    job = await client.get_job("f")
    assert (job.id, job.payload, job.env_vars, job.timeout) == ("f", "x", {}, 300)
    assert await client.get_job_status("f") is JobStatus.DISPATCHED


async def test_a_foreign_job_with_nanoseconds_and_an_offset_is_read(client: JobClient, raw: Redis) -> None:
    times: dict[Any, Any] = {"created_at": "2025-08-27T10:00:00.123456789+02:00", "updated_at": "2025-08-27T08:00:01Z"}
    await raw.hset(client.keys.job("f"), mapping={"payload": "x", "prerequisites": "[]"})
    await raw.hset(client.keys.job("f"), mapping={**times})
    assert (await client.get_job("f")).created_at.isoformat() == "2025-08-27T10:00:00.123457+02:00"


async def test_a_result_is_read_from_either_field(client: JobClient, raw: Redis) -> None:
    await raw.hset(client.keys.job("f"), mapping={"status": "finished", "result": "from result"})
    assert (await client.get_job_result("f")).result == "from result"
    await raw.hset(client.keys.job("f"), "output", "from output")
    assert (await client.get_job_result("f")).result == "from output"


HOSTILE: tuple[tuple[str, str | bytes], ...] = (
    ("payload", b"\xff\xfe"),
    ("payload", "x" * (MAX_PAYLOAD_BYTES + 1)),
    ("payload", "nul \0"),
    ("id", "another"),
    ("caller_id", "x" * 257),
    ("runner", b"\xc3"),
    ("timeout", "soon"),
    ("timeout", "-1"),
    ("timeout", "0"),
    ("timeout", "٣"),
    ("timeout", "9" * 5000),
    ("env_vars", "{"),
    ("env_vars", "[1]"),
    ("env_vars", '{"A": 1}'),
    ("env_vars", '{"A=B": "1"}'),
    ("env_vars", "[" * 100_000),
    ("env_vars", '{"A": "' + "x" * 65_536 + '"}'),
    ("created_at", "yesterday"),
    ("created_at", "2025-08-27T10:00:00"),
    ("updated_at", "2025-13-27T10:00:00Z"),
    ("signatures", "{}"),
    ("signatures", '[{"public_key": {}}]'),
)


@pytest.mark.parametrize(("field", "value"), HOSTILE)
async def test_a_hostile_job_is_refused_by_job_and_field(
    client: JobClient, raw: Redis, field: str, value: str | bytes
) -> None:
    await raw.hset(client.keys.job("evil"), mapping={"payload": "x", field: value})
    with pytest.raises(CorruptRecord, match=f"'evil': its {field}") as caught:
        await client.get_job("evil")
    assert str(caught.value.facts["field"]).startswith(field)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("status", {"status": "dreaming"}),
        ("status", {"status": b"\xff"}),
        ("status", {"status": "started" * 1000}),
        ("output", {"status": "finished", "output": b"\xff"}),
        ("output", {"status": "finished", "output": "x" * (MAX_RESULT_BYTES + 1)}),
        ("error", {"status": "error", "error": b"\xff"}),
    ],
)
async def test_a_hostile_result_is_refused_by_job_and_field(
    client: JobClient, raw: Redis, field: str, fields: dict[Any, Any]
) -> None:
    await raw.hset(client.keys.job("evil"), mapping={**fields})
    with pytest.raises(CorruptRecord, match=f"'evil': its {field}"):
        await client.get_job_result("evil")
    with pytest.raises(CorruptRecord, match=f"'evil': its {field}"):
        await client.wait_for_result("evil", timeout_s=5)


async def test_a_job_without_a_payload_or_hash_is_corrupt(client: JobClient, raw: Redis) -> None:
    await raw.hset(client.keys.job("empty"), "status", "created")
    with pytest.raises(CorruptRecord, match="payload is required"):
        await client.get_job("empty")
    await raw.set(client.keys.job("text"), "x")
    with pytest.raises(CorruptRecord, match="not a hash"):
        await client.get_job("text")
    with pytest.raises(CorruptRecord, match="WRONGTYPE"):
        await client.set_job_status("text", JobStatus.STARTED)
    await client.delete_job("text")


async def test_what_is_no_count_of_a_group_is_left_out(client: JobClient, raw: Redis) -> None:
    await client.enqueue(a_job(group="g"))
    hostile: dict[Any, Any] = {b"\xff": 1, "finished": "many", "error": "1" * 5000, "cancelled": -1}
    await raw.hset(client.keys.group("g"), mapping=hostile)
    assert await client.wait_for_group("g", timeout_s=0) == {"open": 1}
