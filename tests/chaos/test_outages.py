"""Cases 2, 3 and 12: what the supervisor stands on goes away: systemd's manager, the bus, Redis."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import HeroError
from hero_supervisor.rpc_client import RpcClient, RpcError
from tests.e2e.conftest import eventually, systemctl
from tests.e2e.test_service import Proxy, proxy

from .fleet import BUSY, QUIET, Fleet, Load, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Service

__all__ = ["proxy"]

pytestmark = pytest.mark.timeout(600)


# -- 2 -------------------------------------------------------------------------------------------------------------


class Watch:
    """Asks for the status of runners that run all the time, and notes every answer that says something else."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.looks = 0
        self.false: list[str] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        rpc = RpcClient(self._service.url, timeout_s=60)
        while not self._is_over.is_set():
            for id in QUIET:
                try:
                    status = rpc.call("get_runner_status", [id])["status"]
                except HeroError as exc:
                    status = f"{exc.kind}: {exc.message}"
                self.looks += 1
                if status != "running":
                    self.false.append(f"{id}: {status}")


def reload_systemd(service: Service, *, verbs: tuple[str, ...], seed: str) -> dict[str, Any]:
    """Let systemd reload or re-execute itself during operations, and return figures."""
    fleet, times_s = Fleet(service), []
    with Load(service, seed) as load, Watch(service) as watch:
        for verb in verbs:
            time.sleep(0.3)
            began = time.monotonic()
            systemctl(verb, is_checked=verb != "daemon-reexec")  # the manager leaves the bus before it answers
            times_s.append(time.monotonic() - began)
        time.sleep(0.5)
    took_s, faults = settled(fleet, timeout_s=5)
    assert [*faults, *load.errors, *watch.false] == [], f"seed {seed}"
    return {
        "seed": seed,
        "operations": load.done,
        "false_outcomes": len(load.errors),
        "looks": watch.looks,
        "false_statuses": len(watch.false),
        "longest_s": max(times_s),
        "until_all_is_well_s": took_s,
    }


def test_no_operation_is_lost_and_nothing_false_is_said_over_20_daemon_reloads(
    service: Service, figures: Callable[..., None]
) -> None:
    found = reload_systemd(service, verbs=("daemon-reload",) * 20, seed=secrets.token_hex(4))
    figures("2. daemon-reload x 20 during operations", **found)


def test_no_operation_is_lost_and_nothing_false_is_said_over_5_daemon_reexecs(
    service: Service, figures: Callable[..., None]
) -> None:
    found = reload_systemd(service, verbs=("daemon-reexec",) * 5, seed=secrets.token_hex(4))
    figures("2. daemon-reexec x 5 during operations", **found)


# -- 3 -------------------------------------------------------------------------------------------------------------

_NO_BUS = "systemd-unavailable"


def lose_the_bus(service: Service, proxy: Proxy, *, outage_s: float) -> dict[str, Any]:
    """Cut the supervisor off from the bus for a while, in the midst of operations; the service is not started yet."""
    service.start("--bus-address", proxy.address)
    fleet = Fleet(service)
    call = service.rpc.call
    victim = service.add("victim", restart_delay_s=0)
    service.add("stays")
    # What is under way when the bus goes must fail typed, too.
    with Load(service, secrets.token_hex(4)) as load:
        time.sleep(0.5)
        proxy.cut()
    assert {error.split(": ")[1] for error in load.errors} <= {_NO_BUS}, load.errors
    only_what_needs_the_bus_fails(service, "victim", to_stop="stays")
    os.kill(victim["main_pid"], signal.SIGKILL)
    time.sleep(outage_s)
    proxy.mend()
    began = time.monotonic()
    eventually(lambda: _kind(service, "get_runner_status", ["victim"]) == "", timeout_s=10)
    back_s = time.monotonic() - began
    took_s, faults = settled(fleet, timeout_s=10)
    assert not faults, faults
    eventually(lambda: call("get_runner_exits", ["victim"]))
    ends = [each["invocation_id"] for each in call("get_runner_exits", ["victim"])]
    assert victim["invocation_id"] in ends
    return {
        "outage_s": outage_s,
        "calls_under_way_that_failed_typed": len(load.errors),
        "connected_again_after_s": back_s,
        "all_is_well_after_s": back_s + took_s,
        "ends_recorded": len(ends),
    }


def only_what_needs_the_bus_fails(service: Service, runner: str, *, to_stop: str) -> None:
    """Check that calls that need the bus fail at once, with the right error, and the others do not fail."""
    reads = {"list_runners": None, "get_runner_exits": [runner], "get_runner_logs": [runner], "list_jobs": None}
    for method, params in reads.items():
        service.rpc.call(method, params)
    for method in ("get_runner_status", "get_runner_stats", "start_runner", "restart_runner", "stop_runner"):
        began = time.monotonic()
        assert _kind(service, method, [runner if method != "stop_runner" else to_stop]) == _NO_BUS, method
        assert time.monotonic() - began < 2


def _kind(service: Service, method: str, params: object) -> str:
    """Return the kind of error that a call ends with; '' when it ends well."""
    try:
        service.rpc.call(method, params)
    except RpcError as exc:
        return exc.kind
    return ""


def test_a_bus_that_is_away_for_30_s_costs_nothing_but_calls(
    stopped_service: Service, proxy: Proxy, figures: Callable[..., None]
) -> None:
    figures("3. no bus", **lose_the_bus(stopped_service, proxy, outage_s=30))


@contextlib.contextmanager
def hanging_bus() -> Iterator[None]:
    """Let the bus daemon stand still meanwhile: nothing is answered, and no connection is closed."""
    systemctl("kill", "--signal=STOP", "dbus.service")
    try:
        yield
    finally:
        systemctl("kill", "--signal=CONT", "dbus.service")


def test_a_bus_that_hangs_for_30_s_costs_nothing_but_calls(service: Service, figures: Callable[..., None]) -> None:
    fleet = Fleet(service)
    victim = service.add("victim", restart_delay_s=0)
    began = time.monotonic()
    with hanging_bus():
        assert _kind(service, "get_runner_status", ["victim"]) == _NO_BUS
        noticed_s = time.monotonic() - began
        only_what_needs_the_bus_fails(service, "victim", to_stop="busy0")
        os.kill(victim["main_pid"], signal.SIGKILL)
        time.sleep(30 - noticed_s)  # the outage
    began = time.monotonic()
    eventually(lambda: _kind(service, "get_runner_status", ["victim"]) == "", timeout_s=10)
    back_s = time.monotonic() - began
    took_s, faults = settled(fleet, timeout_s=10)
    figures(
        "3. a bus that hangs", noticed_after_s=noticed_s, connected_again_after_s=back_s, all_is_well_after_s=took_s
    )
    assert not faults, faults
    assert noticed_s < 20
    eventually(lambda: service.rpc.call("get_runner_exits", ["victim"]))
    (end,) = service.rpc.call("get_runner_exits", ["victim"])
    assert end["invocation_id"] == victim["invocation_id"]


# -- 12 ------------------------------------------------------------------------------------------------------------


class Killer:
    """Kills a unit's main process, or stops the unit, whenever there is one."""

    def __init__(self, service: Service, unit: str, how: str) -> None:
        self._service = service
        self._unit = unit
        self._how = how
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.killed: set[int] = set()

    def __enter__(self) -> Killer:
        self._thread.start()
        eventually(lambda: self.killed)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            pid = int(self._service.show("MainPID", self._unit))
            if pid:
                self._end(pid)
                self.killed.add(pid)
            time.sleep(0.01)

    def _end(self, pid: int) -> None:
        if self._how == "stop":
            systemctl("stop", self._unit)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["kill -9", "stop"])
def test_runners_are_supervised_while_redis_is_away(service: Service, figures: Callable[..., None], how: str) -> None:
    fleet, redis = Fleet(service), f"{service.namespace}-redis.service"
    call = service.rpc.call
    service.add("py", executor="shell")
    kept = call("queue_job_to_runner", {"runner": "quiet0", "job": {"payload": "kept"}})
    time.sleep(1.1)  # what Redis was told is on its disk every second
    backoff = {"fast_retries": 1, "stable_after_s": 60, "delay_s": 0.2}
    victim = service.add("victim", restart_delay_s=0, backoff=backoff)
    began = time.monotonic()
    with Killer(service, redis, how):
        # The first end is systemd's to repair, the second one ours.
        for restarts in (1, 0):
            victim = _killed(service, victim)
            assert victim["restarts"] == restarts
        assert _kind(service, "list_jobs", None) == "redis-unavailable"
        for id in BUSY:
            for verb in ("restart", "stop", "start"):
                call(f"{verb}_runner", [id])
        time.sleep(5)
        _, faults = settled(fleet, timeout_s=5)
    outage_s, began = time.monotonic() - began, time.monotonic()
    eventually(lambda: _kind(service, "list_jobs", None) == "", timeout_s=10)
    back_s = time.monotonic() - began
    result = call("queue_and_wait", {"runner": "py", "job": {"payload": "echo back"}, "timeout": 40})
    again_s = time.monotonic() - began
    figures(
        f"12. Redis away ({how})",
        outage_s=outage_s,
        faults=faults,
        answers_again_after_s=back_s,
        jobs_run_again_after_s=again_s,
    )
    assert not faults
    assert (result["result"], call("get_job_status", [kept])) == ("back\n", "dispatched")


def _killed(service: Service, before: dict[str, Any]) -> dict[str, Any]:
    """Kill a runner's process and return its status when it has another one."""
    os.kill(before["main_pid"], signal.SIGKILL)
    eventually(lambda: _is_another(service.rpc.call("get_runner_status", [before["id"]]), before))
    return dict(service.rpc.call("get_runner_status", [before["id"]]))


def _is_another(status: dict[str, Any], before: dict[str, Any]) -> bool:
    return bool(status["main_pid"] not in {None, before["main_pid"]} and status["active_state"] == "active")
