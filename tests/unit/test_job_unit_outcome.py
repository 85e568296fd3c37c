"""How a job's unit ended, into what becomes of the job."""

from __future__ import annotations

from typing import Any

import pytest

from hero_supervisor.job import Job
from hero_supervisor.jobs.unit_outcome import outcome_of, with_last_words
from hero_supervisor.queue.claims import CRASHED, ERROR, FINISHED, RELEASED, Ended
from hero_supervisor.runner import JobProtocol, Runner
from hero_supervisor.unit import UnitEnd

RUNNER = Runner(id="a", command=("/bin/true",), protocol=JobProtocol.UNIT)
TEN_S = {"started_usec": 1_000_000, "ended_usec": 11_000_000, "left_active_usec": 11_000_100}


def _failed(result: str, code: int, status: int, **times: int) -> UnitEnd:
    return UnitEnd(
        "failed", result, code, status, **{"started_usec": 1, "ended_usec": 2, "left_active_usec": 3, **times}
    )


STOPPED = {**TEN_S, "left_active_usec": 10_900_000}
STOPPED_EARLY = {"started_usec": 1_000_000, "ended_usec": 5_000_000, "left_active_usec": 4_000_000}


@pytest.mark.parametrize(
    ("end", "job", "outcome", "text", "reason"),
    [
        # How each looks was measured on systemd 252.
        (UnitEnd("exited", exec_main_code=1), {}, FINISHED, "out", ""),
        (_failed("exit-code", 1, 3), {}, ERROR, "exit code 3", ""),
        (_failed("exit-code", 1, 203), {}, ERROR, "exit code 203: its program cannot be executed (EXEC)", ""),
        (_failed("signal", 2, 9), {}, CRASHED, "killed by SIGKILL", "signal"),
        (_failed("core-dump", 3, 11), {}, CRASHED, "killed by SIGSEGV", "core-dump"),
        (UnitEnd("exited", "success", 2, 15), {}, CRASHED, "killed by SIGTERM", "signal"),
        (_failed("oom-kill", 2, 9), {}, CRASHED, "its job ran out of memory and was killed", "oom-kill"),
        (_failed("oom-kill", 2, 9, **STOPPED), {}, CRASHED, "its job ran out of memory and was killed", "oom-kill"),
        (_failed("timeout", 2, 15, **STOPPED), {"timeout": 10}, ERROR, "timed out after 10 s", "timeout"),
        (_failed("timeout", 1, 0, **STOPPED), {"timeout": 10}, ERROR, "timed out after 10 s", "timeout"),
        (_failed("timeout", 2, 9, **STOPPED_EARLY), {"timeout": 10}, RELEASED, "", "operator"),
        (_failed("exit-code", 1, 5, **STOPPED_EARLY), {}, RELEASED, "", "operator"),
        (UnitEnd("dead"), {}, RELEASED, "", "operator"),
        (_failed("signal", 2, 15, **TEN_S), {"soft_timeout": 10}, ERROR, "timed out after 10 s", "timeout"),
        (UnitEnd("exited", "success", 2, 15, **TEN_S), {"soft_timeout": 10}, ERROR, "timed out after 10 s", "timeout"),
        (UnitEnd("exited", "success", 2, 15, **TEN_S), {"soft_timeout": 20}, CRASHED, "killed by SIGTERM", "signal"),
        (_failed("exit-code", 1, 4, **TEN_S), {"soft_timeout": 10}, ERROR, "exit code 4", ""),
        (
            UnitEnd("failed", "resources"),
            *({}, ERROR, "cannot start its unit: its result is 'resources'", "not-started"),
        ),
    ],
)
def test_the_end_of_a_unit_tells_what_becomes_of_its_job(
    end: UnitEnd, job: dict[str, Any], outcome: str, text: str, reason: str
) -> None:
    found = outcome_of(end, Job(id="j", payload="", **job), RUNNER, attempt=2, output="out")
    assert found == Ended("j", 2, outcome, text, reason)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "exit code 1"),
        ("\n \n", "exit code 1"),
        ("no file\n", "no file (exit code 1)"),
        ("Traceback\n  f()\nKeyError: 1", "KeyError: 1 (exit code 1)\n\nTraceback\n  f()\nKeyError: 1"),
    ],
)
def test_the_last_words_of_a_job_are_in_its_error(words: str, text: str) -> None:
    assert with_last_words(Ended("j", 1, ERROR, "exit code 1"), words) == Ended("j", 1, ERROR, text)
