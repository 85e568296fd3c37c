"""The watcher with a journal and a systemd that say what they are told to: what real ones cannot be made to do."""

from __future__ import annotations

import asyncio
import stat
import time
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.exits import ExitWatcher, watcher
from hero_supervisor.testing import InMemoryProcessManager
from hero_supervisor.unit import TransientUnit, exec_start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hero_supervisor.exits.folder import Run
    from hero_supervisor.records import ExitRecord
    from hero_supervisor.unit import UnitStatus

UNIT = "hero-runner-a.service"
STARTED = "39f53479d3a045ac8e11786248231fbf"
FAILED = "d9b373ed55a64feb8242e02dbe79a49c"


class Journal:
    """A ``journalctl`` that writes what was put into it, and then waits if it is to follow."""

    def __init__(self, path: Path) -> None:
        self.program = path / "journalctl"
        self._entries = path / "entries"
        self._entries.touch()
        self._count = 0
        self.answer_tails_with("true")

    def answer_tails_with(self, command: str) -> None:
        self.program.write_text(
            "#!/bin/sh\n"
            f'case "$*" in *--follow*) exec tail -n +1 -f {self._entries};; *--reverse*) {command};; '
            f"*) cat {self._entries};; esac\n"
        )
        self.program.chmod(stat.S_IRWXU)

    def add(self, message_id: str, invocation_id: str, **fields: str) -> None:
        self._count += 1
        known = {
            "__CURSOR": f"s={self._count}",
            "__REALTIME_TIMESTAMP": str(1_000_000 * self._count),
            "MESSAGE_ID": message_id,
            "UNIT": UNIT,
            "INVOCATION_ID": invocation_id,
        }
        with self._entries.open("a") as file:
            file.write("".join(f"{name}={value}\n" for name, value in (known | fields).items()) + "\n")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def watching(journal: Journal, processes: InMemoryProcessManager, *, user: bool = False) -> ExitWatcher:
    path = journal.program.with_name("exits.jsonl")
    return ExitWatcher(namespace="hero", path=path, processes=processes, user=user, program=str(journal.program))


async def started(processes: InMemoryProcessManager) -> UnitStatus:
    return await processes.start(TransientUnit(UNIT, (exec_start(("/bin/true",)),), 1, 1))


async def until(is_so: Callable[[], object]) -> None:
    """Wait for something that no event tells of."""
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.02)


async def records(watcher: ExitWatcher, is_so: Callable[[list[ExitRecord]], object] = len) -> list[ExitRecord]:
    deadline = time.monotonic() + 10
    while not is_so(found := await watcher.exits("a", limit=100)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)
    return found


async def test_clean_ends_of_a_users_unit_that_went_by_unheard_are_found_when_in_doubt(journal: Journal) -> None:
    processes = InMemoryProcessManager()
    status = await started(processes)
    journal.add(STARTED, status.invocation_id)
    watcher = watching(journal, processes, user=True)
    processes.end(UNIT, active_state="inactive", exit_status=0)
    await watcher.open()
    try:
        assert await watcher.exits("a") == []
        await until(lambda: watcher._folder.running_units)  # it follows
        watcher.on_doubt()
        (record,) = await records(watcher)
    finally:
        await watcher.close()
    assert (record.invocation_id, record.reason, record.exit_code) == (status.invocation_id, "exit", 0)
    assert record.ended_at.timestamp() == pytest.approx(status.state_change_usec / 1e6)


async def test_a_long_absence_costs_no_more_than_what_is_kept(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "MAX_PER_RUNNER", 5)
    tails = journal.program.with_name("tails")
    journal.answer_tails_with(f"echo >> {tails}")
    for number in range(1_000):
        journal.add(STARTED, f"run{number}")
        journal.add(FAILED, f"run{number}", UNIT_RESULT="signal")
    watching_ = watching(journal, InMemoryProcessManager())
    await watching_.open()
    try:
        found = await records(watching_)
    finally:
        await watching_.close()
    assert [record.invocation_id for record in found] == [f"run{number}" for number in range(999, 994, -1)]
    assert tails.read_text().count("\n") == 5


async def test_a_log_that_cannot_be_read_costs_a_record_only_its_last_lines(journal: Journal) -> None:
    journal.answer_tails_with("exit 1")
    journal.add(STARTED, "run")
    journal.add(FAILED, "run", UNIT_RESULT="signal")
    watcher = watching(journal, InMemoryProcessManager())
    await watcher.open()
    try:
        assert [record.log_tail for record in await records(watcher)] == [()]
    finally:
        await watcher.close()


async def test_a_fault_of_our_own_is_survived(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.add(STARTED, "run")
    journal.add(FAILED, "run", UNIT_RESULT="signal")
    watcher = watching(journal, InMemoryProcessManager())
    tail, faults = watcher._journal.tail, [RuntimeError("a fault")]

    async def failing_once(run: Run) -> tuple[str, ...]:
        if faults:
            raise faults.pop()
        return await tail(run)

    monkeypatch.setattr(watcher._journal, "tail", failing_once)
    await watcher.open()
    try:
        assert [record.invocation_id for record in await records(watcher)] == ["run"]
    finally:
        await watcher.close()


async def test_a_watcher_that_dies_while_it_records_leaves_all_to_the_next(journal: Journal) -> None:
    tails = journal.program.with_name("tails")
    journal.answer_tails_with(f"touch {tails}; exec sleep 60")
    journal.add(STARTED, "run")
    first = watching(journal, InMemoryProcessManager())
    await first.open()
    await first.exits("a")
    journal.add(FAILED, "run", UNIT_RESULT="signal")
    await until(lambda: tails.exists())
    await first.close()
    assert await first.exits("a") == []
    journal.answer_tails_with("true")
    second = watching(journal, InMemoryProcessManager())
    await second.open()
    try:
        assert [record.invocation_id for record in await records(second)] == ["run"]
    finally:
        await second.close()
