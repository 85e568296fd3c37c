"""Power cuts: QEMU is killed in the midst of operations. What was acknowledged before that is so again afterwards.

What the operations were, and which were acknowledged, is noted on the disk behind its file system: syncing a file would
also sync what the supervisor should have synced itself. Of the file system all is lost that the kernel had not yet
written. (Not what it wrote and did not flush: the disk is a file of the host, and that goes on.)

Each runner has one thread, so of each at most one operation is under way: that one may have come about, or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from tests.chaos.fleet import generation_of
from tests.e2e.conftest import eventually, systemctl

from .test_reboot import call, ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ready"]

CUTS = 4
FIRST_BOOT = 2
RUNNERS = ("cut0", "cut1", "cut2", "cut3")
#: Runs all the time, and nothing is done to it.
STEADY = "steady"
#: Operations that are acknowledged before the power may be cut.
OPERATIONS = 10
DISK = Path("/dev/nvme0n1")
#: Space that ``packaging/dev/vm`` leaves at its end.
NOTES_BYTES = 2**20
NOTE_BYTES = 4096
#: What is written here is seen by ``packaging/dev/vm``, which then cuts the power.
REQUESTS = Path("/dev/ttyS2")
STATE_DIR = Path("/var/lib/hero-supervisor")

AFTER_A_CUT = pytest.mark.boot(*range(FIRST_BOOT + 1, FIRST_BOOT + 1 + CUTS))

pytestmark = pytest.mark.timeout(180)


class State(msgspec.Struct, frozen=True):
    """Of a runner: what is wanted of it, and which definition it has."""

    desired: str
    generation: str = ""


GONE: Final = State("gone")


class Note(msgspec.Struct, frozen=True):
    """What is known of a runner: its state as acknowledged, and the one that an operation under way leads to."""

    acknowledged: State
    under_way: State | None = None
    operations: int = 0


# Made here, because msgspec crashes when several threads use a type for the first time.
_DECODER: Final = msgspec.json.Decoder(Note)


class Notes:
    """The notes of all runners, each in a block of its own."""

    def __init__(self) -> None:
        self._file = os.open(DISK, os.O_RDWR | os.O_DSYNC)
        self._begin = os.lseek(self._file, 0, os.SEEK_END) - NOTES_BYTES

    def __getitem__(self, id: str) -> Note:
        block = os.pread(self._file, NOTE_BYTES, self._place(id)).rstrip(b"\0")
        return _DECODER.decode(block) if block else Note(GONE)

    def __setitem__(self, id: str, note: Note) -> None:
        os.pwrite(self._file, msgspec.json.encode(note).ljust(NOTE_BYTES, b"\0"), self._place(id))

    def close(self) -> None:
        os.close(self._file)

    def _place(self, id: str) -> int:
        return self._begin + NOTE_BYTES * (*RUNNERS, STEADY).index(id)


@pytest.fixture
def notes() -> Iterator[Notes]:
    notes = Notes()
    yield notes
    notes.close()


def definition(id: str, generation: str) -> dict[str, Any]:
    command = ["/bin/sh", "-c", "sleep infinity; true"]
    return {"id": id, "command": command, "env": {"GENERATION": generation}, "restart_delay_s": 0}


def state_of(id: str) -> State:
    """Return what the service says of a runner, if what systemd says agrees."""
    if id not in call("list_runners"):
        return GONE
    status, definition = call("get_runner_status", [id]), call("get_runner", [id])
    generation, is_active = definition["env"]["GENERATION"], systemctl("is-active", status["unit"], is_checked=False)
    if (status["status"], is_active) == ("stopped", "inactive") and status["desired"] == "stopped":
        return State("stopped", generation)
    if (status["status"], is_active) == ("running", "active") and status["desired"] == "running":
        return State("running", generation_of(status["main_pid"]))
    return State(f"{status['status']}, {is_active}, and {status['desired']} is wanted", generation)


# -- afterwards ----------------------------------------------------------------------------------------------------


@AFTER_A_CUT
def test_after_a_power_cut_all_is_as_the_state_directory_says(notes: Notes, figures: Callable[..., None]) -> None:
    began = time.monotonic()
    with contextlib.suppress(AssertionError):  # what is not so is told below
        eventually(lambda: not [*contradictions(), *strays()], timeout_s=20)
    found, took_s = [*contradictions(), *strays()], time.monotonic() - began
    stored = json.loads((STATE_DIR / "runners.json").read_text())["runners"]
    figures(
        "11. power cut during operations",
        operations_since_the_last_one=sum(notes[id].operations for id in RUNNERS),
        under_way_at_the_cut=sum(notes[id].under_way is not None for id in RUNNERS),
        runners_stored=len(stored),
        until_all_is_well_s=took_s,
        faults=found,
        acknowledged_and_lost=lost(notes),
    )
    assert found == []
    assert state_of(STEADY) == State("running", "0")
    assert {each["definition"]["id"] for each in stored} == set(call("list_runners"))
    for id in call("list_runners"):
        call("get_runner_exits", [id])
        assert id != STEADY or call("get_runner_logs", [id])
    assert call("list_jobs") is not None


@AFTER_A_CUT
def test_what_was_acknowledged_before_a_power_cut_is_so_again(notes: Notes) -> None:
    assert lost(notes) == []


def contradictions() -> list[str]:
    """Return where what is wanted, what the service says and what systemd says differ."""
    states = {id: state_of(id) for id in (*RUNNERS, STEADY)}
    return [f"{id} is {state}" for id, state in states.items() if state.desired not in {"running", "stopped", "gone"}]


def lost(notes: Notes) -> list[str]:
    """Return what is neither as it was acknowledged nor as an operation under way would have it."""
    states = {id: state_of(id) for id in (*RUNNERS, STEADY)}
    wanted = {id: {notes[id].acknowledged, notes[id].under_way} for id in states}
    return [f"{id} is {state}, and {notes[id]}" for id, state in states.items() if state not in wanted[id]]


def strays() -> list[str]:
    """Return the units of runners that there are not."""
    lines = systemctl("list-units", "--plain", "--no-legend", "hero-runner-cut*").splitlines()
    known = {f"hero-runner-{id}.service" for id in call("list_runners")}
    return [f"{line} is an orphan" for line in lines if line.split()[0] not in known]


# -- until the cut -------------------------------------------------------------------------------------------------


@pytest.mark.power_cut
@pytest.mark.boot(*range(FIRST_BOOT, FIRST_BOOT + CUTS))
def test_operations_go_on_until_the_power_is_cut(notes: Notes, request: pytest.FixtureRequest) -> None:
    if request.session.testsfailed:
        pytest.skip("a test has failed, which the power cut would hide")
    if STEADY not in call("list_runners"):
        call("add_runner", definition(STEADY, "0"))
        call("start_runner", [STEADY])
    for id in (*RUNNERS, STEADY):
        notes[id] = Note(state_of(id))
    for id in RUNNERS:
        threading.Thread(target=operate, args=[id, notes], daemon=True).start()
    eventually(lambda: sum(notes[id].operations for id in RUNNERS) >= OPERATIONS, timeout_s=60)
    REQUESTS.write_text("cut\n")
    time.sleep(60)
    pytest.fail("the power was not cut")


def operate(id: str, notes: Notes) -> None:
    """Carry out random operations on a runner, one after the other, and note them before and after."""
    rng = random.Random()  # noqa: S311  # it guards nothing
    while True:
        note = notes[id]
        method, params, leads_to = operation(id, note.acknowledged, rng)
        notes[id] = Note(note.acknowledged, leads_to, note.operations)
        call(method, params)
        notes[id] = Note(leads_to, None, note.operations + 1)
        time.sleep(rng.uniform(0, 1))


def operation(id: str, state: State, rng: random.Random) -> tuple[str, Any, State]:
    """Choose an operation: its method, its parameters, and the state that it leads to."""
    if state == GONE:
        added = State("stopped", str(time.time_ns()))
        return "add_runner", definition(id, added.generation), added
    changed = State(state.desired, str(time.time_ns()))
    toggled = ("stop_runner", "stopped") if state.desired == "running" else ("start_runner", "running")
    choices: list[tuple[str, Any, State]] = [
        (toggled[0], [id], State(toggled[1], state.generation)),
        ("update_runner", {"runner": definition(id, changed.generation)}, changed),
        ("remove_runner", [id], GONE),
    ]
    return rng.choices(choices, weights=(4, 2, 1))[0]
