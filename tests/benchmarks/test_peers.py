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
from tests.benchmarks.peers import answer_of, result_in
from tests.e2e.conftest import IS_ROOT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.benchmarks.peers import Peers
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(900)

SLEEP = ["/bin/sleep", "infinity"]
#: Adds its process id to a file, and sleeps.
LEAVE_PID = 'echo $$ >> "{}/pids"; exec sleep infinity'
ASK = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "get_all_runner_status"}).encode()
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
        time.sleep(0.001)  # no event tells of a process that begins; this is the resolution of the figure
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
    async with Http(service.port) as http:
        for number in range(50):
            await http.call("add_runner", {"id": f"ours{number}", "command": SLEEP})
    supervisord = peers.supervisord("pool", " ".join(SLEEP), count=50)
    times: dict[str, list[float]] = {"ours, operate_runners": [], "ours, stop_all": [], "supervisord": []}
    for _ in range(5):
        for name, method, params in (
            ("ours, operate_runners", "operate_runners", {"verb": "stop", "runners": ["*"]}),
            ("ours, stop_all", "stop_all", None),
        ):
            async with Http(service.port) as http:
                await http.call("start_all")
                times[name].append(await took_s(http.call(method, params)))
                assert (await http.call("get_all_status"))["counts"]["stopped"] == 50
        if supervisord is not None:
            async with Http(supervisord) as http:
                await answer_of(http, "startProcessGroup", "pool", True)
                times["supervisord"].append(await took_s(answer_of(http, "stopProcessGroup", "pool", True)))
                states = result_in(await answer_of(http, "getAllProcessInfo"))
                assert [state["statename"] for state in states] == ["STOPPED"] * 50
    compare("stop of 50", {name: of for name, of in times.items() if of}, 20)


async def test_status_of_three_hundred(service: Service, peers: Peers, compare: Any) -> None:
    async with Http(service.port) as http:
        for number in range(300):
            await http.call("add_runner", {"id": f"ours{number}", "command": SLEEP})
        await http.call("start_all")
    supervisord = peers.supervisord("fleet", " ".join(SLEEP), count=300)
    names = ("ours", "supervisord", "ours, decoded", "supervisord, decoded")
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(30):
        async with Http(service.port) as http:
            statuses = await _timed(times, "ours", http.post("/", "application/json", ASK), _result_of_ours)
        assert [status["status"] for status in statuses] == ["running"] * 300
        if supervisord is not None:
            async with Http(supervisord) as http:
                states = await _timed(times, "supervisord", answer_of(http, "getAllProcessInfo"), result_in)
            assert [state["statename"] for state in states] == ["RUNNING"] * 300
    compare("status of 300", {name: of for name, of in times.items() if of}, 15)


async def _timed(
    times: dict[str, list[float]], name: str, answer: Awaitable[bytes], decode: Callable[[bytes], Any]
) -> Any:
    """Wait for an answer and decode it; note when it had come, and when it was decoded."""
    began = time.perf_counter()
    text = await answer
    times[name].append(time.perf_counter() - began)
    result = decode(text)
    times[f"{name}, decoded"].append(time.perf_counter() - began)
    return result


def _result_of_ours(answer: bytes) -> Any:
    return json.loads(answer)["result"]
