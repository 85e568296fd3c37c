"""How a script ended, in the words of its job; and what it gets to see."""

from __future__ import annotations

import pytest

from hero_supervisor.job import Job, JobStatus
from hero_supervisor.worker.outcome import Ending, How, status_and_text
from hero_supervisor.worker.surroundings import environment_of


@pytest.mark.parametrize(
    ("ending", "status", "text"),
    [
        (Ending(How.EXITED, 0, "out\n", "warning"), JobStatus.FINISHED, "out\n"),
        (Ending(How.EXITED, 3), JobStatus.ERROR, "exit code 3"),
        (Ending(How.EXITED, 1, "", "boom\n\n"), JobStatus.ERROR, "boom (exit code 1)"),
        (Ending(How.EXITED, 1, "", "a\n  b\n"), JobStatus.ERROR, "b (exit code 1)\n\na\n  b"),
        (Ending(How.EXITED, -11), JobStatus.ERROR, "killed by SIGSEGV"),
        (Ending(How.EXITED, -40, "", "x"), JobStatus.ERROR, "x (killed by signal 40)"),
        (Ending(How.TIMED_OUT, -15, "", "x"), JobStatus.ERROR, "timed out after 5 s"),
        (Ending(How.TIMED_OUT, 0, "x"), JobStatus.ERROR, "timed out after 5 s"),
    ],
)
def test_an_ending_is_told_in_words(ending: Ending, status: JobStatus, text: str) -> None:
    assert status_and_text(ending, timeout_s=5) == (status, text)


def test_a_script_sees_its_job_and_little_of_the_runner() -> None:
    own = {"PATH": "/p", "HOME": "/h", "HERO_REDIS_URL": "redis://:secret@h", "NOTIFY_SOCKET": "/n", "LANG": ""}
    job = Job(id="j", payload="", caller_id="c", env_vars={"A": "1\n2", "PATH": "/mine", "HERO_JOB_ID": "fake"})
    assert environment_of(job, runner="r", own=own) == {
        "PATH": "/mine",
        "HOME": "/h",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "A": "1\n2",
        "CALLER_ID": "c",
        "CONTEXT_ID": "",
        "HERO_JOB_ID": "j",
        "HERO_RUNNER": "r",
    }
