"""Cases 4 to 7, 10, 13 and 14: workers that die, refuse to, multiply, crash in a loop, or have strange words."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.rpc_client import RpcError
from tests.e2e.conftest import IS_ROOT, eventually, systemctl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(600)

CGROUPS = Path("/sys/fs/cgroup")


def cgroup_of(service: Service, unit: str) -> Path:
    return CGROUPS / service.show("ControlGroup", unit).lstrip("/")


def processes_in(cgroup: Path) -> list[int]:
    """Return the processes in a control group and below; none when it is gone."""
    try:
        return [int(pid) for path in cgroup.glob("**/cgroup.procs") for pid in path.read_text().split()]
    except OSError:  # it is being removed
        return []


def main_pid(service: Service, cgroup: Path) -> Callable[[set[int]], int]:
    """Wait for the process that a control group has and that was not there before, without a call of systemd."""

    def wait(before: set[int]) -> int:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for pid in processes_in(cgroup):
                # Until it executes the program it is systemd's own, on its way there.
                if pid not in before and _program(pid) == "sleep":
                    return pid
            time.sleep(0.001)
        raise AssertionError(service.journal())

    return wait


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


# -- 4 -------------------------------------------------------------------------------------------------------------


def kill_a_worker(service: Service, *, kills: int) -> dict[str, Any]:
    """Kill a worker over and over; each time another one must be there, and one record of its end."""
    backoff = {"fast_retries": 100, "stable_after_s": 1}
    status = service.add("victim", restart_delay_s=0, backoff=backoff)
    find, pid, times_s = main_pid(service, cgroup_of(service, status["unit"])), status["main_pid"], []
    runs, dead = [status["invocation_id"]], {pid}
    for _ in range(kills):
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        pid = find(dead)
        times_s.append(time.perf_counter() - began)
        dead.add(pid)
        runs.append(service.show("InvocationID", status["unit"]))
    eventually(lambda: len(exits(service, "victim")) == kills, timeout_s=20)
    time.sleep(1)  # what is written twice would be there by now
    found = exits(service, "victim")
    assert [each["invocation_id"] for each in reversed(found)] == runs[:-1]
    assert {(each["reason"], each["signal"], each["will_restart"]) for each in found} == {("signal", "SIGKILL", True)}
    assert service.rpc.call("get_runner_status", ["victim"])["restarts"] == kills
    p95_ms, median_ms = 1000 * p95(times_s), 1000 * median(times_s)
    return {"kills": kills, "running_again_median_ms": median_ms, "running_again_p95_ms": p95_ms, "records": len(found)}


def exits(service: Service, runner: str) -> list[dict[str, Any]]:
    return list(service.rpc.call("get_runner_exits", {"runner": runner, "limit": 1000}))


def test_a_worker_that_is_killed_100_times_runs_again_at_once_and_every_end_is_recorded_once(
    service: Service, figures: Callable[..., None]
) -> None:
    found = kill_a_worker(service, kills=100)
    figures("4. kill -9 of a worker", **found)
    assert found["running_again_p95_ms"] <= 100


# -- 5, 6 ----------------------------------------------------------------------------------------------------------

ESCAPES = """
import os, signal, time
for number in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(1000)
        os._exit(0)
time.sleep(1000)
"""


def stop_a_worker_with_escaped_processes(service: Service) -> dict[str, Any]:
    """Stop a worker whose grandchildren have a session and a parent of their own and ignore SIGTERM."""
    status = service.add("daemon", command=[python(), "-c", ESCAPES], stop_timeout_s=1, sandbox="trusted")
    cgroup = cgroup_of(service, status["unit"])
    eventually(lambda: len(processes_in(cgroup)) == 6)
    pids = processes_in(cgroup)
    began = time.monotonic()
    service.rpc.call("stop_runner", ["daemon"])
    took_s = time.monotonic() - began
    left = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert (left, cgroup.exists()) == ([], False)
    return {"processes_before": len(pids), "processes_left": len(left), "took_s": took_s}


def python() -> str:
    return shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin") or "/usr/bin/python3"


def test_nothing_is_left_of_a_worker_whose_processes_forked_away(
    service: Service, figures: Callable[..., None]
) -> None:
    figures("5. double fork, setsid, SIGTERM ignored: stop", **stop_a_worker_with_escaped_processes(service))


@pytest.mark.parametrize("grace_s", [0.5, 2.0])
def test_a_worker_that_ignores_sigterm_is_killed_at_its_grace(
    service: Service, figures: Callable[..., None], grace_s: float
) -> None:
    command = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]
    service.add("stubborn", command=command, stop_timeout_s=grace_s)
    time.sleep(0.3)  # until its trap is set
    began = time.monotonic()
    status = service.rpc.call("stop_runner", ["stubborn"])
    took_s = time.monotonic() - began
    eventually(lambda: exits(service, "stubborn"))
    (end,) = exits(service, "stubborn")
    figures("6. SIGTERM ignored", grace_s=grace_s, killed_after_s=took_s, result=status["result"], reason=end["reason"])
    assert abs(took_s - grace_s) <= 0.5
    assert (status["result"], end["result"], end["signal"]) == ("timeout", "timeout", "SIGKILL")


# -- 7 -------------------------------------------------------------------------------------------------------------

TASKS_MAX = 100
#: Forks for ever; where nobody else would stop it, up to so many processes on the machine.
BOMB = """
import os, sys, time
most = int(sys.argv[1])
while True:
    try:
        if most and len(os.listdir('/proc')) > most:
            time.sleep(0.01)
        elif os.fork() == 0:
            time.sleep(0.05)
    except OSError:
        pass
"""


def survive_a_fork_bomb(service: Service, *, is_enforced: bool) -> dict[str, Any]:
    """Run a fork bomb and stop it, and return figures of what else goes on meanwhile."""
    if is_enforced:
        bomb, limits, kind = [python(), "-c", BOMB, "0"], {"tasks_max": TASKS_MAX}, f"limits.tasks_max = {TASKS_MAX}"
    else:
        most = len(list(Path("/proc").iterdir())) + 3 * TASKS_MAX
        bomb, limits = [python(), "-c", BOMB, str(most)], {}
        kind = "BOUNDED BY ITSELF: there is no pids controller here, limits.tasks_max is NOT tested"
    service.add("beside")
    calm_s = [_status_call_s(service) for _ in range(40)]
    status = service.add("bomb", command=bomb, limits=limits, sandbox="trusted", stop_timeout_s=1)
    cgroup = cgroup_of(service, status["unit"])
    eventually(lambda: len(processes_in(cgroup)) > TASKS_MAX * 0.9, timeout_s=20)
    times_s, programs_s, most_seen = [], [], 0
    for _ in range(40):
        times_s.append(_status_call_s(service))
        programs_s.append(_program_s())
        most_seen = max(most_seen, len(processes_in(cgroup)))
    refused = _refused_forks(cgroup) if is_enforced else "-"
    began = time.monotonic()
    service.add("neighbour")
    neighbour_s = time.monotonic() - began
    began = time.monotonic()
    service.rpc.call("stop_runner", ["bomb"])
    stop_s = time.monotonic() - began
    assert not cgroup.exists()
    assert {service.rpc.call("get_runner_status", [id])["status"] for id in ("beside", "neighbour")} == {"running"}
    return {
        "kind": kind,
        "most_processes": most_seen,
        "forks_that_the_kernel_refused": refused,
        "status_call_before_p95_ms": 1000 * p95(calm_s),
        "status_call_p95_ms": 1000 * p95(times_s),
        "status_call_slowest_ms": 1000 * max(times_s),
        "another_program_runs_in_p95_ms": 1000 * p95(programs_s),
        "start_of_a_neighbour_s": neighbour_s,
        "stop_s": stop_s,
        "processes_left": len(processes_in(cgroup)),
    }


def _status_call_s(service: Service) -> float:
    began = time.monotonic()
    service.rpc.call("get_all_runner_status")
    return time.monotonic() - began


def _program_s() -> float:
    """Return how long the machine takes to run another program, which has nothing to do with runners."""
    began = time.monotonic()
    subprocess.run(["/bin/true"], check=True, timeout=60)
    return time.monotonic() - began


def _refused_forks(cgroup: Path) -> int:
    return int((cgroup / "pids.events").read_text().split()[1])


def test_a_fork_bomb_is_kept_in_bounds_and_stopped(service: Service, figures: Callable[..., None]) -> None:
    has_controller = "pids" in (CGROUPS / "cgroup.controllers").read_text().split()
    found = survive_a_fork_bomb(service, is_enforced=has_controller)
    figures("7. fork bomb", **found)
    assert not has_controller or found["most_processes"] <= TASKS_MAX
    assert found["status_call_p95_ms"] < 2000


# -- 10 ------------------------------------------------------------------------------------------------------------


def cpu_s_of(pid: int) -> float:
    """Return the processor time of a process so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_a_crash_loop_slows_down_as_its_back_off_says(service: Service, figures: Callable[..., None]) -> None:
    delay_s, factor, longest_s, fast, fast_delay_s = 0.5, 2.0, 4.0, 3, 0.2
    backoff = {"fast_retries": fast, "delay_s": delay_s, "factor": factor, "max_delay_s": longest_s, "jitter": 0}
    fails = ["/bin/sh", "-c", "sleep 0.05; exit 3"]
    manager, began, cpu_s = manager_pid(), time.monotonic(), cpu_s_of(manager_pid())
    service.add("looper", command=fails, restart_delay_s=fast_delay_s, backoff=backoff)
    wanted = [fast_delay_s] * fast + [min(longest_s, delay_s * factor**number) for number in range(6)]
    eventually(lambda: len(exits(service, "looper")) > len(wanted), timeout_s=sum(wanted) + 15)
    load = (cpu_s_of(manager) - cpu_s) / (time.monotonic() - began)
    service.rpc.call("stop_runner", ["looper"])
    runs = sorted(exits(service, "looper"), key=lambda each: str(each["ended_at"]))
    begins = [datetime.fromisoformat(each["started_at"]) for each in runs]
    ends = [datetime.fromisoformat(each["ended_at"]) for each in runs]
    pauses = [(begin - end).total_seconds() for begin, end in zip(begins[1:], ends, strict=False)][: len(wanted)]
    figures(
        "10. crash loop",
        pauses_s=" ".join(f"{pause:.2f}" for pause in pauses),
        wanted_s=" ".join(f"{pause:.2f}" for pause in wanted),
        processor_of_systemd_percent=100 * load,
    )
    # systemd itself waits once more before it gives up, and its timers are as exact as a quarter of a second.
    assert all(pause <= found <= pause + fast_delay_s + 0.5 for pause, found in zip(wanted, pauses, strict=True))
    assert load < 0.2


def test_a_crash_loop_without_pauses_is_given_up_by_systemd_before_it_costs_much(
    service: Service, figures: Callable[..., None]
) -> None:
    backoff = {"fast_retries": 100, "stable_after_s": 60, "delay_s": 30}
    manager, cpu_s, began = manager_pid(), cpu_s_of(manager_pid()), time.monotonic()
    service.rpc.call(
        "add_runner",
        {"id": "looper", "command": ["/bin/sh", "-c", "sleep 0.01; exit 3"], "restart_delay_s": 0, "backoff": backoff},
    )
    with contextlib.suppress(RpcError):  # it may end before systemd calls it started
        service.rpc.call("start_runner", ["looper"])
    eventually(lambda: service.rpc.call("get_runner_status", ["looper"])["next_start"], timeout_s=60)
    loop_s = time.monotonic() - began
    loop_cpu_s = cpu_s_of(manager) - cpu_s
    time.sleep(5)
    after = (cpu_s_of(manager) - cpu_s - loop_cpu_s) / 5
    eventually(lambda: len(exits(service, "looper")) == 100, timeout_s=20)
    figures(
        "10. crash loop without pauses",
        runs=service.rpc.call("get_runner_status", ["looper"])["restarts"] + 1,
        given_up_after_s=loop_s,
        processor_of_systemd_per_run_ms=1000 * loop_cpu_s / 101,
        processor_of_systemd_afterwards_percent=100 * after,
    )
    assert after < 0.1


def manager_pid() -> int:
    """Return the process id of the manager that the tests use."""
    return 1 if IS_ROOT else int(systemctl("show", "--value", "--property=MainPID", f"user@{os.getuid()}.service"))


# -- 13 ------------------------------------------------------------------------------------------------------------


def reuse_a_name(service: Service, *, rounds: int) -> dict[str, Any]:
    """Start a name with a command that fails, one that does not exist, and one that runs, over and over."""
    commands = {
        "fails": ["/bin/false"],
        "is not there": ["/no/such/program"],
        "ends well": ["/bin/true"],
        "runs": ["/bin/sleep", "infinity"],
    }
    times_s, runs = [], set()
    service.rpc.call("add_runner", {"id": "same", "command": commands["runs"], "restart": "never"})
    for number in range(rounds):
        for name in (list(commands)[number % 3], "runs"):
            began = time.perf_counter()
            service.rpc.call("update_runner", {"id": "same", "command": commands[name], "restart": "never"})
            status: dict[str, Any] = {}
            with contextlib.suppress(RpcError):
                status = service.rpc.call("start_runner", ["same"])
            times_s.append(time.perf_counter() - began)
            if name == "runs":
                assert status["status"] == "running"
                assert Path(f"/proc/{status['main_pid']}/cmdline").read_bytes().startswith(b"/bin/sleep")
                runs.add(status["invocation_id"])
                service.rpc.call("stop_runner", ["same"])
    assert len(runs) == rounds
    loaded = systemctl("list-units", "--all", "--plain", "--no-legend", f"{service.namespace}-runner-*")
    assert loaded == ""
    return {"starts": 2 * rounds, "distinct_runs": len(runs), "start_p95_ms": 1000 * p95(times_s), "units_left": 0}


def test_one_name_is_used_a_thousand_times(service: Service, figures: Callable[..., None]) -> None:
    figures("13. one name, started, failed and started again", **reuse_a_name(service, rounds=500))


# -- 14 ------------------------------------------------------------------------------------------------------------

HOSTILE = (
    *("$HOME", "${HOME}", "$$", "$", "%n", "%%", "%", "\\", "\\\\", "\\n", "\\x41", "'", '"', "a \"b\" 'c'", "`id`"),
    *(
        "$(id)",
        "; id",
        ";",
        "\\;",
        "| id",
        "&& id",
        "> x",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "~",
        "#",
        "!",
        "-",
        "--",
        "-x",
        "@",
    ),
    *("line\nline", "\n", "tab\t", "\r", "\v\f", "\x01\x1b[31m\x7f", "", " ", "  x  ", "=", "a=b", "ünï→😀", "\u202e"),
    *("\ufeff", "a\u0301", "\U0010fffd", "x" * 5000, "$" * 300, "\\" * 300, "%" * 300, '"' * 301),
)


def hostile_words_arrive(service: Service, *, after: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Give a worker hostile words as arguments and variables, and compare what it got byte by byte."""
    env = {f"V{number}": word for number, word in enumerate(HOSTILE)}
    command = ["/bin/sh", "-c", "sleep infinity; true", *HOSTILE]
    status = service.add("hostile", command=command, env=env, restart_delay_s=0)
    _compare(status["main_pid"], command, env)
    after()
    os.kill(status["main_pid"], signal.SIGKILL)

    def runs_again() -> bool:
        found = service.rpc.call("get_runner_status", ["hostile"])
        return bool(found["status"] == "running" and found["main_pid"] != status["main_pid"])

    eventually(runs_again)
    _compare(service.rpc.call("get_runner_status", ["hostile"])["main_pid"], command, env)
    return {"words": len(HOSTILE), "as_arguments_and_variables": "byte equal", "after_a_restart": "byte equal"}


def _compare(pid: int, command: list[str], env: dict[str, str]) -> None:
    got = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    assert got == [word.encode() for word in command]
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    missing = [name for name, value in env.items() if f"{name}={value}".encode() not in variables]
    assert not missing


def test_hostile_words_reach_the_process_byte_for_byte(service: Service, figures: Callable[..., None]) -> None:
    found = hostile_words_arrive(service, after=lambda: systemctl("daemon-reload"))
    figures("14. hostile words, over a daemon-reload and a restart", **found)
