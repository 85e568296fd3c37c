"""How a script ended, in the words of its job; and what it gets to see."""

from __future__ import annotations

import pytest

from hero_supervisor.job import Job
from hero_supervisor.queue.claims import ERROR, FINISHED
from hero_supervisor.worker.outcome import Ending, outcome_of_script
from hero_supervisor.worker.surroundings import environment_of


@pytest.mark.parametrize(
    ("ending", "word", "text"),
    [
        (Ending(0, "out\n", "warning"), FINISHED, "out\n"),
        (Ending(3), ERROR, "exit code 3"),
        (Ending(1, "", "boom\n\n"), ERROR, "boom (exit code 1)"),
        (Ending(1, "", "a\n  b\n"), ERROR, "b (exit code 1)\n\na\n  b"),
        (Ending(-11), ERROR, "killed by SIGSEGV"),
        (Ending(-40, "", "x"), ERROR, "x (killed by signal 40)"),
    ],
)
def test_an_ending_is_told_in_words(ending: Ending, word: str, text: str) -> None:
    assert outcome_of_script(ending) == (word, text)


def test_a_script_sees_its_job_and_little_of_the_runner() -> None:
    own = {"PATH": "/p", "HOME": "/h", "HERO_REDIS_URL": "redis://:secret@h", "NOTIFY_SOCKET": "/n", "LANG": ""}
    job = Job(id="j", payload="", caller_id="c", env_vars={"A": "1\n2", "PATH": "/mine", "HERO_JOB_ID": "fake"})
    assert environment_of(job, attempt=2, runner="r", own=own) == {
        "PATH": "/mine",
        "HOME": "/h",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "A": "1\n2",
        "CALLER_ID": "c",
        "CONTEXT_ID": "",
        "HERO_JOB_ID": "j",
        "HERO_ATTEMPT": "2",
        "HERO_RUNNER": "r",
    }
