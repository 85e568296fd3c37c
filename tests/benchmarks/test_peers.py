"""The same work for us, for supervisord and for circusd, in interleaved rounds on one machine.

All supervise ``sleep``, or a shell that writes down its process id. Ours is in its default sandbox, as users have it,
which systemd has to set up for every process; ``trusted`` is without one, as the peers are.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.benchmarks.keep_alive import Http
from tests.benchmarks.peers import result_in
from tests.e2e.conftest import IS_ROOT

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.benchmarks.peers import Peers
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(900)

SLEEP = ["/bin/sleep", "infinity"]
#: Adds its process id to a file, and sleeps.
LEAVE_PID = 'echo $$ >> "{}/pids"; exec sleep infinity'
#: No pause before a restart, and no end of restarts within the rounds.
AT_ONCE = {"restart_delay_s": 0, "backoff": {"fast_retries": 100, "stable_after_s": 1}}


def pids_in(directory: Path) -> list[int]:
    """Return the process ids that were written down, whole lines only."""
    try:
        return [int(line) for line in (directory / "pids").read_text().splitlines(keepends=True) if line[-1:] == "\n"]
    except FileNotFoundError:
        return []


def there(directory: Path, number: int) -> int:
    """Wait until so many process ids were written down, and return the last one."""
    deadline = time.monotonic() + 60
    while len(pids := pids_in(directory)) < number:
        assert time.monotonic() < deadline, f"no new process in {directory}"
        time.sleep(0.001)
    assert len(pids) == number
    return pids[-1]


def restarted_in_s(directory: Path) -> float:
    """Kill the process that was started last, and return the seconds until there is a new one."""
    number = len(pids_in(directory))
    pid = there(directory, number)
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    there(directory, number + 1)
    return time.perf_counter() - began


async def took_s(work: Awaitable[Any]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def leave_pid(directory: Path | str) -> list[str]:
    return ["/bin/sh", "-c", LEAVE_PID.format(directory)]


def test_restart_of_a_killed_worker(service: Service, peers: Peers, compare: Any, tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("ours, trusted", "supervisord", "circusd")}
    for place in places.values():
        place.mkdir()
    service.add("trusted", command=leave_pid(places["ours, trusted"]), sandbox="trusted", **AT_ONCE)
    if IS_ROOT:  # a user's manager keeps state directories elsewhere
        places["ours, default sandbox"] = Path("/var/lib", service.namespace, "runners/default")
        service.add("default", command=leave_pid("$STATE_DIRECTORY"), **AT_ONCE)
    if peers.supervisord("crash", f"/bin/sh -c '{LEAVE_PID.format(places['supervisord'])}'") is None:
        del places["supervisord"]
    if not peers.has_circus("crash", f"/bin/sh -c '{LEAVE_PID.format(places['circusd'])}'"):
        del places["circusd"]
    for place in places.values():
        there(place, 1)
    times: dict[str, list[float]] = {name: [] for name in places}
    for round_ in range(40):
        for name, place in places.items():
            if name != "circusd" or round_ % 4 == 0:  # seconds each
                times[name].append(restarted_in_s(place))
        time.sleep(0.05)  # as many restarts in a second are a crash loop for systemd
    compare("kill -9 of a worker until a new one runs", times, 20)


async def test_stop_of_fifty(service: Service, peers: Peers, compare: Any) -> None:
    http = await Http().connect(service.port)
    for number in range(50):
        await http.call("add_runner", {"id": f"ours{number}", "command": SLEEP})
    supervisord = peers.supervisord("pool", " ".join(SLEEP), count=50)
    if supervisord is not None:
        await supervisord.connect()
    times: dict[str, list[float]] = {"ours, operate_runners": [], "ours, stop_all": [], "supervisord": []}
    for _ in range(5):
        for name, method, params in (
            ("ours, operate_runners", "operate_runners", {"verb": "stop", "runners": ["*"]}),
            ("ours, stop_all", "stop_all", None),
        ):
            await http.call("start_all", None)
            times[name].append(await took_s(http.call(method, params)))
            counts = (await http.call("get_all_status", None))["counts"]
            assert counts["stopped"] == 50
        if supervisord is not None:
            await supervisord.call("startProcessGroup", "pool", True)
            times["supervisord"].append(await took_s(supervisord.call("stopProcessGroup", "pool", True)))
            states = await supervisord.call("getAllProcessInfo")
            assert {state["statename"] for state in states} == {"STOPPED"}
    await http.close()
    if supervisord is not None:
        await supervisord.close()
    compare("stop of 50", {name: of for name, of in times.items() if of}, 20)


async def test_status_of_three_hundred(service: Service, peers: Peers, compare: Any) -> None:
    http = await Http().connect(service.port)
    for number in range(300):
        await http.call("add_runner", {"id": f"ours{number}", "command": SLEEP})
    await http.call("start_all", None)
    supervisord = peers.supervisord("fleet", " ".join(SLEEP), count=300)
    if supervisord is not None:
        await supervisord.connect()
    ask = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "get_all_runner_status"}).encode()
    times: dict[str, list[float]] = {
        name: [] for name in ("ours", "supervisord", "ours, decoded", "supervisord, decoded")
    }
    for _ in range(30):
        began = time.perf_counter()
        answer = await http.post("/", "application/json", ask)
        times["ours"].append(time.perf_counter() - began)
        statuses = json.loads(answer)["result"]
        times["ours, decoded"].append(time.perf_counter() - began)
        assert [status["status"] for status in statuses] == ["running"] * 300
        if supervisord is not None:
            began = time.perf_counter()
            answer = await supervisord.answer("getAllProcessInfo")
            times["supervisord"].append(time.perf_counter() - began)
            states = result_in(answer)
            times["supervisord, decoded"].append(time.perf_counter() - began)
            assert [state["statename"] for state in states] == ["RUNNING"] * 300
    await http.close()
    if supervisord is not None:
        await supervisord.close()
    compare("status of 300", {name: of for name, of in times.items() if of}, 15)
