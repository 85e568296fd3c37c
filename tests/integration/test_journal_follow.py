"""Following the log of units on a real journald, through one real journalctl."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.journal import JOB_FIELD, JournalSource
from hero_supervisor.journal import follower as journal_follower
from hero_supervisor.journal import subscription as journal_subscription
from hero_supervisor.log_query import LogQuery
from hero_supervisor.records import LogKind
from hero_supervisor.unit import Property, Site
from tests.journal_fixtures import entry, journalctl, needs_own_rate_limit, needs_throw_away_machine, ran, script
from tests.systemd_fixtures import IS_USER, systemctl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from hero_supervisor.records import LogRecord
    from hero_supervisor.systemd import SystemdManager
    from hero_supervisor.unit import TransientUnit
    from tests.journal_fixtures import MakeUnit

    MakeSource = Callable[..., JournalSource]

#: Writes this many lines a second, in bursts of a tenth, for some seconds: ``FLOOD RATE SECONDS``.
FLOOD = """
import sys, time
rate, seconds = int(sys.argv[1]), int(sys.argv[2])
began, count = time.monotonic(), 0
for burst in range(10 * seconds):
    sys.stdout.write("".join(f"line {count + i}\\n" for i in range(rate // 10)))
    sys.stdout.flush()
    count += rate // 10
    time.sleep(max(0, began + (burst + 1) / 10 - time.monotonic()))
print("end", flush=True)
time.sleep(0.5)
"""
#: An interval of 0 would mean that of journald.conf (systemd 252).
UNLIMITED = Property("LogRateLimitBurst", "u", 100_000_000)


def slice_of(unit_prefix: str) -> str:
    return f"{unit_prefix.replace('test', 'slice')}.slice"  # not like a unit's name: units are stopped one by one


@pytest.fixture
async def source(unit_prefix: str) -> AsyncIterator[JournalSource]:
    """A source for the units of one slice, which is gone afterwards, as is every journalctl."""
    source = JournalSource(slice_name=slice_of(unit_prefix), user=IS_USER)
    yield source
    await source.close()
    systemctl("stop", slice_of(unit_prefix))
    assert followers() == []


@pytest.fixture
def make(make_unit: MakeUnit, unit_prefix: str) -> Callable[..., TransientUnit]:
    """Make a unit in the slice that runs a shell script."""

    def make(text: str, name: str = "a", *more: Property) -> TransientUnit:
        return script(make_unit, text, name, (Property("Slice", "s", slice_of(unit_prefix)), *more))

    return make


def followers() -> list[int]:
    """Return the processes of ours that follow the journal."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if b"--follow" in _command_line(pid)]


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # it has ended since it was listed


async def started(but_not: Sequence[int] = ()) -> None:
    """Wait for the journalctl that follows; its position is known then."""
    async with asyncio.timeout(10):
        while followers() in ([], list(but_not)):  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(0.01)


class Following:
    """Takes records in a task of its own."""

    def __init__(self, source: JournalSource, unit: str, **conditions: Any) -> None:
        self.records: list[LogRecord] = []
        self._news = asyncio.Condition()
        self._query = LogQuery(units=(unit,), **conditions)
        self._task = asyncio.create_task(self._take(source))

    async def _take(self, source: JournalSource) -> None:
        async with aclosing(source.follow(self._query)) as records:
            async for record in records:
                self.records.append(record)
                async with self._news:
                    self._news.notify_all()

    async def has(self, message: str) -> None:
        """Wait until there is a message that begins like this."""
        async with asyncio.timeout(30), self._news:
            await self._news.wait_for(lambda: any(record.message.startswith(message) for record in self.records))

    @property
    def lines(self) -> list[str]:
        """What was written by the unit; systemd's messages have more words, or come at any time."""
        return [record.message for record in self.records if ".service" not in record.message]

    @property
    def kinds(self) -> list[LogKind]:
        return [record.kind for record in self.records if record.kind is not LogKind.LINE]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        assert self._task.cancelled()

    async def ended(self) -> None:
        await asyncio.wait_for(self._task, 10)


async def test_records_come_as_they_are_written_after_those_there_are(
    source: JournalSource, units: SystemdManager, make: Callable[..., TransientUnit]
) -> None:
    await ran(units, make("echo old; echo ready"))
    following = Following(source, make("").name, lines=100)
    await following.has("ready")
    assert len(followers()) == 1
    await ran(units, make("echo new"))
    await following.has("new")
    await following.has("Finished")  # systemd's
    assert following.lines == ["old", "ready", "new"]
    assert sum(record.message.startswith("Start") for record in following.records) >= 2
    assert {record.instance for record in following.records} == {1}
    await following.stop()
    assert followers() == []


async def test_following_can_begin_before_anything_was_ever_logged(
    source: JournalSource, units: SystemdManager, make: Callable[..., TransientUnit]
) -> None:
    following = Following(source, make("").name, lines=0)
    await started()
    await ran(units, make("echo first"))
    await following.has("first")
    await following.stop()


async def test_followers_share_a_process_and_get_what_each_asked_for(
    source: JournalSource, units: SystemdManager, make: Callable[..., TransientUnit], unit_prefix: str
) -> None:
    site = Site(unit_prefix, Path())
    name = site.unit_name("x")
    a, a2 = "runner-x", "runner-x@2"
    conditions: list[dict[str, Any]] = [{}, {"priority": 3}, {"grep": "TWO"}, {"job_id": "none"}]
    everything, errors_only, twos, none = (Following(source, name, lines=0, **each) for each in conditions)
    second = Following(source, site.unit_name("x", 2), lines=0)
    both = Following(source, site.log_units("x")[1].replace("@*", "*"), lines=0)
    await started()
    for unit in (a2, a):
        await ran(units, make(f"echo '<3>one {unit}'; echo two {unit}; echo end", unit))
    await asyncio.gather(*(each.has("end") for each in (everything, second, both)))
    await twos.has("two")
    await errors_only.has("one")
    assert len(followers()) == 1
    assert everything.lines == [f"one {a}", f"two {a}", "end"]
    assert second.lines == [f"one {a2}", f"two {a2}", "end"]
    assert {record.instance for record in second.records} == {2}
    assert len(both.lines) == 6
    assert (errors_only.lines, twos.lines, none.lines) == ([f"one {a}"], [f"two {a}"], [])
    for each in (everything, errors_only, twos, none, second):
        await each.stop()
        assert len(followers()) == 1
    await both.stop()
    assert followers() == []


async def test_lines_of_a_job_are_followed(
    source: JournalSource, units: SystemdManager, make_unit: MakeUnit, make: Callable[..., TransientUnit]
) -> None:
    following = Following(source, make("").name, lines=0, job_id="j2")
    await started()
    slice = make("").properties[-1]
    for job in ("j1", "j2"):
        unit = entry(make_unit, f"b'MESSAGE=of {job}\\n{JOB_FIELD}={job}\\n'")
        await ran(units, replaced(unit, slice))
    await following.has("of j2")
    assert following.lines == ["of j2"]
    await following.stop()


def replaced(unit: TransientUnit, *more: Property) -> TransientUnit:
    return type(unit)(unit.name, (*unit.properties, *more), unit.start_timeout_s, unit.stop_timeout_s)


async def test_nothing_is_lost_or_doubled_between_what_there_is_and_what_comes(
    source: JournalSource, units: SystemdManager, make_unit: MakeUnit, make: Callable[..., TransientUnit]
) -> None:
    await ran(units, make("echo begin"))
    begin = (await source.read(LogQuery(units=(make("").name,), grep="begin")))[0]
    count = 3000
    writing = asyncio.create_task(
        ran(
            units,
            make(
                f"i=0; while [ $i -lt {count} ]; do echo line $i; i=$((i+1)); "
                "case $i in *00) sleep 0.05;; esac; done; echo end",
                "a",
                UNLIMITED,
            ),
        )
    )
    those = []
    for _ in range(8):
        those.append(Following(source, make("").name, after_cursor=begin.cursor))
        those.append(Following(source, make("").name, lines=10_000))
        await asyncio.sleep(0.15)
    await writing
    expected = [*(f"line {i}" for i in range(count)), "end"]
    for following in those:
        await following.has("end")
        assert [line for line in following.lines if line != "begin"] == expected
        cursors = [record.cursor for record in following.records]
        assert len(set(cursors)) == len(cursors)
        await following.stop()


async def test_a_killed_journalctl_is_replaced_and_nothing_is_lost_or_doubled(
    source: JournalSource, units: SystemdManager, make: Callable[..., TransientUnit]
) -> None:
    following = Following(source, make("").name, lines=0)
    await started()
    writing = asyncio.create_task(ran(units, make("for i in $(seq 60); do echo line $i; sleep 0.05; done; echo end")))
    for number in (5, 20, 40):
        await following.has(f"line {number}")
        os.kill(followers()[0], signal.SIGKILL)
    await following.has("end")
    await writing
    assert following.lines == [*(f"line {i}" for i in range(1, 61)), "end"]
    assert following.kinds == []
    await following.stop()


@needs_throw_away_machine
async def test_what_was_removed_while_no_journalctl_ran_is_a_gap(
    source: JournalSource, units: SystemdManager, make: Callable[..., TransientUnit], monkeypatch: pytest.MonkeyPatch
) -> None:
    following = Following(source, make("").name, lines=0)
    await started()
    await ran(units, make("echo seen"))
    await following.has("seen")
    # The second time, the next one is not started before the file is removed.
    monkeypatch.setattr(journal_follower, "RESTART_DELAY_S", 4)
    monkeypatch.setattr(journal_follower, "SHORT_LIFE_S", 1000)
    first = followers()
    os.kill(first[0], signal.SIGKILL)
    await started(but_not=first)
    os.kill(followers()[0], signal.SIGKILL)
    await ran(units, make("echo lost"))
    await journalctl("--rotate")
    await asyncio.sleep(1.5)
    await journalctl("--vacuum-time=1s")
    await ran(units, make("echo kept"))
    await following.has("kept")
    assert following.kinds == [LogKind.GAP]
    assert [line for line in following.lines if len(line) == 4] == ["seen", "kept"]
    await following.stop()


@needs_own_rate_limit
async def test_followers_learn_of_dropped_lines_whatever_they_asked_for(
    source: JournalSource, units: SystemdManager, make: Callable[..., TransientUnit]
) -> None:
    following = Following(source, make("").name, lines=0, priority=3, grep="none")
    await started()
    limits = (Property("LogRateLimitIntervalUSec", "t", 1_000_000), Property("LogRateLimitBurst", "u", 20))
    await ran(units, make("for i in $(seq 500); do echo $i; done; sleep 1.5; echo after", "a", *limits))
    await following.has("Suppressed")
    (dropped,) = following.records
    assert dropped.kind is LogKind.DROPPED
    assert 0 < dropped.dropped < 500
    await following.stop()


@needs_own_rate_limit
async def test_a_flood_is_followed_without_loss_while_a_slow_follower_learns_what_it_missed(
    source: JournalSource, units: SystemdManager, make_unit: MakeUnit, unit_prefix: str
) -> None:
    rate, seconds = 20_000, 3
    more = (Property("Slice", "s", slice_of(unit_prefix)), UNLIMITED)
    flood = make_unit("/usr/bin/python3", "-c", FLOOD, str(rate), str(seconds), kind="oneshot", more=more)
    fast = Counting(source, flood.name)
    taking = asyncio.create_task(fast.run())
    query = LogQuery(units=(flood.name,), lines=0, grep="line")
    async with aclosing(source.follow(query)) as slow:
        first = asyncio.ensure_future(anext(slow))
        await started()
        before = resident_bytes()
        writing = asyncio.create_task(ran(units, flood))
        got = [await first]
        async with asyncio.timeout(50):
            await taking  # the fast one is not held up by one that takes nothing
            await writing
            grown = resident_bytes() - before
            while not got or got[-1].kind is not LogKind.GAP:
                got.append(await anext(slow))
    assert fast.numbers == rate * seconds
    gap = got[-1]
    assert len(got) - 1 + gap.dropped == rate * seconds
    assert len(got) - 1 <= journal_subscription.MAX_QUEUED_RECORDS + 1
    assert grown < 100 * 1024 * 1024


class Counting:
    """Takes lines that are numbered, keeps none, and makes sure that none is missing."""

    def __init__(self, source: JournalSource, unit: str) -> None:
        self.numbers = 0
        self._source = source
        self._query = LogQuery(units=(unit,), lines=0)

    async def run(self) -> None:
        async with aclosing(self._source.follow(self._query)) as records:
            async for record in records:
                assert record.kind is LogKind.LINE
                if record.message == "end":
                    return
                # A turn for each record, as for one that sends it somewhere: the reader gets many in a turn.
                await asyncio.sleep(0)
                if record.message.startswith("line "):
                    assert record.message == f"line {self.numbers}"
                    self.numbers += 1


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_closing_the_source_ends_those_who_follow(
    source: JournalSource, units: SystemdManager, make: Callable[..., TransientUnit]
) -> None:
    await ran(units, make("echo ready"))
    following = Following(source, make("").name, lines=10)
    await following.has("ready")
    await source.close()
    await following.ended()
    assert followers() == []


async def test_a_follower_can_be_cancelled_at_any_time(
    source: JournalSource, units: SystemdManager, make: Callable[..., TransientUnit]
) -> None:
    await ran(units, make("echo ready"))
    for delay_ms in range(0, 60, 3):
        following = Following(source, make("").name, lines=10)
        await asyncio.sleep(delay_ms / 1000)
        await following.stop()
        assert followers() == []


async def test_a_journalctl_that_cannot_follow_ends_the_followers_with_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "journalctl"
    program.write_text("#!/bin/sh\ncase $* in *--follow*) echo broken >&2; exit 1;; esac\n")
    program.chmod(0o700)
    monkeypatch.setattr(journal_follower, "RESTART_DELAY_S", 0.01)
    source = JournalSource(slice_name="none.slice", program=str(program))
    for _ in range(2):  # and later ones try again
        with pytest.raises(errors.JournalUnavailable, match="broken"):
            await anext(source.follow(LogQuery(units=("a.service",), lines=0)))


async def test_a_missing_journalctl_is_reported_to_who_follows() -> None:
    source = JournalSource(slice_name="none.slice", program="no-such-journalctl")
    with pytest.raises(errors.JournalUnavailable, match="no-such-journalctl"):
        await anext(source.follow(LogQuery(units=("a.service",), lines=0)))


async def test_what_cannot_be_followed_is_refused_at_once() -> None:
    with pytest.raises(errors.InvalidInput, match="after_cursor"):
        JournalSource(slice_name="none.slice").follow(LogQuery(units=("a.service",), after_cursor="x"))
