"""What breaks: each nemesis breaks one thing once, and takes down how many jobs that may have executed twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.e2e.conftest import systemctl

from .jobs import RUNNER

if TYPE_CHECKING:
    from .jobs import JobsUnderFire

#: Seconds that a process hangs, and that Redis does.
HANG_S = 0.3
#: Takes memory and keeps it: it ends by being killed for that, or by the timeout of its job.
_GLUTTON = f"exec {sys.executable} -IS -c \"import time; kept = b'x' * {200 * 2**20}; time.sleep(1000)\""
STALL_S = 5.0


async def kill_runner(run: JobsUnderFire) -> None:
    """Kill a process that executes jobs."""
    if victim := _victim(run):
        unit, pid = victim
        job_id, killed_ms = _job_of(run, unit), time.time() * 1000
        _signal(pid, signal.SIGKILL)
        run.outcome.in_flight_at_kills += 1
        await _measure(run, job_id, killed_ms)


async def hang_runner(run: JobsUnderFire) -> None:
    """Let a process hang, and kill it a moment later."""
    if victim := _victim(run):
        _, pid = victim
        _signal(pid, signal.SIGSTOP)
        await asyncio.sleep(HANG_S)
        _signal(pid, signal.SIGKILL)
        run.outcome.in_flight_at_kills += 1


async def kill_supervisor(run: JobsUnderFire) -> None:
    """Kill the supervisor and start another."""
    await asyncio.to_thread(run.service.kill)
    await asyncio.to_thread(run.service.start)


async def kill_runner_and_supervisor(run: JobsUnderFire) -> None:
    """Kill the supervisor, and a process while there is none."""
    await asyncio.to_thread(run.service.kill)
    if victim := _victim(run):
        _signal(victim[1], signal.SIGKILL)
        run.outcome.in_flight_at_kills += 1
    await asyncio.to_thread(run.service.start)


async def kill_redis(run: JobsUnderFire) -> None:
    """Kill Redis; systemd starts it again, and it reads its append-only file."""
    systemctl("kill", "--signal=KILL", _redis_unit(run))
    run.outcome.in_flight_at_kills += _may_drop_results(run)


async def stall_redis(run: JobsUnderFire) -> None:
    """Let Redis stand still for five seconds."""
    systemctl("kill", "--signal=STOP", _redis_unit(run))
    await asyncio.sleep(STALL_S)
    systemctl("kill", "--signal=CONT", _redis_unit(run))


async def kill_connections(run: JobsUnderFire) -> None:
    """Kill the connections of all clients."""
    with suppress(RedisConnectionError), Redis.from_url(run.redis_url) as raw:
        raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")
    run.outcome.in_flight_at_kills += _may_drop_results(run)


async def flush_scripts(run: JobsUnderFire) -> None:
    """Let Redis forget all scripts."""
    with suppress(RedisConnectionError), Redis.from_url(run.redis_url) as raw:
        raw.script_flush()


async def exhaust_memory(run: JobsUnderFire) -> None:
    """Queue a job that takes more memory than its runner may have; for machines that enforce limits."""
    job_id = f"glutton-{run.rng.getrandbits(32):x}"
    job = {"id": job_id, "payload": _GLUTTON, "priority": 9, "max_crashes": 0}
    await asyncio.to_thread(run.service.rpc.call, "queue_job_to_runner", {"runner": RUNNER, "job": job})
    await asyncio.to_thread(run.service.rpc.call, "wait_for_jobs", {"job_ids": [job_id], "timeout": 100})
    run.outcome.in_flight_at_kills += run.instances


NEMESES = {
    nemesis.__name__: nemesis
    for nemesis in (
        *(kill_runner, hang_runner, kill_supervisor, kill_runner_and_supervisor),
        *(kill_redis, stall_redis, kill_connections, flush_scripts),
    )
}


async def any_of_them(run: JobsUnderFire) -> None:
    """Do one of them; the one that takes long seldom."""
    choice = run.rng.choice([name for name in NEMESES if name != stall_redis.__name__])
    await NEMESES[choice](run)


def _victim(run: JobsUnderFire) -> tuple[str, int] | None:
    processes = run.processes()
    return run.rng.choice(sorted(processes.items())) if processes else None


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _redis_unit(run: JobsUnderFire) -> str:
    return f"{run.service.namespace}-redis.service"


def _may_drop_results(run: JobsUnderFire) -> int:
    """Return how many jobs a runner may execute again that loses its connection: a plain loop drops what it has."""
    return run.instances if run.protocol == "list" else 0


def _job_of(run: JobsUnderFire, unit: str) -> str | None:
    """Return a job that the process of a unit has."""
    if run.protocol == "unit":
        return None
    holder = systemctl("show", "--value", "--property=InvocationID", unit)
    with suppress(RedisConnectionError), Redis.from_url(run.redis_url) as raw:
        base = f"{run.service.namespace}:q:{{{RUNNER}}}"
        taken: Any = raw.zrange(f"{base}:taken", 0, -1)
        for job_id in map(bytes.decode, taken):
            # Who claims jobs is a run itself; a list stays, and the run that took from it is noted.
            if holder.encode() in raw.hmget(f"{run.service.namespace}:job:{job_id}", "holder", "run"):
                return str(job_id)
    return None


async def _measure(run: JobsUnderFire, job_id: str | None, killed_ms: float) -> None:
    """Take down how long it took until a job was in the queue again."""
    if job_id is None:
        return
    key = f"{run.service.namespace}:job:{job_id}"
    with suppress(RedisConnectionError), Redis.from_url(run.redis_url) as raw:
        for _ in range(500):
            queued, ended = raw.hmget(key, "queued_at", "ended_at")
            if queued and int(queued) >= killed_ms - 1:
                run.outcome.recoveries_ms.append(int(queued) - killed_ms)
                return
            if ended:
                return  # it ended before it could be killed
            await asyncio.sleep(0.002)
