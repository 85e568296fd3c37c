"""The bundled worker as a real process: what scripts are and see, and how they end."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.job import MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES, Job, JobStatus
from tests.redis_fixtures import eventually
from tests.worker_fixtures import is_alive, peak_kib_of, run, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from hero_supervisor.client import JobClient
    from tests.worker_fixtures import StartRunner


async def waiting_is(client: JobClient, number: int) -> bool:
    return await waiting(client) == number


async def test_a_python_job_gives_what_it_prints(client: JobClient, start_runner: StartRunner) -> None:
    start_runner()
    result = await run(client, "print(6 * 7)")
    assert (result.status, result.result) == (JobStatus.FINISHED, "42\n")


async def test_the_executor_is_the_runners_unless_the_job_names_one(
    client: JobClient, start_runner: StartRunner
) -> None:
    start_runner("--executor", "shell")
    assert (await run(client, "echo $((6 * 7))")).result == "42\n"
    assert (await run(client, "print(6 * 7)", executor="python")).result == "42\n"
    unknown = await run(client, "x", executor="rhai")
    assert (unknown.status, "'rhai'" in (unknown.error or "")) == (JobStatus.ERROR, True)


async def test_a_script_sees_its_job_and_not_the_runners_secrets(client: JobClient, start_runner: StartRunner) -> None:
    start_runner()
    variables = {"LINES": "a\nb\n", "QUOTED": "\"'$HOME`", "É": "ü"}
    result = await run(
        client, "import os; print(dict(os.environ))", id="j1", caller_id="me", context_id="c", env_vars=variables
    )
    seen = ast.literal_eval(result.result or "")
    assert variables.items() <= seen.items()
    assert {
        "HERO_JOB_ID": "j1",
        "CALLER_ID": "me",
        "CONTEXT_ID": "c",
        "HERO_RUNNER": "r",
        "HERO_ATTEMPT": "1",
    }.items() <= seen.items()
    assert not {"HERO_REDIS_URL", "SECRET"} & seen.keys()


async def test_a_script_has_no_input_and_no_arguments(client: JobClient, start_runner: StartRunner) -> None:
    start_runner()
    result = await run(client, "import sys; print(len(sys.argv), repr(sys.stdin.read()), __name__)")
    assert result.result == "1 '' __main__\n"
    assert (await run(client, "cat; echo $#", executor="shell")).result == "0\n"


@pytest.mark.parametrize(("executor", "comment"), [("python", "#"), ("shell", ":")])
async def test_a_payload_of_one_megabyte_runs(
    client: JobClient, start_runner: StartRunner, executor: str, comment: str
) -> None:
    start_runner()
    end = {"python": "\nprint('end')", "shell": "\necho end"}[executor]
    payload = f"{comment} ".ljust(MAX_PAYLOAD_BYTES - len(end), "x") + end
    assert (await run(client, payload, executor=executor)).result == "end\n"


async def test_an_exception_is_the_first_line_of_the_error(client: JobClient, start_runner: StartRunner) -> None:
    start_runner()
    result = await run(client, "def f():\n    raise ValueError('boom')\nf()")
    lines = (result.error or "").splitlines()
    assert (result.status, lines[0]) == (JobStatus.ERROR, "ValueError: boom (exit code 1)")
    assert "    raise ValueError('boom')" in lines  # the traceback shows the payload's lines
    assert "line 2, in f" in (result.error or "")


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("exit 3", "exit code 3"),
        ("echo half; echo 'no such thing' >&2; exit 4", "no such thing (exit code 4)"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("kill -TERM $$", "killed by SIGTERM"),
        ("no-such-program-anywhere", "no-such-program-anywhere: not found (exit code 127)"),
    ],
)
async def test_a_bad_end_is_told(client: JobClient, start_runner: StartRunner, payload: str, error: str) -> None:
    start_runner("--executor", "shell")
    result = await run(client, payload)
    assert result.status is JobStatus.ERROR
    assert (result.error or "").endswith(error)


async def test_a_timeout_kills_grandchildren_that_ignore_sigterm(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    start_runner("--executor", "shell")
    payload = f"trap '' TERM; sh -c 'sleep 600 & echo $! > {tmp_path}/pid; wait'; sleep 600"
    result = await run(client, payload, timeout=1)
    assert (result.status, result.error) == (JobStatus.ERROR, "timed out after 1 s")
    await eventually(lambda: not is_alive(int((tmp_path / "pid").read_text())))
    assert (await run(client, "echo next")).result == "next\n"


async def test_a_child_in_the_background_neither_blocks_nor_stays(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    start_runner("--executor", "shell")
    result = await run(client, f"sleep 600 & echo $! > {tmp_path}/pid; echo done")
    assert result.result == "done\n"
    await eventually(lambda: not is_alive(int((tmp_path / "pid").read_text())))


async def test_a_child_that_left_the_group_and_holds_the_output_does_not_block(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    start_runner("--executor", "shell")
    payload = f"""
        printf half
        setsid sh -c 'echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 600' &
        while [ ! -e {tmp_path}/pid ]; do :; done
    """
    result = await run(client, payload)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert result.result == "half"
    assert (await run(client, "echo next")).result == "next\n"


@pytest.mark.parametrize("unit", ["x" * 65536, "x" * 4095 + "\n"], ids=["no-line-end", "lines"])
async def test_a_flood_of_output_is_cut_in_flat_memory(client: JobClient, start_runner: StartRunner, unit: str) -> None:
    runner = start_runner()
    await run(client, "print(1)")
    payload = f"import sys\nfor _ in range({100_000_000 // len(unit)}): sys.stdout.write({unit!r})"
    result = await run(client, payload)
    text = result.result or ""
    assert text.endswith("bytes in all]")
    assert MAX_RESULT_BYTES - 10 < len(text.encode()) <= MAX_RESULT_BYTES
    assert peak_kib_of(runner.pid) < 80 * 1024


async def test_output_that_is_not_text_is_kept_readable(client: JobClient, start_runner: StartRunner) -> None:
    start_runner("--executor", "shell")
    result = await run(client, r"printf 'a\377\000b'")
    assert result.result == "a\ufffd\0b"


async def test_scripts_run_side_by_side_up_to_the_concurrency(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    start_runner("--executor", "shell", HERO_CONCURRENCY="3")
    # Each ends only when three are there; a fourth would be seen by the others.
    payload = f"touch {tmp_path}/ran-$HERO_JOB_ID; while [ $(ls {tmp_path} | grep -c ran-) -lt 3 ]; do :; done; echo ok"
    jobs = [Job(runner="r", payload=payload) for _ in range(3)]
    await client.enqueue_many(jobs)
    results = await asyncio.gather(*(client.wait_for_result(job.id, timeout_s=10) for job in jobs))
    assert [result.result for result in results] == ["ok\n"] * 3
    blocked = [Job(runner="r", payload="sleep 600") for _ in range(4)]
    await client.enqueue_many(blocked)
    await eventually(lambda: waiting_is(client, 1))
    started = [await client.get_job_status(job.id) for job in blocked].count(JobStatus.STARTED)
    assert started == 3


async def test_the_second_attempt_knows_that_it_is(client: JobClient, start_runner: StartRunner) -> None:
    start_runner("--executor", "shell")
    result = await run(client, "[ $HERO_ATTEMPT = 2 ] && echo two", max_retries=1, retry_delay_s=0.01)
    assert result.result == "two\n"


async def test_a_cancelled_script_dies_with_its_group(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    start_runner("--executor", "shell")
    payload = (
        f"trap 'touch {tmp_path}/asked' TERM; sleep 600 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid"
    )
    job_id = await client.enqueue(Job(runner="r", payload=f"{payload}; while :; do wait; done"))
    await eventually((tmp_path / "pid").exists)
    assert not await client.cancel_job(job_id)
    result = await client.wait_for_result(job_id, timeout_s=5)
    assert (result.status, result.reason) == (JobStatus.CANCELLED, "cancelled")
    assert (tmp_path / "asked").exists()
    await eventually(lambda: not is_alive(int((tmp_path / "pid").read_text())))
    assert (await run(client, "echo next")).result == "next\n"


async def test_a_script_gets_sigterm_at_its_soft_timeout_and_may_end_well(
    client: JobClient, start_runner: StartRunner
) -> None:
    start_runner("--executor", "shell")
    heeds = await run(client, "trap 'echo partly; exit 0' TERM; while :; do :; done", timeout=20, soft_timeout=1)
    assert (heeds.status, heeds.result) == (JobStatus.FINISHED, "partly\n")
    dies = await run(client, "while :; do :; done", timeout=20, soft_timeout=1)
    assert (dies.status, dies.error) == (JobStatus.ERROR, "timed out after 1 s (soft timeout)")
