"""Jobs as units of their own, on a real systemd and a real Redis."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.client import JobClient
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.job import MAX_RESULT_BYTES, Job, JobStatus
from hero_supervisor.records import RunnerState
from hero_supervisor.runner import Executor, JobProtocol, Runner
from tests.redis_fixtures import eventually
from tests.systemd_fixtures import IS_USER, forget_state, loaded_units, run_systemctl, systemctl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hero_supervisor.supervisor import Supervisor

pytestmark = pytest.mark.timeout(90)

#: journald gives lines the fields of LogExtraFields= for units of the system manager only.
TAGGED = pytest.mark.skipif(IS_USER, reason="lines of a user's units do not have their job's id")

SH = ("/bin/sh", "{payload_file}")


def builder(redis_url: str, namespace: str, state: Path) -> SupervisorBuilder:
    return SupervisorBuilder().redis_url(redis_url).namespace(namespace).state_dir(state)


@pytest.fixture
async def supervisor(redis_url: str, unit_prefix: str, tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with await builder(redis_url, unit_prefix, tmp_path / "state").build() as supervisor:
        yield supervisor
        for runner in await supervisor.list_runners():
            await supervisor.remove_runner(runner)
        await eventually(lambda: not loaded_units(f"{unit_prefix}-job-"))
        await eventually(lambda: not list((tmp_path / "state/jobs").glob("*")))
    systemctl("stop", f"{unit_prefix}.slice")
    forget_state(unit_prefix)


@pytest.fixture
async def jobs(redis_url: str, unit_prefix: str) -> AsyncIterator[JobClient]:
    async with JobClient.connect(redis_url, unit_prefix) as jobs:
        yield jobs


async def add(supervisor: Supervisor, **fields: Any) -> None:
    definition = {"id": "a", "command": SH, "protocol": JobProtocol.UNIT, "sandbox": Sandbox.TRUSTED, **fields}
    await supervisor.add_runner(Runner(**definition))
    assert (await supervisor.start_runner(definition["id"])).status is RunnerState.RUNNING


async def end_of(jobs: JobClient, payload: str, **fields: Any) -> Any:
    job_id = await jobs.enqueue(Job(payload=payload, runner="a", **fields))
    return await jobs.wait_for_result(job_id, timeout_s=30)


async def status_is(jobs: JobClient, job_id: str, status: JobStatus) -> None:
    async def is_so() -> bool:
        return (await jobs.get_job_state(job_id)).status is status

    await eventually(is_so)


async def test_what_a_job_writes_to_standard_output_is_its_result(supervisor: Supervisor, jobs: JobClient) -> None:
    await add(supervisor)
    outcome = await end_of(
        jobs, "echo $HERO_JOB_ID $HERO_ATTEMPT $HERO_RUNNER $A; echo no >&2", id="x1", env_vars={"A": "b c"}
    )
    assert (outcome.status, outcome.result) == (JobStatus.FINISHED, "x1 1 a b c\n")


@pytest.mark.parametrize("sandbox", Sandbox)
async def test_the_payload_can_be_read_in_every_sandbox(
    supervisor: Supervisor, jobs: JobClient, sandbox: Sandbox
) -> None:
    await add(
        supervisor,
        command=("/bin/sh", "-c", 'cat; cat "$HERO_PAYLOAD_FILE" "$1"', "x", "{payload_file}"),
        sandbox=sandbox,
    )
    assert (await end_of(jobs, "abc $HOME é\n")).result == "abc $HOME é\n" * 3


@pytest.mark.parametrize(
    ("executor", "payload"),
    [
        (Executor.SHELL, "cat | wc -l; echo 42"),
        (Executor.PYTHON, "import sys\nprint(len(sys.stdin.readlines()))\nprint(6 * 7)"),
    ],
)
async def test_an_interpreter_reads_the_payload(
    supervisor: Supervisor, jobs: JobClient, executor: Executor, payload: str
) -> None:
    await add(supervisor, command=(), executor=executor)
    assert str((await end_of(jobs, payload)).result).splitlines()[-1] == "42"


@pytest.mark.parametrize(
    ("payload", "fields", "error", "reason"),
    [
        ("exit 3", {}, "exit code 3", "failed"),
        pytest.param("echo no file >&2; exit 3", {}, "no file (exit code 3)", "failed", marks=TAGGED),
        pytest.param("echo a >&2; echo b >&2; exit 1", {}, "b (exit code 1)\n\na\nb", "failed", marks=TAGGED),
        ("sleep 30", {"timeout": 1}, "timed out after 1 s", "timeout"),
        ("sleep 30", {"timeout": 20, "soft_timeout": 1}, "timed out after 1 s", "timeout"),
        ("kill -9 $$", {"max_crashes": 0}, "killed by SIGKILL", "signal"),
        ("kill -TERM $$", {"max_crashes": 0}, "killed by SIGTERM", "signal"),
    ],
)
async def test_a_job_that_ends_badly_says_why(
    supervisor: Supervisor, jobs: JobClient, payload: str, fields: dict[str, Any], error: str, reason: str
) -> None:
    await add(supervisor)
    outcome = await end_of(jobs, payload, **fields)
    assert (outcome.status, outcome.error, outcome.reason) == (JobStatus.ERROR, error, reason)


async def test_a_command_that_does_not_exist_is_told(supervisor: Supervisor, jobs: JobClient) -> None:
    await add(supervisor, command=("/nonexistent",))
    outcome = await end_of(jobs, "")
    assert outcome.error == "exit code 203: its program cannot be executed (EXEC)"


async def test_a_job_that_crashes_is_tried_again_as_its_policy_says(supervisor: Supervisor, jobs: JobClient) -> None:
    await add(supervisor)
    outcome = await end_of(jobs, "[ $HERO_ATTEMPT = 3 ] || kill -9 $$; echo $HERO_ATTEMPT", max_crashes=2)
    assert outcome.result == "3\n"


async def test_a_cancelled_job_ends_at_once_with_all_its_processes(supervisor: Supervisor, jobs: JobClient) -> None:
    await add(supervisor)
    job_id = await jobs.enqueue(Job(payload="setsid sleep 1000 & wait", runner="a"))
    await status_is(jobs, job_id, JobStatus.STARTED)
    await eventually(lambda: "running" in systemctl("list-units", "--plain", f"*-job-a@{job_id}*"))
    began = asyncio.get_running_loop().time()
    await jobs.cancel_job(job_id)
    outcome = await jobs.wait_for_result(job_id, timeout_s=10)
    assert outcome.status is JobStatus.CANCELLED
    assert asyncio.get_running_loop().time() - began < 1


async def test_an_operators_stop_of_a_unit_gives_the_job_back(supervisor: Supervisor, jobs: JobClient) -> None:
    await add(supervisor)
    job_id = await jobs.enqueue(Job(payload="[ $HERO_ATTEMPT = 2 ] || sleep 1000; echo $HERO_ATTEMPT", runner="a"))
    await eventually(lambda: bool(loaded_units(f"{supervisor._site.namespace}-job-a@{job_id}:1")))
    systemctl("stop", f"{supervisor._site.namespace}-job-a@{job_id}:1.service")
    assert (await jobs.wait_for_result(job_id, timeout_s=10)).result == "2\n"
    assert (await jobs.get_job_state(job_id)).crashes == 0


async def test_a_stopped_runner_gives_its_jobs_back_and_takes_none(supervisor: Supervisor, jobs: JobClient) -> None:
    await add(supervisor)
    job_id = await jobs.enqueue(Job(payload="[ $HERO_ATTEMPT = 2 ] || sleep 1000; echo $HERO_ATTEMPT", runner="a"))
    await status_is(jobs, job_id, JobStatus.STARTED)
    assert (await supervisor.stop_runner("a")).status is RunnerState.STOPPED
    await status_is(jobs, job_id, JobStatus.DISPATCHED)
    assert not loaded_units(f"{supervisor._site.namespace}-job-")
    await supervisor.start_runner("a")
    assert (await jobs.wait_for_result(job_id, timeout_s=10)).result == "2\n"


async def test_a_draining_runner_lets_its_jobs_end(supervisor: Supervisor, jobs: JobClient) -> None:
    await add(supervisor)
    first = await jobs.enqueue(Job(payload="sleep 1; echo well", runner="a"))
    await status_is(jobs, first, JobStatus.STARTED)
    second = await jobs.enqueue(Job(payload="true", runner="a"))
    assert (await supervisor.drain_runner("a")).status is RunnerState.STOPPED
    assert (await jobs.wait_for_result(first, timeout_s=1)).result == "well\n"
    assert (await jobs.get_job_state(second)).status is JobStatus.DISPATCHED


async def test_not_more_jobs_run_than_may(supervisor: Supervisor, jobs: JobClient) -> None:
    await add(supervisor, concurrency=3)
    ids = [await jobs.enqueue(Job(payload="sleep 0.3", runner="a")) for _ in range(9)]
    most = 0
    while any(not each.status.is_final for each in [await jobs.get_job_state(id) for id in ids]):
        most = max(most, systemctl("list-units", "--plain", "--no-legend", "*-job-a@*").count(" running "))
        await asyncio.sleep(0.02)
    assert most == 3


async def test_an_output_that_runs_away_is_cut_on_disk(supervisor: Supervisor, jobs: JobClient, tmp_path: Path) -> None:
    await add(supervisor)
    job_id = await jobs.enqueue(Job(payload="head -c 3000000 /dev/zero | tr '\\0' x; sleep 3; echo end", runner="a"))
    files = tmp_path / "state/jobs"
    await eventually(lambda: any(path.stat().st_size >= 2_000_000 for path in files.glob("*.out")))
    await eventually(lambda: all(path.stat().st_size <= MAX_RESULT_BYTES + 1 for path in files.glob("*.out")))
    outcome = await jobs.wait_for_result(job_id, timeout_s=20)
    assert outcome.result is not None
    assert len(outcome.result.encode()) <= MAX_RESULT_BYTES
    assert outcome.result.endswith("cut here: more than is kept")


@pytest.mark.parametrize("verb", ["daemon-reload", "daemon-reexec"])
async def test_a_reload_loses_no_end(supervisor: Supervisor, jobs: JobClient, verb: str) -> None:
    await add(supervisor, concurrency=4, command=("/bin/sh", "-c", '. "$1"; : "$HOME;"', "x", "{payload_file}"))
    payloads = ("sleep 1; echo $HERO_ATTEMPT", "sleep 1; exit 4", "sleep 1.5; echo $HERO_ATTEMPT", "sleep 2; exit 5")
    ids = [await jobs.enqueue(Job(payload=payload, runner="a")) for payload in payloads]
    await eventually(lambda: systemctl("list-units", "--plain", "*-job-a@*").count(" running ") == 4)
    await run_systemctl(verb)
    outcomes = [await jobs.wait_for_result(job_id, timeout_s=20) for job_id in ids]
    assert [each.result or each.error for each in outcomes] == ["1\n", "exit code 4", "1\n", "exit code 5"]


async def test_the_next_supervisor_finds_what_ran_and_what_ended_meanwhile(
    redis_url: str, unit_prefix: str, tmp_path: Path, jobs: JobClient
) -> None:
    ids = [f"j{number}" for number in range(6)]
    async with await builder(redis_url, unit_prefix, tmp_path / "state").build() as first:
        await add(first, concurrency=6)
        for job_id, what in zip(
            ids,
            ("sleep 1.5; echo", "sleep 3; echo", "sleep 1.5; exit 3; :", "sleep 1000;") + ("sleep 1000;",) * 2,
            strict=True,
        ):
            await jobs.enqueue(Job(id=job_id, payload=f"{what} $HERO_ATTEMPT", runner="a"))

        async def are_loaded() -> bool:  # in a thread: the supervisor is in this one
            return len(await asyncio.to_thread(loaded_units, f"{unit_prefix}-job-")) == 6

        await eventually(are_loaded)
    systemctl("stop", f"{unit_prefix}-job-a@j3:1.service")
    await jobs.cancel_job("j4")
    await eventually(lambda: "failed" in systemctl("list-units", "--all", f"{unit_prefix}-job-a@j2*"))
    async with await builder(redis_url, unit_prefix, tmp_path / "state").build() as second:
        outcomes = [await jobs.wait_for_result(job_id, timeout_s=20) for job_id in (*ids[:3], "j4")]
        assert [each.result or each.error or each.status for each in outcomes] == [
            "1\n",
            "1\n",
            "exit code 3",
            "cancelled",
        ]
        assert (await jobs.get_job_state("j3")).attempt == 2
        assert (await jobs.get_job_state("j5")).attempt == 1
        await second.remove_runner("a")
        await eventually(lambda: not loaded_units(f"{unit_prefix}-job-"))
    systemctl("stop", f"{unit_prefix}.slice")
    forget_state(unit_prefix)


@TAGGED
async def test_lines_of_jobs_are_in_the_log_of_their_runner(supervisor: Supervisor, jobs: JobClient) -> None:
    await add(supervisor)
    await end_of(jobs, "echo one thing >&2", id="logged")

    async def has_line() -> bool:
        found = await supervisor.get_runner_logs("a", job_id="logged")
        return [record.message for record in found] == ["one thing"]

    await eventually(has_line)


@TAGGED
async def test_lines_of_jobs_can_be_followed(supervisor: Supervisor, jobs: JobClient) -> None:
    await add(supervisor)
    async with aclosing(supervisor.follow_runner_logs("a", lines=0, job_id="logged")) as records:
        following = asyncio.ensure_future(anext(records))
        for number in range(100):  # what comes before it follows is not told
            await end_of(jobs, "echo one thing >&2; sleep 0.1", id="logged" if not number else f"other{number}")
            await jobs.retry_job("logged")
            if (await asyncio.wait([following], timeout=0.5))[0]:
                break
        assert (await following).message == "one thing"
