"""Pure: what systemd said of runs into runs and verdicts. The entries in ``data/exits`` are from a systemd 252."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.exits.folder import MESSAGE_IDS, ExitFolder, Run, fold, identify
from hero_supervisor.exits.verdict import add_status, explain, reason_of, record_of, remember, signal_name
from hero_supervisor.journal import ExportParser
from hero_supervisor.records import ExitReason
from hero_supervisor.unit import UnitStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hero_supervisor.records import ExitRecord

    Entry = Mapping[str, bytes]

DATA = Path(__file__).parent / "data" / "exits"
FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"


def captured(name: str) -> list[Entry]:
    return list(ExportParser().feed((DATA / f"{name}.export").read_bytes()))


def folded(entries: Iterable[Entry]) -> list[ExitRecord]:
    folder = ExitFolder("cap")
    for entry in entries:
        folder.feed(entry, 0)
    return [record_of(run, "cap", log_tail=()) for run in folder.take()]


def entry(number: int, message_id: str, invocation_id: str = "1", unit: str = "cap-runner-a", **fields: str) -> Entry:
    known = {
        "__CURSOR": f"s={number}",
        "__REALTIME_TIMESTAMP": str(1_000_000 * number),
        "MESSAGE_ID": message_id,
        "UNIT": f"{unit}.service",
        "INVOCATION_ID": invocation_id,
    }
    return {name: value.encode() for name, value in (known | fields).items()}


CAPTURED = [
    ("exit-0", ("exit", "success", None, None, False), "ended by itself, cleanly"),
    ("exit-3", ("exit", "exit-code", 3, None, False), "ended by itself with exit status 3"),
    ("sigkill", ("signal", "signal", None, "SIGKILL", False), "killed by SIGKILL"),
    ("sigterm", ("exit", "success", None, None, False), "ended by itself, cleanly"),
    ("sigsegv", ("signal", "signal", None, "SIGSEGV", False), "killed by SIGSEGV"),
    ("core-dump", ("core-dump", "core-dump", None, "SIGABRT", False), "crashed with SIGABRT and dumped core"),
    ("start-timeout", ("timeout", "timeout", None, None, False), "not ready within its start timeout"),
    ("not-ready", ("exit", "protocol", None, None, False), "cleanly without having said that it is ready"),
    ("watchdog", ("watchdog", "watchdog", None, "SIGABRT", False), "watchdog"),
    ("stop", ("operator", "success", None, None, False), "stopped on request"),
    ("stop-with-error", ("operator", "exit-code", 5, None, False), "; it ended with exit status 5"),
    ("stop-with-sigkill", ("operator", "timeout", None, "SIGKILL", False), "by its stop timeout and was killed"),
    ("stop-while-starting", ("operator", "success", None, None, False), "stopped on request"),
    ("stop-in-pause", ("exit", "exit-code", 3, None, False), "exit status 3"),
    ("no-environment-file", ("not-started", "resources", None, None, False), "environment file"),
    ("no-working-directory", ("not-started", "exit-code", 200, None, False), "cannot be entered (200/CHDIR)"),
    ("left-process", ("exit", "exit-code", 3, None, False), "exit status 3"),
    ("cpu", ("exit", "success", None, None, False), "cleanly"),
    ("runtime-limit", ("timeout", "timeout", None, None, False), "a timeout of its unit ran out"),
]


@pytest.mark.parametrize(("name", "expected", "words"), CAPTURED)
def test_one_run_becomes_one_record(name: str, expected: tuple[object, ...], words: str) -> None:
    (record,) = folded(captured(name))
    assert (record.reason, record.result, record.exit_code, record.signal, record.will_restart) == expected
    assert words in record.explanation
    assert "\n" not in record.explanation


@pytest.mark.parametrize(
    ("name", "result", "exit_code"),
    [("start-limit", "exit-code", 3), ("start-limit-after-clean-exits", "success", None)],
)
def test_the_run_before_the_start_limit_is_where_systemd_gave_up(name: str, result: str, exit_code: int | None) -> None:
    *before, last = folded(captured(name))
    assert len(before) == 4
    assert {(record.reason, record.will_restart) for record in before} == {("exit", True)}
    assert (last.reason, last.will_restart, last.result, last.exit_code) == ("start-limit", False, result, exit_code)
    assert last.explanation.endswith("systemd gave up, for it was started too often in a short time")


def test_a_restart_on_request_is_two_runs() -> None:
    assert [record.reason for record in folded(captured("restart"))] == ["operator", "operator"]


def test_times_unit_and_position_are_in_the_record() -> None:
    (record,) = folded(captured("exit-3"))
    assert (record.runner, record.instance, record.unit) == ("exit3", 1, "cap-runner-exit3.service")
    assert record.started_at == datetime(2026, 11, 25, 1, 31, 41, 356112, UTC)
    assert record.ended_at == datetime(2026, 11, 25, 1, 31, 41, 564026, UTC)
    assert record.duration_s == 0.207914
    assert record.cursor == next(
        each["__CURSOR"].decode() for each in captured("exit-3") if each.get("MESSAGE_ID") == FAILED.encode()
    )


def test_cpu_time_is_in_the_record() -> None:
    (record,) = folded(captured("cpu"))
    assert (record.cpu_s, record.memory_peak_bytes, record.duration_s) == (1.30238, None, None)


@pytest.mark.parametrize("peak", [("1048576", 1048576), ("18446744073709551615", None), ("", None), ("x", None)])
def test_a_newer_systemd_tells_the_most_memory(peak: tuple[str, int | None]) -> None:
    consumed = entry(9, "ae8f7b866b0347b9af31fe1c80b127c0", CPU_USAGE_NSEC="5", MEMORY_PEAK=peak[0])
    (record,) = folded([entry(1, STARTING), entry(2, FAILED, UNIT_RESULT="exit-code"), consumed])
    assert record.memory_peak_bytes == peak[1]


@pytest.mark.parametrize("name", [name for name, *_ in CAPTURED if name != "no-environment-file"])
def test_entries_that_come_twice_change_nothing(name: str) -> None:
    entries = captured(name)
    run = Run(entries[0]["UNIT"].decode(), entries[0]["INVOCATION_ID"].decode())
    assert fold(run, entries).ended_usec is not None
    assert fold(run, entries) == fold(run, [each for each in entries for _ in range(2)])


def test_the_kinds_of_entries_that_are_asked_for_are_the_ones_that_are_used() -> None:
    found = {
        each["MESSAGE_ID"].decode() for path in DATA.iterdir() for each in captured(path.stem) if "MESSAGE_ID" in each
    }
    assert set(MESSAGE_IDS) - found == {"fe6faa94e7774663a0da52717891d8ef"}  # no memory controller where they are from


# -- what cannot be brought about everywhere ---------------------------------------------------------------------------


@pytest.mark.parametrize("result", ["oom-kill", "signal"])
def test_a_lack_of_memory_is_the_reason_also_when_systemd_saw_only_the_signal(result: str) -> None:
    entries = [
        entry(1, STARTING),
        entry(2, "fe6faa94e7774663a0da52717891d8ef"),
        entry(3, "98e322203f7a4ed290d09fe03c09fe15", EXIT_CODE="killed", EXIT_STATUS="9", COMMAND="ExecStart"),
        entry(4, FAILED, UNIT_RESULT=result),
    ]
    (record,) = folded(entries)
    assert (record.reason, record.signal) == (ExitReason.OOM_KILL, "SIGKILL")
    assert record.explanation == "it ran out of memory and was killed"


def test_a_helper_that_ran_out_of_memory_is_not_why_the_program_ended() -> None:
    entries = [
        entry(1, STARTING),
        entry(2, "fe6faa94e7774663a0da52717891d8ef"),
        entry(3, "98e322203f7a4ed290d09fe03c09fe15", EXIT_CODE="exited", EXIT_STATUS="1", COMMAND="ExecStart"),
        entry(4, FAILED, UNIT_RESULT="exit-code"),
    ]
    assert [record.reason for record in folded(entries)] == [ExitReason.EXIT]


def test_the_end_of_a_helper_is_not_that_of_the_program() -> None:
    helper = entry(2, "98e322203f7a4ed290d09fe03c09fe15", EXIT_CODE="exited", EXIT_STATUS="7", COMMAND="ExecStopPost")
    assert folded([entry(1, STARTING), helper, entry(3, FAILED, UNIT_RESULT="exit-code")])[0].exit_code is None


@pytest.mark.parametrize("result", ["exec-condition", "a-word-of-a-later-systemd", ""])
def test_a_result_that_is_not_known_is_an_exit(result: str) -> None:
    (record,) = folded([entry(1, STARTING), entry(2, FAILED, UNIT_RESULT=result)])
    assert (record.reason, record.result) == (ExitReason.EXIT, result)
    assert f"'{result}'" in record.explanation


def test_a_clock_that_was_set_back_makes_no_negative_time() -> None:
    (record,) = folded([entry(9, STARTING), entry(2, FAILED, UNIT_RESULT="signal")])
    assert record.duration_s == 0


@pytest.mark.parametrize("cause", [ExitReason.REPLACED, ExitReason.MAX_AGE, ExitReason.UNHEALTHY, ExitReason.OPERATOR])
def test_a_cause_counts_only_for_a_run_that_was_stopped(cause: ExitReason) -> None:
    crashed = Run("u", "1", started_usec=1, is_up=True, result="exit-code", exit_code=3, ended_usec=2)
    assert reason_of(crashed, cause) is ExitReason.EXIT
    stopped = replace(crashed, is_stopped=True)
    assert reason_of(stopped, cause) is cause
    assert "stopped" in explain(stopped, cause)


@pytest.mark.parametrize(
    ("code", "status", "exit_code", "number"), [(1, 0, 0, None), (2, 15, None, 15), (3, 6, None, 6), (0, 0, None, None)]
)
def test_what_systemd_still_knows_is_added(code: int, status: int, exit_code: int | None, number: int | None) -> None:
    run = Run("u", "1", result="success")
    add_status(run, UnitStatus("u", exec_main_code=code, exec_main_status=status, sub_state="auto-restart"))
    assert (run.exit_code, run.signal_number, run.is_restart_due) == (exit_code, number, True)


def test_what_the_journal_says_comes_before_what_systemd_knows() -> None:
    run = Run("u", "1", exit_code=3, is_restart_due=False)
    add_status(run, UnitStatus("u", exec_main_code=1, exec_main_status=0, sub_state="auto-restart"))
    assert (run.exit_code, run.is_restart_due) == (3, False)


def test_what_an_earlier_record_knew_is_not_lost() -> None:
    run = Run("cap-runner-a.service", "1", started_usec=5, result="success", ended_usec=7, is_restart_due=True)
    run.signal_number = signal.SIGTERM
    record = record_of(run, "cap", log_tail=())
    again = Run(run.unit, "1", result="success", ended_usec=7)
    remember(again, record)
    assert record_of(again, "cap", log_tail=()) == record


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (34, "SIGRTMIN"), (37, "SIGRTMIN+3"), (99, "99")])
def test_signals_have_names(number: int, name: str) -> None:
    assert signal_name(number) == name


@pytest.mark.parametrize(
    ("unit", "identity"),
    [
        ("hero-runner-a.service", ("a", 1)),
        ("hero-runner-a-b_c.service", ("a-b_c", 1)),
        ("hero-runner-a@2.service", ("a", 2)),
        ("hero-runner-a@2.scope", None),
        ("hero-runner-.service", None),
        ("hero-runner-A.service", None),
        ("hero-runner-a@.service", None),
        ("hero-redis.service", None),
        ("hero2-runner-a.service", None),
        ("xhero-runner-a.service", None),
        ("hero-runner-a.service\n", None),
    ],
)
def test_units_of_runners_are_known_by_their_names(unit: str, identity: tuple[str, int] | None) -> None:
    assert identify(unit, "hero") == identity


# -- a user's manager, which does not say that a run has ended cleanly ----------------------------------------------

STARTED = "39f53479d3a045ac8e11786248231fbf"
STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
STOPPED = "9d1aaa27d60140bd96365438aad20286"
RESTART = "5eb03494b6584870a536b337290809b3"


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ([entry(3, RESTART), entry(4, STOPPED, JOB_TYPE="restart")], ("exit", True)),
        ([entry(3, STOPPING, JOB_TYPE="stop"), entry(4, STOPPED, JOB_TYPE="stop")], ("operator", False)),
        ([entry(3, STOPPING, JOB_TYPE="stop"), entry(4, STOPPED, JOB_TYPE="restart")], ("operator", False)),
        ([entry(3, STOPPED, JOB_TYPE="stop")], ("exit", False)),
        ([entry(3, "ae8f7b866b0347b9af31fe1c80b127c0")], ("exit", False)),
    ],
)
def test_what_can_only_follow_a_clean_end_stands_for_it(rest: list[Entry], expected: tuple[str, bool]) -> None:
    (record,) = folded([entry(1, STARTING), entry(2, STARTED), *rest])
    assert (record.reason, record.will_restart, record.result) == (*expected, "success")


def test_a_clean_end_of_which_nothing_is_said_can_be_noted() -> None:
    folder = ExitFolder("cap", settle_s=2)
    folder.feed(entry(1, STARTING), 0)
    assert folder.running_units == ["cap-runner-a.service"]
    folder.note_end("cap-runner-a.service", "1", 5_000_000, 10)
    folder.note_end("cap-runner-a.service", "1", 6_000_000, 11)
    assert (folder.due_at, folder.position, folder.running_units) == (12, "s=1", [])
    (run,) = folder.take()
    assert (run.result, run.ended_usec, run.cursor) == ("success", 5_000_000, "s=1")
    folder.feed(entry(7, "7ad2d189f7e94e70a38c781354912448"), 12)
    assert folder.take() == [run]
    assert not run.is_given_up


def test_a_noted_end_is_kept_when_the_run_is_read_again() -> None:
    folder = ExitFolder("cap")
    folder.note_end("cap-runner-a.service", "1", 5_000_000, 10)
    (run,) = folder.take()
    assert run.is_partial
    again = fold(run, [entry(1, STARTING), entry(2, STARTED)])
    assert (again.started_usec, again.ended_usec, again.result) == (1_000_000, 5_000_000, "success")


# -- when, and from where ----------------------------------------------------------------------------------------------


def test_an_end_waits_for_what_belongs_to_it() -> None:
    folder = ExitFolder("cap", settle_s=2)
    for each in captured("exit-3"):
        folder.feed(each, 10)
    assert (folder.due_at, folder.take(11.9)) == (12, [])
    assert [run.exit_code for run in folder.take(12)] == [3]
    assert (folder.due_at, folder.take()) == (None, [])


@pytest.mark.parametrize(
    "last", [entry(3, "ae8f7b866b0347b9af31fe1c80b127c0", CPU_USAGE_NSEC="1"), entry(3, STARTING, invocation_id="2")]
)
def test_an_end_waits_no_longer_than_its_last_word_or_the_next_run(last: Entry) -> None:
    folder = ExitFolder("cap", settle_s=2)
    for each in [entry(1, STARTING), entry(2, FAILED, UNIT_RESULT="signal"), last]:
        folder.feed(each, 10)
    assert [run.invocation_id for run in folder.take(10)] == ["1"]


def test_a_run_is_given_out_again_when_more_is_said_of_it() -> None:
    folder = ExitFolder("cap")
    *entries, again, _ = captured("start-limit")[-7:]
    for each in entries:
        folder.feed(each, 0)
    assert not folder.take()[-1].is_given_up
    folder.feed(again, 5)
    (run,) = folder.take()
    assert run.is_given_up


def test_a_run_whose_beginning_was_not_seen_says_so() -> None:
    folder = ExitFolder("cap")
    for each in captured("exit-3")[2:]:
        folder.feed(each, 0)
    assert [run.is_partial for run in folder.take()] == [True]


def test_the_position_stays_before_what_was_not_taken() -> None:
    folder = ExitFolder("cap", position="s=0")
    entries = [
        entry(1, STARTING, unit="cap-runner-a"),
        entry(2, STARTING, "2", unit="cap-runner-b"),
        entry(3, FAILED, UNIT_RESULT="signal"),
        entry(4, FAILED, "9", unit="other"),
        entry(5, FAILED, "2", unit="cap-runner-b", UNIT_RESULT="signal"),
    ]
    positions = []
    for number, each in enumerate(entries):
        folder.feed(each, number)
        positions.append(folder.position)
    assert positions == ["s=1", "s=2", "s=2", "s=2", "s=2"]
    assert [run.invocation_id for run in folder.take(2.5)] == ["1"]
    assert folder.position == "s=4"
    folder.take()
    assert folder.position == "s=5"


def test_the_entry_at_the_position_is_not_taken_in_again() -> None:
    folder = ExitFolder("cap", position="s=2")
    folder.feed(entry(2, FAILED, UNIT_RESULT="signal"), 0)
    assert folder.take() == []


@pytest.mark.parametrize("taken_together", [1, 7])
def test_runs_that_are_over_take_no_memory(taken_together: int) -> None:
    folder = ExitFolder("cap")
    for number in range(1_000):
        folder.feed(entry(3 * number, STARTING, str(number)), 0)
        folder.feed(entry(3 * number + 1, FAILED, str(number), UNIT_RESULT="signal"), 0)
        if number % taken_together == 0:
            folder.take()
    folder.take()
    assert len(folder._open) <= 2
    assert len(folder._latest) == 1


def test_entries_that_are_none_do_no_harm() -> None:
    folder = ExitFolder("cap")
    for each in [{}, {"UNIT": b"\xff"}, {"MESSAGE_ID": FAILED.encode()}, entry(1, FAILED, ""), entry(2, "")]:
        folder.feed(each, 0)
    assert folder.take() == []
