"""The file of exit records: bounded, repaired after a crash, never in anybody's way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from hero_supervisor.exits.store import ExitStore
from hero_supervisor.records import ExitReason, ExitRecord

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def exit_(number: int, runner: str = "a", *, instance: int = 1, tail: tuple[str, ...] = ()) -> ExitRecord:
    return ExitRecord(
        runner=runner,
        instance=instance,
        unit=f"hero-runner-{runner}.service",
        invocation_id=f"{runner}{number}",
        reason=ExitReason.EXIT,
        explanation="its program ended",
        result="exit-code",
        exit_code=3,
        signal=None,
        started_at=NOON,
        ended_at=NOON + timedelta(seconds=number),
        duration_s=float(number),
        memory_peak_bytes=None,
        cpu_s=None,
        will_restart=True,
        log_tail=tail,
        cursor=f"s={number}",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exits.jsonl"


def opened(path: Path, **options: int) -> ExitStore:
    store = ExitStore(path, **options)
    store.open()
    return store


async def filled(path: Path, count: int, **options: int) -> ExitStore:
    store = opened(path, **options)
    for number in range(count):
        await store.add([exit_(number)], position=f"s={number}")
    return store


async def test_what_was_stored_is_there_for_the_next(path: Path) -> None:
    store = await filled(path, 3)
    await store.expect("a9", ExitReason.MAX_AGE)
    again = opened(path)
    assert again.exits("a") == [exit_(2), exit_(1), exit_(0)] == store.exits("a")
    assert again.position == "s=2"
    assert again.expected("a9") is ExitReason.MAX_AGE
    assert again.expected("a8") is None
    assert path.stat().st_mode & 0o777 == 0o600


async def test_records_are_picked_by_runner_and_instance_and_number(path: Path) -> None:
    store = opened(path)
    await store.add([exit_(1), exit_(2, instance=2), exit_(3, "b"), exit_(4)], position=None)
    assert [record.invocation_id for record in store.exits("a")] == ["a4", "a2", "a1"]
    assert [record.invocation_id for record in store.exits("a", instance=2)] == ["a2"]
    assert [record.invocation_id for record in store.exits("a", limit=1)] == ["a4"]
    assert store.exits("c") == []


async def test_a_run_has_one_record_and_the_last_word_counts(path: Path) -> None:
    store = opened(path)
    final = replace(exit_(1), reason=ExitReason.START_LIMIT, will_restart=False)
    for record in (exit_(1), exit_(1), final, final):
        await store.add([record], position="s=1")
    assert store.exits("a") == [final] == opened(path).exits("a")
    assert path.read_text().count('"exit":') == 2


async def test_nothing_new_writes_nothing(path: Path) -> None:
    store = await filled(path, 1)
    before = path.read_bytes()
    await store.add([exit_(0)], position="s=0")
    await store.add([], position=None)
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [1, 20, 150])
async def test_a_torn_last_line_is_cut_off(path: Path, keep: int) -> None:
    await filled(path, 2)
    whole = path.read_bytes()
    await (await filled(path, 0)).add([exit_(2)], position="s=2")
    path.write_bytes(path.read_bytes()[: len(whole) + keep])
    store = opened(path)
    assert store.exits("a") == [exit_(1), exit_(0)]
    assert store.position == "s=1"
    await store.add([exit_(2)], position="s=2")
    assert opened(path).exits("a") == [exit_(2), exit_(1), exit_(0)]
    assert not path.with_suffix(".damaged").exists()


@pytest.mark.parametrize(
    "damage", [b"{}\n", b"\0\0\0\n", b"\xff\n", b'{"type":"later"}\n', b'{"type":"exit","exit":{}}\n']
)
async def test_a_damaged_file_is_moved_aside_and_what_can_be_read_is_kept(
    path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(path, 2)
    path.write_bytes(damaged := damage + path.read_bytes())
    store = opened(path)
    assert store.exits("a") == [exit_(1), exit_(0)]
    assert path.with_suffix(".damaged").read_bytes() == damaged
    (warning,) = caplog.records
    assert str(path) in warning.message
    await store.add([], position=None)
    assert opened(path).exits("a") == [exit_(1), exit_(0)]
    assert len(caplog.records) == 1


async def test_a_file_that_is_no_file_does_not_keep_anybody_from_working(path: Path) -> None:
    path.mkdir()
    (path / "x").touch()
    store = opened(path)
    await store.add([exit_(1)], position="s=1")
    assert opened(path).exits("a") == [exit_(1)]


async def test_a_file_that_is_far_too_long_is_not_read(path: Path) -> None:
    path.write_bytes(b"{}\n" * 5_000)
    assert opened(path, max_bytes=1_000).exits("a") == []
    assert path.with_suffix(".damaged").exists()


async def test_what_cannot_be_written_is_kept_and_written_later(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await filled(path, 1)
    full = OSError(28, "No space left on device")

    def fail(*_: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(store, "_append", fail)
        patch.setattr(store, "_replace", fail)
        await store.add([exit_(1)], position="s=1")
        await store.add([exit_(2)], position="s=2")
    assert len(store.exits("a")) == 3
    assert len(caplog.records) == 1
    await store.add([exit_(3)], position="s=3")
    assert opened(path).exits("a") == [exit_(number) for number in (3, 2, 1, 0)]


async def test_each_runner_keeps_its_newest_records(path: Path) -> None:
    store = await filled(path, 500, max_per_runner=10)
    await store.add([exit_(1, "quiet")], position=None)
    for each in (store, opened(path, max_per_runner=10)):
        assert [record.duration_s for record in each.exits("a", limit=100)] == list(range(499, 489, -1))
        assert len(each.exits("quiet")) == 1
    assert len(path.read_text().splitlines()) < 200


async def test_old_records_that_are_found_again_do_not_push_out_newer_ones(path: Path) -> None:
    store = await filled(path, 0, max_per_runner=3)
    await store.add([exit_(number) for number in (7, 8, 9)], position=None)
    await store.add([exit_(number) for number in range(7)], position=None)
    assert [record.duration_s for record in store.exits("a")] == [9, 8, 7]


async def test_the_file_has_a_greatest_size_and_a_quiet_runner_its_last_record(path: Path) -> None:
    store = opened(path, max_bytes=20_000)
    await store.add([exit_(1, "quiet")], position=None)
    for number in range(200):
        await store.add([exit_(number, tail=("x" * 400,))], position=f"s={number}")
        assert path.stat().st_size < 60_000
    again = opened(path, max_bytes=20_000)
    assert len(again.exits("quiet")) == 1
    assert again.exits("a")[0] == store.exits("a")[0]
    assert again.position == "s=199"


async def test_causes_have_a_greatest_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hero_supervisor.exits.store.MAX_EXPECTED", 5)
    store = opened(path)
    for number in range(400):
        await store.expect(f"a{number}", ExitReason.REPLACED)
    assert store.expected("a399") is ExitReason.REPLACED
    assert store.expected("a0") is None
    assert len(path.read_text().splitlines()) < 250


async def test_writes_that_meet_follow_one_another(path: Path) -> None:
    store = opened(path)
    await asyncio.gather(*(store.add([exit_(number)], position=None) for number in range(50)))
    assert len(opened(path).exits("a", limit=100)) == 50
