"""The bundled runner as a real process, on a real Redis."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from redis.asyncio import Redis

from hero_supervisor.client import JobClient
from hero_supervisor.drain import DRAINED_STATUS
from hero_supervisor.job import MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES, Job, JobResult, JobStatus
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.worker.execute import StopRequest
from hero_supervisor.worker.journal_log import JobLog
from hero_supervisor.worker.runner_loop import RunnerLoop, RunnerOptions
from tests.redis_fixtures import RedisProcess, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
async def client(redis_url: str, namespace: str) -> AsyncIterator[JobClient]:
    async with JobClient.connect(redis_url, namespace) as client:
        yield client


@pytest.fixture
async def raw(redis_server: RedisProcess) -> AsyncIterator[Redis]:
    async with Redis(unix_socket_path=str(redis_server.socket), decode_responses=True, protocol=2) as raw:
        yield raw


class StartRunner(Protocol):
    def __call__(self, *options: str, url: str = ..., namespace: str = ...) -> subprocess.Popen[bytes]: ...


@pytest.fixture
def start_runner(redis_url: str, namespace: str, tmp_path: Path) -> Iterator[StartRunner]:
    """Start ``hero-runner r``; what it prints goes to ``tmp_path/out``."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*options: str, url: str = redis_url, namespace: str = namespace) -> subprocess.Popen[bytes]:
        variables = {"HERO_REDIS_URL": url, "HERO_NAMESPACE": namespace, "HERO_RUNNER": "r", "SECRET": "runner's own"}
        with (tmp_path / "out").open("ab") as out:
            words = [sys.executable, "-W", "error", "-m", "hero_supervisor.worker", *options]
            process = subprocess.Popen(words, env={**os.environ, **variables}, stdout=out, stderr=out)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


async def run(client: JobClient, payload: str, **fields: Any) -> JobResult:
    job_id = await client.enqueue(Job(**{"runner": "r", "payload": payload, **fields}))
    return await client.wait_for_result(job_id, timeout_s=20)


async def status_is(client: JobClient, job_id: str, status: JobStatus) -> None:
    async def holds() -> bool:
        return await client.get_job_status(job_id) is status

    await eventually(holds)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def peak_kib_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])


async def ends(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, 15)


# -- what scripts are and see --------------------------------------------------------------------------------------


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
    assert {"HERO_JOB_ID": "j1", "CALLER_ID": "me", "CONTEXT_ID": "c", "HERO_RUNNER": "r"}.items() <= seen.items()
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


async def test_ping_is_answered_at_once(client: JobClient, start_runner: StartRunner, raw: Redis) -> None:
    start_runner("--executor", "shell")
    result = await run(client, "ping", id="p")
    assert (result.status, result.result) == (JobStatus.FINISHED, "pong")
    assert await raw.lrange(client.keys.reply_queue("p"), 0, -1) == ["pong"]


# -- ends ----------------------------------------------------------------------------------------------------------


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


async def test_lines_of_jobs_are_printed_where_there_is_no_journald(
    client: JobClient, redis_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stop = StopRequest(grace_s=5)
    options = RunnerOptions("r", client.keys.work_queue("r"), "shell", stop_grace_s=5)
    log = JobLog(str(tmp_path / "no-journald"))
    running = asyncio.create_task(RunnerLoop(options, RedisServer.at(redis_url), client.keys, log).run(stop))
    await run(client, "echo to stdout; echo to stderr >&2")
    stop.make()
    await running
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("to stdout\n", "to stderr\n")


# -- the protocol --------------------------------------------------------------------------------------------------


async def test_a_job_of_a_foreign_client_runs(client: JobClient, start_runner: StartRunner, raw: Redis) -> None:
    start_runner()
    fields = {"id": "f", "caller_id": "c", "context_id": "x", "payload": "print(1)", "status": "dispatched"}
    for name, value in fields.items():
        await raw.hset(client.keys.job("f"), name, value)
    await raw.lpush(client.keys.work_queue("r"), "f")
    reply = await raw.blpop([client.keys.reply_queue("f")], 10)
    assert reply
    assert reply[1] == "1\n"
    assert await raw.hmget(client.keys.job("f"), ["status", "output", "error"]) == ["finished", "1\n", None]


async def test_the_reply_expires(client: JobClient, start_runner: StartRunner, raw: Redis) -> None:
    start_runner()
    result = await run(client, "print(1)")
    assert 3590 < await raw.ttl(client.keys.reply_queue(result.job_id)) <= 3600


async def test_another_list_is_served_when_it_is_named(client: JobClient, start_runner: StartRunner) -> None:
    queue = f"{client.keys.namespace}:mine"
    start_runner("--queue", queue)
    await client.enqueue(Job(id="a", payload="print(1)"), queue=queue)
    assert (await client.wait_for_result("a", timeout_s=10)).result == "1\n"


async def test_bad_ids_and_records_do_not_stop_the_runner(
    client: JobClient, start_runner: StartRunner, raw: Redis
) -> None:
    queue = client.keys.work_queue("r")
    await raw.hset(client.keys.job("corrupt"), mapping={"payload": "print(1)", "timeout": "soon"})
    await raw.set(client.keys.job("text"), "not a hash")
    await raw.hset(client.keys.job("no payload"), mapping={"status": "dispatched"})
    bad: list[Any] = ["gone", "corrupt", "text", b"\xff\x00", "", "no payload"]
    await raw.rpush(queue, *bad)
    start_runner()
    assert (await run(client, "print(1)")).result == "1\n"
    corrupt = await client.get_job_result("corrupt")
    assert (corrupt.status, "timeout" in (corrupt.error or "")) == (JobStatus.ERROR, True)
    assert (await client.get_job_result("no payload")).status is JobStatus.ERROR
    assert not await raw.exists(client.keys.job("gone"))


@pytest.mark.parametrize("status", ["finished", "error"])
async def test_a_job_that_has_ended_is_not_run_again(
    client: JobClient, start_runner: StartRunner, raw: Redis, tmp_path: Path, status: str
) -> None:
    await raw.hset(client.keys.job("old"), mapping={"payload": f"open('{tmp_path}/ran', 'w')", "status": status})
    await raw.rpush(client.keys.work_queue("r"), "old")
    start_runner()
    await run(client, "print(1)")
    assert not (tmp_path / "ran").exists()
    assert not await raw.exists(client.keys.reply_queue("old"))


async def test_a_job_deleted_while_it_runs_is_not_made_again(
    client: JobClient, start_runner: StartRunner, raw: Redis, tmp_path: Path
) -> None:
    start_runner("--executor", "shell")
    await client.enqueue(Job(id="a", runner="r", payload=f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"))
    await status_is(client, "a", JobStatus.STARTED)
    await raw.delete(client.keys.job("a"))
    (tmp_path / "go").touch()
    assert (await run(client, "echo next")).result == "next\n"
    assert not await raw.exists(client.keys.job("a"))


# -- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_runner_stops_in_two_seconds(
    client: JobClient, start_runner: StartRunner, number: signal.Signals
) -> None:
    runner = start_runner()
    await run(client, "ping")
    runner.send_signal(number)
    async with asyncio.timeout(2):
        assert await ends(runner) == 0


async def test_a_job_that_ends_within_the_grace_has_its_result(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    runner = start_runner("--executor", "shell")
    payload = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo whole"
    await client.enqueue(Job(id="a", runner="r", payload=payload))
    await status_is(client, "a", JobStatus.STARTED)
    await client.enqueue(Job(id="b", runner="r", payload="echo not taken"))
    runner.send_signal(signal.SIGTERM)
    (tmp_path / "go").touch()
    assert await ends(runner) == 0
    assert (await client.get_job_result("a")).result == "whole\n"
    assert await client.get_job_status("b") is JobStatus.DISPATCHED


async def test_a_job_that_outlasts_the_grace_goes_back_to_the_head(
    client: JobClient, start_runner: StartRunner, raw: Redis, tmp_path: Path
) -> None:
    runner = start_runner("--executor", "shell", "--stop-grace", "0.2")
    payload = f"trap '' TERM; echo $$ > {tmp_path}/pid; sleep 600; echo woken"
    await client.enqueue(Job(id="a", runner="r", payload=payload))
    await client.enqueue(Job(id="b", runner="r", payload="echo b"))
    await eventually((tmp_path / "pid").exists)
    runner.send_signal(signal.SIGTERM)
    assert await ends(runner) == 0
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert await raw.lrange(client.keys.work_queue("r"), 0, -1) == ["a", "b"]
    assert await client.get_job_status("a") is JobStatus.DISPATCHED
    assert not await raw.exists(client.keys.reply_queue("a"))


async def test_a_script_that_systemd_ends_together_with_the_runner_goes_back(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    runner = start_runner("--executor", "shell")
    payload = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 600"
    await client.enqueue(Job(id="a", runner="r", payload=payload))
    await eventually((tmp_path / "pid").exists)
    # KillMode=control-group signals each process; here the script dies first.
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    runner.send_signal(signal.SIGTERM)
    assert await ends(runner) == 0
    assert await client.get_job_status("a") is JobStatus.DISPATCHED
    assert await client.queue_depth(client.keys.work_queue("r")) == 1


async def test_a_job_put_back_is_done_by_the_next_runner(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    first = start_runner("--executor", "shell", "--stop-grace", "0")
    payload = f"echo x >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) = 2 ] || sleep 600; echo done"
    await client.enqueue(Job(id="a", runner="r", payload=payload))
    await eventually((tmp_path / "runs").exists)
    first.send_signal(signal.SIGTERM)
    assert await ends(first) == 0
    start_runner("--executor", "shell")
    assert (await client.wait_for_result("a", timeout_s=10)).result == "done\n"


async def test_an_id_that_comes_with_the_stop_goes_back_to_the_head(
    client: JobClient, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopRequest(grace_s=5)
    options = RunnerOptions("r", client.keys.work_queue("r"), "shell", stop_grace_s=5)
    loop = RunnerLoop(options, RedisServer.at(redis_url), client.keys, JobLog())
    take = loop._inbox.take

    async def take_and_stop() -> str | None:
        job_id = await take()
        stop.make()
        return job_id

    monkeypatch.setattr(loop._inbox, "take", take_and_stop)
    ids = [await client.enqueue(Job(runner="r", payload="echo x")) for _ in range(3)]
    await loop.run(stop)
    assert await client.queue_depth(client.keys.work_queue("r")) == 3
    assert {await client.get_job_status(job_id) for job_id in ids} == {JobStatus.DISPATCHED}


async def test_a_runner_that_drains_finishes_its_job_and_takes_no_other(
    client: JobClient, start_runner: StartRunner, tmp_path: Path
) -> None:
    runner = start_runner("--executor", "shell", "--stop-grace", "0")
    first = await client.enqueue(
        Job(runner="r", payload=f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo done")
    )
    await status_is(client, first, JobStatus.STARTED)
    second = await client.enqueue(Job(runner="r", payload="echo second"))
    runner.send_signal(signal.SIGUSR1)
    await asyncio.sleep(0.3)  # longer than the grace of a stop
    (tmp_path / "go").touch()
    assert (await client.wait_for_result(first, timeout_s=10)).result == "done\n"
    assert await ends(runner) == DRAINED_STATUS
    assert await client.get_job_status(second) is JobStatus.DISPATCHED


async def test_a_runner_that_drains_can_still_be_stopped(client: JobClient, start_runner: StartRunner) -> None:
    runner = start_runner("--executor", "shell", "--stop-grace", "0")
    job = await client.enqueue(Job(runner="r", payload="sleep 600"))
    await status_is(client, job, JobStatus.STARTED)
    runner.send_signal(signal.SIGUSR1)
    runner.send_signal(signal.SIGTERM)
    assert await ends(runner) == 0
    assert await client.get_job_status(job) is JobStatus.DISPATCHED


async def test_an_idle_runner_drains_at_once(client: JobClient, start_runner: StartRunner) -> None:
    runner = start_runner()
    await run(client, "print(1)")
    runner.send_signal(signal.SIGUSR1)
    assert await ends(runner) == DRAINED_STATUS


async def test_stopping_again_and_again_loses_no_job(client: JobClient, start_runner: StartRunner) -> None:
    jobs = [Job(runner="r", payload="echo done", executor="shell") for _ in range(300)]
    await asyncio.gather(*map(client.enqueue, jobs))
    waits = asyncio.gather(*(client.wait_for_result(job.id, timeout_s=50) for job in jobs))
    for _ in range(6):
        runner = start_runner("--stop-grace", "0")
        before = await client.queue_depth(client.keys.work_queue("r"))

        async def has_worked(before: int = before) -> bool:
            return await client.queue_depth(client.keys.work_queue("r")) < max(before - 10, 1)

        await eventually(has_worked)
        runner.send_signal(signal.SIGTERM)
        assert await ends(runner) == 0
    start_runner()
    assert {result.result for result in await waits} == {"done\n"}


# -- Redis going away ----------------------------------------------------------------------------------------------


async def test_a_result_in_hand_is_written_when_redis_is_back(
    own_redis: RedisProcess, start_runner: StartRunner, tmp_path: Path
) -> None:
    start_runner("--executor", "shell", url=own_redis.url, namespace="hero")
    async with JobClient.connect(own_redis.url) as client:
        payload = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo kept; touch {tmp_path}/done"
        await client.enqueue(Job(id="a", runner="r", payload=payload))
        await status_is(client, "a", JobStatus.STARTED)
        own_redis.stop()
        (tmp_path / "go").touch()
        await eventually((tmp_path / "done").exists)
        await eventually(lambda: "trying again" in (tmp_path / "out").read_text())
        own_redis.start()
        assert (await client.wait_for_result("a", timeout_s=10)).result == "kept\n"
        assert (await run(client, "echo next")).result == "next\n"


async def test_a_runner_waits_for_a_redis_that_starts_later(tmp_path: Path, start_runner: StartRunner) -> None:
    redis = RedisProcess(tmp_path)
    start_runner(url=redis.url, namespace="hero")
    await eventually(lambda: "trying again" in (tmp_path / "out").read_text())
    redis.start()
    try:
        async with JobClient.connect(redis.url) as client:
            assert (await run(client, "print(1)")).result == "1\n"
    finally:
        redis.stop()


async def test_a_runner_without_redis_can_be_stopped(tmp_path: Path, start_runner: StartRunner) -> None:
    runner = start_runner(url=f"unix://{tmp_path}/none.sock")
    await eventually(lambda: "trying again" in (tmp_path / "out").read_text())
    runner.send_signal(signal.SIGTERM)
    assert await ends(runner) == 0
    assert (tmp_path / "out").read_text().count("trying again") == 1


async def test_what_a_dropped_connection_hides_is_asked_again(
    own_redis: RedisProcess, start_runner: StartRunner
) -> None:
    start_runner("--executor", "shell", url=own_redis.url, namespace="hero")
    async with JobClient.connect(own_redis.url) as client, Redis(unix_socket_path=str(own_redis.socket)) as admin:
        for number in range(20):
            job_id = await client.enqueue(Job(runner="r", payload=f"echo {number}"))
            wait = asyncio.create_task(client.wait_for_result(job_id, timeout_s=10))
            await status_is_left(client, job_id, JobStatus.DISPATCHED)
            # Not while it is blocked in BLPOP: there, an id in flight would be lost, as the protocol has it.
            await admin.client_kill_filter(_type="normal", skipme=True)
            assert (await wait).result == f"{number}\n"


async def status_is_left(client: JobClient, job_id: str, status: JobStatus) -> None:
    async def holds() -> bool:
        return await client.get_job_status(job_id) is not status

    await eventually(holds)
