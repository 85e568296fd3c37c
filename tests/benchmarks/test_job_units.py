"""How fast jobs that are units are executed, beside what systemd itself needs for the start of such units.

The floor is the start rate of a bare client: StartTransientUnit with the very same properties, wait for JobRemoved,
read the state; 16 at once. Ours is from the queueing of the first job to the result of the last in Redis; a job's unit
is not only started in that time: its end is read, its result written, and the unit unloaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.client import JobClient
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.job import Job, JobStatus
from hero_supervisor.runner import JobProtocol, Runner
from hero_supervisor.systemd import library as libraries
from hero_supervisor.unit import Site, render_job
from tests.benchmarks.test_start import LIBRARY, MANAGER, BareClient, MessageBus
from tests.e2e.conftest import IS_ROOT, eventually, systemctl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.e2e.conftest import Service
    from tests.redis_fixtures import RedisProcess

pytestmark = pytest.mark.timeout(600)

JOBS, AT_ONCE, ROUNDS = 200, 16, 5
TRUE = Runner(
    id="true", command=("/bin/true",), protocol=JobProtocol.UNIT, concurrency=AT_ONCE, sandbox=Sandbox.TRUSTED
)


@pytest.fixture
async def start_bare(stopped_service: Service, tmp_path: Path) -> AsyncIterator[Callable[[int], Any]]:
    """Start as many units with a bare client; returns seconds."""
    bus = await MessageBus(bus_type=LIBRARY.BusType.SYSTEM if IS_ROOT else LIBRARY.BusType.SESSION).connect()
    bus._writer.sock = libraries.PatientSocket(bus._sock)  # as it comes, a hundred starts at once cut its connection
    client = BareClient(bus)
    await client.call(**MANAGER, member="Subscribe")
    rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'"
    dbus = {"destination": "org.freedesktop.DBus", "path": "/org/freedesktop/DBus", "interface": "org.freedesktop.DBus"}
    await client.call(**dbus, member="AddMatch", signature="s", body=[rule])
    # Not in our supervisor's namespace, where it would stop units that no job of its own has.
    site = Site(f"{stopped_service.namespace}bare", Path("/none"))
    payload = tmp_path / "payload"
    payload.touch()
    room = asyncio.Semaphore(AT_ONCE)

    async def start(number: int) -> None:
        job = Job(id=f"bare{number}", payload="", runner="bare")
        unit = render_job(TRUE, job, site, attempt=1, payload=payload, output=tmp_path / f"{number}.out")
        async with room:
            await client.start(unit)

    async def start_all(count: int) -> float:
        began = time.perf_counter()
        await asyncio.gather(*map(start, range(count)))
        took = time.perf_counter() - began
        systemctl("stop", f"{site.job_units('true')}")
        return took

    yield start_all
    systemctl("stop", f"{site.namespace}.slice", is_checked=False)
    bus.disconnect()
    with contextlib.suppress(Exception):
        await bus.wait_for_disconnect()


async def _execute(jobs: JobClient, round_: int) -> float:
    """Have jobs executed and return the seconds that took."""
    ids = [f"{round_}.{number}" for number in range(JOBS)]
    began = time.perf_counter()
    await jobs.enqueue_many([Job(id=id, payload="", runner="true") for id in ids])
    assert {result.status for result in await jobs.wait_for_results(ids, timeout_s=60)} == {JobStatus.FINISHED}
    return time.perf_counter() - began


async def test_jobs_of_bin_true(
    stopped_service: Service, start_bare: Any, own_redis: RedisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, floor = [], []
    service = stopped_service
    service.start("--redis-url", own_redis.url)
    service.add("true", command=["/bin/true"], protocol="unit", concurrency=AT_ONCE, sandbox="trusted")
    async with JobClient.connect(own_redis.url, service.namespace) as jobs:
        for round_ in range(ROUNDS):
            floor.append(await start_bare(JOBS))
            ours.append(await _execute(jobs, round_))
            eventually(lambda: not systemctl("list-units", "--plain", "--no-legend", f"{service.namespace}-job-*"))
    part = median(floor) / median(ours)
    goal = "reached" if part >= 0.6 else "NOT REACHED"
    with capsys.disabled():
        print(f"\n{JOBS} jobs of /bin/true as units, {AT_ONCE} at once, median of {ROUNDS} interleaved rounds:")
        print(f"  ours {JOBS / median(ours):7.0f} jobs/s     bare client {JOBS / median(floor):7.0f} starts/s")
        print(f"  ratio {part:6.2f}             (to reach: 0.60, {goal})")
