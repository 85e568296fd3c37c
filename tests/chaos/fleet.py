"""Runners under load, and what must be true of them whatever happened to the supervisor.

A few runners are left alone: their processes must never change. On each of the others one thread carries out random
operations, one after the other. Every definition carries its generation in ``GENERATION``, so that a process tells
which definition it was started with.
"""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hero_supervisor.errors import HeroError
from hero_supervisor.rpc_client import RpcClient, RpcError, ServiceUnreachable
from tests.e2e.conftest import systemctl

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Service

QUIET = ("quiet0", "quiet1", "quiet2")
BUSY = ("busy0", "busy1", "busy2", "busy3")

#: What is wanted of a runner after a call that was answered; after others what was before.
_WISHES = {"start": "running", "restart": "running", "remove": "running", "stop": "stopped"}

_PROPERTIES = ("Id", "ActiveState", "MainPID", "InvocationID", "NRestarts")


class Fleet:
    """The runners of a service: some left alone, some under load."""

    def __init__(self, service: Service) -> None:
        self.service = service
        for id in (*QUIET, *BUSY):
            service.add(**definition(id))
        self.before = self._quiet_processes()

    def _quiet_processes(self) -> dict[str, tuple[str, str, str]]:
        units = units_of(self.service)
        names = [f"{self.service.namespace}-runner-{id}.service" for id in QUIET]
        return {name: tuple(units[name][each] for each in _PROPERTIES[2:]) for name in names}  # type: ignore[misc]

    def faults(self) -> list[str]:
        """Return what is not as it must be, in words; nothing when all is well."""
        units, stored = units_of(self.service), stored_runners(self.service)
        statuses = {each["id"]: each for each in self.service.rpc.call("get_all_runner_status")}
        found = [f"{name} was restarted" for name, was in self.before.items() if self._quiet_processes()[name] != was]
        known = set()
        for id, runner in stored.items():
            known |= {unit_name(self.service, id, number) for number in range(1, runner["instances"] + 1)}
            found += _faults_of(self.service, runner, statuses.get(id), units)
        found += [f"{name} is an orphan, {units[name]['ActiveState']}" for name in units.keys() - known]
        return found + _strays(self.service, units)


def definition(id: str, *, generation: int = 0, instances: int = 2) -> dict[str, Any]:
    """Return a definition of a runner that sleeps."""
    command = ["/bin/sh", "-c", "sleep infinity; true"]
    env = {"GENERATION": str(generation)}
    return {
        "id": id,
        "command": command,
        "env": env,
        "instances": 1 if id in QUIET else instances,
        "restart_delay_s": 0,
    }


def unit_name(service: Service, id: str, instance: int) -> str:
    return f"{service.namespace}-runner-{id}{'' if instance == 1 else f'@{instance}'}.service"


def units_of(service: Service) -> dict[str, dict[str, str]]:
    """Return what systemd says of the units of all runners that are loaded, by name."""
    wanted = [f"--property={','.join(_PROPERTIES)}"]
    blocks = systemctl("show", *wanted, f"{service.namespace}-runner-*").split("\n\n")
    units = (dict(line.split("=", 1) for line in block.splitlines()) for block in blocks if block)
    return {unit["Id"]: unit for unit in units}


def stored_runners(service: Service) -> dict[str, dict[str, Any]]:
    """Return the definitions in the state directory, each with what is wanted of it as ``desired``."""
    content = json.loads((service.state_dir / "runners.json").read_text())
    return {each["definition"]["id"]: {**each["definition"], "desired": each["desired"]} for each in content["runners"]}


def _faults_of(
    service: Service, runner: dict[str, Any], status: dict[str, Any] | None, units: dict[str, dict[str, str]]
) -> list[str]:
    if status is None:
        return [f"{runner['id']} is stored and not listed"]
    found = []
    for each in status["instances"]:
        unit = units.get(each["unit"], {"ActiveState": "inactive", "MainPID": "0"})
        said = (each["active_state"], each["main_pid"] or 0)
        if said != (unit["ActiveState"], int(unit["MainPID"])):
            found.append(f"{each['unit']} is listed as {said}, and systemd says {unit}")
        if runner["instances"] == 0:
            continue
        if runner["desired"] == "ended":
            found.append(f"{runner['id']} has ended, which nobody wanted")
        is_wanted = runner["desired"] == "running"
        if (unit["ActiveState"] == "active") != is_wanted:
            found.append(f"{each['unit']} is {unit['ActiveState']}, and {runner['desired']} is wanted")
        elif is_wanted and generation_of(int(unit["MainPID"])) != runner["env"].get("GENERATION", "none"):
            found.append(f"{each['unit']} runs with an old definition")
    return found


def generation_of(pid: int) -> str:
    """Return the generation of the definition that a process was started with."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except OSError:
        return "gone"
    return next((word.partition("=")[2] for word in words if word.startswith("GENERATION=")), "none")


def _strays(service: Service, units: dict[str, dict[str, str]]) -> list[str]:
    """Return the processes of this namespace's runners that are in no unit, or beside the one of their instance."""
    where = {path.parent.name: _unit_of(path) for path in Path("/proc").glob("[0-9]*/cgroup")}
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            is_ours = f"HERO_NAMESPACE={service.namespace}\0".encode() in path.read_bytes() + b"\0"
        except OSError:
            continue
        if is_ours and where.get(path.parent.name) not in units:
            found.append(f"process {path.parent.name} is in {where.get(path.parent.name)}, which is no runner's unit")
    for name, unit in units.items():
        # A manager is in its init.scope.
        mains = [pid for pid, at in where.items() if at == name and where.get(_parent(pid)) == "init.scope"]
        if len(mains) > 1:
            found.append(f"{name} has the processes {mains}, and its main one is {unit['MainPID']}")
    return found


def _unit_of(path: Path) -> str:
    """Return the unit that a process is in, given its ``cgroup`` file in /proc."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.rpartition("/")[2] for line in lines if line.startswith("0::")), "")


def _parent(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return ""


class Load:
    """Random operations on the busy runners, one thread for each. Use it as ``with``."""

    def __init__(self, service: Service, seed: str) -> None:
        self._service = service
        self._random = {id: random.Random(f"{seed}-{id}") for id in BUSY}  # noqa: S311  # it guards nothing
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[id]) for id in BUSY]
        self.done = 0
        #: What went wrong with calls, but for the end of the service.
        self.errors: list[str] = []
        #: By runner, what the last call asked for that was answered; nothing while another may change that.
        self.wishes: dict[str, str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, id: str) -> None:
        rng, rpc = self._random[id], RpcClient(self._service.url, timeout_s=60)
        calls: dict[str, Callable[[], Any]] = {
            "start": lambda: rpc.call("start_runner", [id]),
            "stop": lambda: rpc.call("stop_runner", [id]),
            "restart": lambda: rpc.call("restart_runner", [id]),
            "roll": lambda: rpc.call("roll_runner", [id]),
            "update": lambda: rpc.call("update_runner", {"runner": self._changed(id, rng)}),
            "scale": lambda: rpc.call("scale_runner", {"runner": id, "instances": rng.randint(0, 3)}),
            "remove": lambda: rpc.call("remove_runner", [id]),
        }
        while not self._is_over.is_set():
            name = rng.choice(list(calls))
            try:
                if id not in rpc.call("list_runners"):  # the service was killed when it had been removed
                    rpc.call("add_runner", self._changed(id, rng))
                wish = _WISHES.get(name, self.wishes.pop(id, ""))
                answer = calls[name]()
                problem = self._false_outcome(name, answer)
                if name == "remove":
                    rpc.call("add_runner", {**self._changed(id, rng), "autostart": True})
                self.wishes |= {id: wish} if wish else {}
            except ServiceUnreachable:
                return
            except RpcError as exc:
                problem = f"{exc.kind}: {exc.message}"
            with self._lock:
                self.done += 1
                if problem:
                    self.errors.append(f"{name} {id}: {problem}")

    def lost(self) -> list[str]:
        """Return which answered calls the service has forgotten, in words."""
        stored = stored_runners(self._service)
        wanted = {id: stored[id]["desired"] if id in stored else "nothing" for id in self.wishes}
        return [f"{id} is to be {wanted[id]}, not {wish}" for id, wish in self.wishes.items() if wanted[id] != wish]

    def _changed(self, id: str, rng: random.Random) -> dict[str, Any]:
        return definition(id, generation=time.monotonic_ns(), instances=rng.randint(1, 3))

    @staticmethod
    def _false_outcome(name: str, answer: dict[str, Any]) -> str:
        """Return what an answer says that cannot be after this operation."""
        wanted = {"start": "running", "restart": "running", "stop": "stopped"}.get(name)
        states = {each["status"] for each in answer["instances"]} if wanted else set()
        has_none = wanted == "running" and states == {"stopped"} and len(answer["instances"]) == 1
        return "" if not wanted or has_none or states == {wanted} else f"it is {states}"


def settled(fleet: Fleet, *, timeout_s: float) -> tuple[float, list[str]]:
    """Wait until nothing is wrong; return the seconds that took, and what still is."""
    began = time.monotonic()
    while True:
        try:
            faults = fleet.faults()
        except (HeroError, OSError, KeyError) as exc:
            faults = [repr(exc)]
        took_s = time.monotonic() - began
        if not faults or took_s > timeout_s:
            return took_s, faults
        time.sleep(0.05)
