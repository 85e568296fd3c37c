"""Cases 9 and 15: a flood of log lines, and a day's churn in a minute."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import SCOPE, eventually

from .fleet import BUSY, Fleet, Load, settled
from .test_workers import cpu_s_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(900)

LINES = 1_000_000
#: Seconds of churn; a run over night sets it to hours.
SOAK_S = float(os.environ.get("HERO_SOAK_S", "60"))


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main_pid(service: Service) -> int:
    return int(service.show("MainPID"))


# -- 9 -------------------------------------------------------------------------------------------------------------


def test_a_flood_of_a_million_lines_leaves_the_supervisor_as_it_was(
    service: Service, figures: Callable[..., None]
) -> None:
    pid = main_pid(service)
    service.add("before")
    service.rpc.call("get_runner_logs", ["before"])
    rss, cpu_s, began = rss_bytes(pid), cpu_s_of(pid), time.monotonic()
    script = f"i=0; yes 'a line of a flood, long enough to be one' | head -n {LINES}; exec sleep infinity"
    service.add("flood", command=["/bin/sh", "-c", script])
    most, slowest_s = rss, 0.0
    while not _sleeps(service, "flood"):
        asked = time.monotonic()
        service.rpc.call("get_runner_logs", {"runner": "flood", "lines": 1000})
        service.rpc.call("get_runner_status", ["flood"])
        slowest_s, most = max(slowest_s, time.monotonic() - asked), max(most, rss_bytes(pid))
        time.sleep(0.2)
    flood_s = time.monotonic() - began
    # The number of those dropped is written with the first line of the next interval.
    kept = _count(service, "flood")
    shown = [record["message"] for record in service.rpc.call("get_runner_logs", {"runner": "flood", "lines": 10_000})]
    most = max(most, rss_bytes(pid))
    figures(
        "9. log flood",
        lines=LINES,
        seconds=flood_s,
        lines_in_the_journal=kept,
        lines_that_are_dropped=LINES - kept,
        supervisor_grew_by_mb=(most - rss) / 1e6,
        supervisor_processor_s=cpu_s_of(pid) - cpu_s,
        slowest_pair_of_calls_s=slowest_s,
        last_line=shown[-1],
    )
    assert kept < LINES
    assert most - rss < 40e6


def _sleeps(service: Service, id: str) -> bool:
    pid = service.rpc.call("get_runner_status", [id])["main_pid"]
    return Path(f"/proc/{pid}/comm").read_text().strip() == "sleep"


def _count(service: Service, id: str) -> int:
    unit = f"{service.namespace}-runner-{id}.service"
    command = ["journalctl", *SCOPE, "--quiet", "--output=cat", f"_SYSTEMD_UNIT={unit}", "_TRANSPORT=stdout"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        read = process.stdout.read
        return sum(chunk.count(b"\n") for chunk in iter(lambda: read(1 << 20), b""))


def test_what_is_dropped_of_a_flood_is_told_with_its_number(service: Service, figures: Callable[..., None]) -> None:
    burst, lines = 100, 5000
    script = f"yes line | head -n {lines}; sleep 2; echo after; exec sleep infinity"
    rate = {"burst": burst, "interval_s": 1}
    service.add("flood", command=["/bin/sh", "-c", script], log_rate=rate)

    def messages() -> list[str]:
        found = service.rpc.call("get_runner_logs", {"runner": "flood", "lines": 10_000})
        return [record["message"] for record in found]

    eventually(lambda: "after" in messages(), timeout_s=20)
    told = [int(number) for text in messages() for number in re.findall(r"Suppressed (\d+) messages", text)]
    written = messages().count("line")
    figures("9. log flood, dropped lines", lines=lines, shown=written, dropped_as_told=sum(told))
    # journald counts the unit's other lines as well, and one too many each time.
    assert 0 <= sum(told) + written - lines <= 5


# -- 15 ------------------------------------------------------------------------------------------------------------


def test_churn_leaves_nothing_behind_in_the_supervisor(service: Service, figures: Callable[..., None]) -> None:
    fleet, pid = Fleet(service), main_pid(service)
    with Load(service, "warm-up") as load:
        time.sleep(10)
    before, rss = _holdings(pid), rss_bytes(pid)
    with Load(service, "soak") as load:
        time.sleep(SOAK_S)
    _, faults = settled(fleet, timeout_s=5)
    for id in BUSY:
        service.rpc.call("stop_runner", [id])
        service.rpc.call("start_runner", [id])
    after, grown = _holdings(pid), rss_bytes(pid) - rss
    cpu_s, began = cpu_s_of(pid), time.monotonic()
    time.sleep(10)
    idle = (cpu_s_of(pid) - cpu_s) / (time.monotonic() - began)
    figures(
        "15. churn",
        seconds=SOAK_S,
        operations=load.done,
        failed=len(load.errors),
        rss_mb=rss / 1e6,
        rss_grew_by_percent=100 * grown / rss,
        open_files_before=before["files"],
        open_files_after=after["files"],
        idle_processor_percent=100 * idle,
    )
    assert (faults, load.errors) == ([], [])
    assert after["files"] <= before["files"] + 2
    assert grown < 0.1 * rss


def _holdings(pid: int) -> dict[str, int]:
    return {"files": len(list(Path(f"/proc/{pid}/fd").iterdir()))}
