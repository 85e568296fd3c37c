"""Case 9, in breadth: many runners that write all the time, read over HTTP and followed in the library meanwhile.

What journald kept is what ``journalctl`` shows for a unit. All of it must be delivered, in its order; and what journald
dropped must be told, with its number. Some of the runners may not write as much as they do, so that there is something
to tell. Lines are numbered, and kept in files, so that this process stays small.
"""

from __future__ import annotations

import asyncio
import contextlib
import filecmp
import os
import re
import subprocess
import time
from array import array
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.journal import JournalSource
from hero_supervisor.log_query import LogQuery
from hero_supervisor.records import LogKind
from hero_supervisor.unit import Site
from tests.e2e.conftest import IS_ROOT, SCOPE

from .test_endurance import main_pid, rss_bytes
from .test_workers import cpu_s_of, p95, python

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from hero_supervisor.records import LogRecord
    from tests.e2e.conftest import Service

#: Seconds for which each runner writes. The journal has to have space for it all, so for more than some minutes set
#: ``SystemMaxUse=`` of journald.conf(5); what the journal deletes meanwhile is a gap, and fails the test.
LOG_S = int(os.environ.get("HERO_LOG_S", "60"))
RUNNERS = 20
RATE = 1000
#: Of these it is too much, also when journald has space enough to allow six times as much.
CURBED = ("log0", "log1")
#: Those that are read while they write, of both kinds.
READ = ("log1", "log2", "log3")
PAGE = 10_000

#: Writes numbered lines at a rate, in bursts of a tenth of a second: ``WRITER RATE SECONDS``. What journald drops last
#: is told with the line that comes after a pause.
WRITER = """
import sys, time
rate, seconds = int(sys.argv[1]), int(sys.argv[2])
began, count = time.monotonic(), 0
while count < rate * seconds:
    sys.stdout.write("".join(f"line {count + i} of a runner that writes all the time\\n" for i in range(rate // 10)))
    sys.stdout.flush()
    count += rate // 10
    time.sleep(max(0, began + count / rate - time.monotonic()))  # keeps the rate
print(f"written in {time.monotonic() - began:.1f} s", flush=True)
time.sleep(2)  # longer than journald's interval, so that it tells what it dropped with the next line
print("end", flush=True)
time.sleep(1e6)  # a runner that ended would be started again, and write again
"""

pytestmark = pytest.mark.timeout(600 + 15 * LOG_S)


def write_all(service: Service) -> dict[str, str]:
    """Let all runners write; return their units by id."""
    units = {}
    for number in range(RUNNERS):
        id = f"log{number}"
        rate = {"burst": 100 if id in CURBED else 10 * RATE, "interval_s": 1}
        units[id] = service.add(id, command=[python(), "-c", WRITER, str(RATE), str(LOG_S)], log_rate=rate)["unit"]
    return units


def kept(unit: str, path: Path) -> None:
    """Write to a file what ``journalctl`` shows for a unit."""
    with path.open("wb") as file:
        command = ["journalctl", *SCOPE, "--quiet", "--output=cat", f"--unit={unit}"]
        subprocess.run(command, stdout=file, timeout=60 + LOG_S, check=True)


class Tally:
    """What a log has, counted."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.numbers = array("L")
        #: How many lines journald says it dropped, and in how many records.
        self.told = self.markers = self.all = 0
        #: How long it took to write them.
        self.written_s = 0.0
        for line in lines:
            self._take(line.rstrip("\n"))

    def _take(self, line: str) -> None:
        self.all += 1
        if found := re.match(r"line (\d+) of a runner that writes all the time$", line):
            self.numbers.append(int(found[1]))
        elif found := re.match(r"Suppressed (\d+) messages from ", line):
            self.told, self.markers = self.told + int(found[1]), self.markers + 1
        elif found := re.match(r"written in (\S+) s$", line):
            self.written_s = float(found[1])

    @property
    def missing(self) -> int:
        return RATE * LOG_S - len(self.numbers)

    def fault(self) -> str:
        """Return what is wrong with the numbers, in words."""
        if list(self.numbers) != sorted(set(self.numbers)):
            return "lines are doubled, or not in their order"
        # journald counts the unit's other lines as well, and one too many each time.
        if not 0 <= self.told - self.missing <= self.markers + 5:
            return f"{self.missing} lines are missing, and journald tells of {self.told}"
        return ""


# -- over HTTP -----------------------------------------------------------------------------------------------------


class Pages:
    """Reads the log of a runner from the first line to the last, page by page, into a file."""

    def __init__(self, service: Service, id: str, path: Path) -> None:
        self._service, self._id, self.path = service, id, path
        self._after: dict[str, str] = {}
        self.dropped = 0
        #: How long each page took.
        self.times_s: list[float] = []
        #: Records in place of what the journal has not, or not any more.
        self.gaps: list[dict[str, Any]] = []
        path.touch()

    def read_on(self) -> list[dict[str, Any]]:
        """Read the next page; the first one before there are more lines than it takes."""
        began = time.monotonic()
        page: list[dict[str, Any]] = self._service.rpc.call(
            "get_runner_logs", {"runner": self._id, "lines": PAGE, **self._after}
        )
        self.times_s.append(time.monotonic() - began)
        with self.path.open("a") as file:
            file.writelines(f"{record['message']}\n" for record in page if record["kind"] in {"line", "dropped"})
        self.dropped += sum(record["dropped"] for record in page)
        self.gaps += [record for record in page if record["kind"] == "gap"]
        self._after = {"after_cursor": page[-1]["cursor"]} if page else self._after
        return page

    def read_to_end(self) -> None:
        while self.read_on():
            pass


def test_what_many_runners_write_all_the_time_is_delivered_as_journald_kept_it(
    service: Service, tmp_path: Path, figures: Callable[..., None]
) -> None:
    pid = main_pid(service)
    service.add("before")
    service.rpc.call("get_runner_logs", ["before"])
    rss, cpu_s, began = rss_bytes(pid), cpu_s_of(pid), time.monotonic()
    units = write_all(service)
    pages = {id: Pages(service, id, tmp_path / f"{id}-shown") for id in units}
    for each in pages.values():
        each.read_on()
    sizes, times_s = watch(service, pages)
    writing_s, while_writing_s = time.monotonic() - began, [took for id in READ for took in pages[id].times_s]
    began = time.monotonic()
    for each in pages.values():
        each.read_to_end()
        sizes.append(rss_bytes(pid))
    reading_s = time.monotonic() - began
    tallies, faults = compare(units, {id: each.path for id, each in pages.items()}, tmp_path / "kept")
    faults += [f"{id}: {each.gaps}" for id, each in pages.items() if each.gaps]
    quarter = len(sizes) // 4
    figures(
        f"9. {RUNNERS} runners, {RATE} lines a second each, read over HTTP",
        **totals(tallies),
        dropped_as_delivered=sum(each.dropped for each in pages.values()),
        seconds_until_all_have_ended=writing_s,
        page_while_they_write_p95_s=p95(while_writing_s),
        status_of_all_p95_s=p95(times_s),
        status_of_all_slowest_s=max(times_s),
        lines_a_second_read_afterwards=sum(tally.all for tally in tallies.values()) / reading_s,
        supervisor_grew_by_at_most_mb=(max(sizes) - rss) / 1e6,
        supervisor_grew_after_a_quarter_by_mb=(sizes[-1] - max(sizes[: quarter + 1])) / 1e6,
        supervisor_processor_s=cpu_s_of(pid) - cpu_s,
    )
    assert faults == []
    assert all(tallies[id].told for id in CURBED)
    assert max(sizes) - rss < 40e6


def watch(service: Service, pages: dict[str, Pages]) -> tuple[list[int], list[float]]:
    """Read some logs on until all runners have written; return sizes of the supervisor, and times of status calls."""
    pid, sizes, times_s = main_pid(service), [], []
    deadline = time.monotonic() + 120 + 5 * LOG_S
    left = set(pages)
    while left:
        assert time.monotonic() < deadline, f"they still write: {left}"
        for id in READ:
            pages[id].read_on()
        began = time.monotonic()
        service.rpc.call("get_all_runner_status")
        times_s.append(time.monotonic() - began)
        sizes.append(rss_bytes(pid))
        time.sleep(0.5)  # a client that looks twice a second
        if has_ended(service, min(left)):
            left.remove(min(left))
    return sizes, times_s


def has_ended(service: Service, id: str) -> bool:
    newest = service.rpc.call("get_runner_logs", {"runner": id, "lines": 1})
    return [record["message"] for record in newest] == ["end"]


def compare(units: dict[str, str], shown: dict[str, Path], kept_path: Path) -> tuple[dict[str, Tally], list[str]]:
    """Compare what was delivered with what ``journalctl`` shows; return counts, and what is wrong, in words."""
    tallies, faults = {}, []
    for id, unit in units.items():
        kept(unit, kept_path)
        with kept_path.open() as lines:
            tally = tallies[id] = Tally(lines)
        if not filecmp.cmp(kept_path, shown[id], shallow=False):
            with shown[id].open() as lines:
                faults.append(f"{id}: {tally.all} records are kept, and {sum(1 for _ in lines)} are delivered")
        faults += [f"{id}: {fault}" for fault in [tally.fault()] if fault]
    return tallies, faults


def totals(tallies: dict[str, Tally]) -> dict[str, object]:
    """Return figures of all runners."""
    all = tallies.values()
    return {
        "lines_written": RUNNERS * RATE * LOG_S,
        "seconds_of_writing": max(tally.written_s for tally in all),
        "lines_that_journald_kept": sum(len(tally.numbers) for tally in all),
        "lines_that_journald_dropped": sum(tally.missing for tally in all),
        "dropped_as_told": sum(tally.told for tally in all),
        "records_that_tell": sum(tally.markers for tally in all),
    }


# -- in the library ------------------------------------------------------------------------------------------------


class Following:
    """Follows the log of a runner into a file."""

    def __init__(self, source: JournalSource, unit: str, path: Path) -> None:
        self._source, self._query, self.path = source, LogQuery(units=(unit,), lines=PAGE), path
        #: How many records were not taken in time, and in how many gaps.
        self.missed = self.gaps = 0
        #: How late the latest record was.
        self.latest_s = 0.0

    async def run(self) -> None:
        with self.path.open("w") as file:
            async with aclosing(self._source.follow(self._query)) as records:
                async for record in records:
                    self._take(record, file.write)
                    if await self._is_last(record):
                        return

    async def _is_last(self, record: LogRecord) -> bool:
        """Whether nothing comes after a record; that may also be among those that were missed."""
        if record.kind is not LogKind.GAP:
            return record.message == "end"
        (newest,) = await self._source.read(replace(self._query, lines=1))
        return (newest.message, newest.cursor) == ("end", record.cursor)

    def _take(self, record: LogRecord, write: Callable[[str], object]) -> None:
        self.latest_s = max(self.latest_s, (datetime.now(UTC) - record.timestamp).total_seconds())
        if record.kind is LogKind.GAP:
            self.missed, self.gaps = self.missed + record.dropped, self.gaps + 1
        else:
            write(f"{record.message}\n")


@pytest.fixture
async def source(service: Service) -> AsyncIterator[JournalSource]:
    """The log of a service's runners, in this process."""
    source = JournalSource(slice_name=Site(service.namespace, service.state_dir).slice, user=not IS_ROOT)
    yield source
    await source.close()


async def test_who_follows_many_runners_gets_every_line_or_is_told_how_many_are_missing(
    service: Service, source: JournalSource, tmp_path: Path, figures: Callable[..., None]
) -> None:
    units = write_all(service)
    following = {id: Following(source, unit, tmp_path / f"{id}-shown") for id, unit in units.items()}
    rss, cpu_s = rss_bytes(os.getpid()), cpu_s_of(os.getpid())
    async with sampled() as sizes, asyncio.timeout(120 + 5 * LOG_S), asyncio.TaskGroup() as tasks:
        for each in following.values():
            tasks.create_task(each.run())
    cpu_s = cpu_s_of(os.getpid()) - cpu_s
    missed = {id: each.missed for id, each in following.items() if each.gaps}
    tallies, faults = compare(units, {id: each.path for id, each in following.items()}, tmp_path / "kept")
    for id, number in missed.items():
        assert count(following[id].path) + number == tallies[id].all
    quarter = len(sizes) // 4
    figures(
        f"9. {RUNNERS} runners, {RATE} lines a second each, all followed in one process",
        **totals(tallies),
        missed_as_told=sum(missed.values()),
        followers_with_a_gap=len(missed),
        latest_record_was_late_by_s=max(each.latest_s for each in following.values()),
        process_grew_by_at_most_mb=(max(sizes) - rss) / 1e6,
        process_grew_after_a_quarter_by_mb=(sizes[-1] - max(sizes[: quarter + 1])) / 1e6,
        processor_s=cpu_s,
    )
    assert [fault for fault in faults if fault.partition(":")[0] not in missed] == []
    assert max(sizes) - rss < 100e6


@contextlib.asynccontextmanager
async def sampled() -> AsyncIterator[list[int]]:
    """Note the size of this process, again and again."""
    sizes: list[int] = []

    async def note() -> None:
        while True:
            sizes.append(rss_bytes(os.getpid()))
            await asyncio.sleep(0.2)

    task = asyncio.create_task(note())
    try:
        yield sizes
    finally:
        task.cancel()
        await asyncio.wait([task])


def count(path: Path) -> int:
    with path.open() as lines:
        return sum(1 for _ in lines)
