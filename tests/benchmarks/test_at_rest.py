"""What the supervisor needs to come back to what runs, and while nothing happens."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import SupervisorBuilder
from hero_supervisor.settings import Manager
from tests.benchmarks.keep_alive import Http
from tests.e2e.conftest import IS_ROOT

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(600)

SLEEP = ["/bin/sleep", "infinity"]
REST_S = 60  # schedules are looked at once a minute


async def run(service: Service, count: int) -> None:
    async with Http(service.port) as http:
        for number in range(count):
            await http.call("add_runner", {"id": f"ours{number}", "command": SLEEP})
        outcomes = await http.call("start_all")
    assert {outcome["status"] for outcome in outcomes} == {"running"}


async def running(service: Service) -> int:
    async with Http(service.port) as http:
        return int((await http.call("get_all_status"))["counts"]["running"])


async def test_taking_over_two_hundred_runners(service: Service, figure: Any) -> None:
    await run(service, 200)
    ready_s, open_s = [], []
    service.kill()
    for _ in range(5):
        service.start()
        began_usec, ready_usec = (_time_usec(service, name) for name in ("ExecMainStart", "ActiveEnter"))
        ready_s.append((ready_usec - began_usec) / 1e6)
        assert await running(service) == 200
        service.kill()
        supervisor = await _builder(service).build()
        began_s = time.perf_counter()
        async with supervisor:
            open_s.append(time.perf_counter() - began_s)
            statuses = await supervisor.get_all_runner_status()
        assert [status.status for status in statuses] == ["running"] * 200
    figure("200 runners taken over, from exec to READY, median of 5", sorted(ready_s)[2], "s")
    figure("200 runners taken over, Supervisor.open, median of 5", sorted(open_s)[2], "s", 1)


def _time_usec(service: Service, name: str) -> int:
    return int(service.show(f"{name}TimestampMonotonic"))


def _builder(service: Service) -> SupervisorBuilder:
    builder = SupervisorBuilder().namespace(service.namespace).state_dir(service.state_dir)
    return builder if IS_ROOT else builder.process_manager(Manager.USER)


async def test_three_hundred_runners_and_nothing_to_do(service: Service, figure: Any) -> None:
    await run(service, 300)
    await asyncio.sleep(10)  # what the starts have left to do is done
    pid = int(service.show("MainPID"))
    before_ns = _cpu_ns(pid)
    await asyncio.sleep(REST_S)
    busy = (_cpu_ns(pid) - before_ns) / 1e9 / REST_S
    assert await running(service) == 300
    figure("300 runners at rest: processor time of the supervisor", 100 * busy, "% of a core", 0.1)
    figure("300 runners at rest: memory of the supervisor", _rss_mb(pid), "MB", 60)
    for other in _others(service, pid):
        figure(
            f"300 runners at rest: memory of its {Path(f'/proc/{other}/comm').read_text().strip()}",
            _rss_mb(other),
            "MB",
        )


def _cpu_ns(pid: int) -> int:
    """Return the processor time that all threads of a process have used."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def _rss_mb(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def _others(service: Service, pid: int) -> list[int]:
    """Return the other processes of the service."""
    group = service.show("ControlGroup")
    procs = Path("/sys/fs/cgroup").joinpath(group.lstrip("/"), "cgroup.procs").read_text()
    return [int(line) for line in procs.split() if int(line) != pid]
