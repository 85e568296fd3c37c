"""How much the supervisor adds to what systemd itself needs for the start of a unit.

The floor is the least a D-Bus client can do: StartTransientUnit with the very same properties, wait for JobRemoved,
read the state. Ours is ``start_runner`` over HTTP, from the request to the answer that says ``running``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.runner import Runner
from hero_supervisor.systemd import library as libraries
from hero_supervisor.unit import Site, TransientUnit, render
from tests.benchmarks.keep_alive import Http
from tests.e2e.conftest import IS_ROOT, systemctl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(600)

#: The library that the supervisor uses too.
LIBRARY: Any = importlib.import_module(libraries.load().name)
MessageBus: Any = importlib.import_module(f"{LIBRARY.__name__}.aio").MessageBus

SYSTEMD = {"destination": "org.freedesktop.systemd1"}
MANAGER = {"path": "/org/freedesktop/systemd1", "interface": "org.freedesktop.systemd1.Manager", **SYSTEMD}
SLEEP = ("/bin/sleep", "infinity")


class BareClient:
    """Starts transient units and does nothing else."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus
        self._ended: dict[str, asyncio.Future[str]] = {}
        bus.add_message_handler(self._note)

    def _note(self, message: Any) -> None:
        if message.member == "JobRemoved":
            self._job(message.body[1]).set_result(message.body[3])

    def _job(self, path: str) -> asyncio.Future[str]:
        return self._ended.setdefault(path, asyncio.get_running_loop().create_future())

    async def call(self, **message: Any) -> Any:
        reply = await self._bus.call(LIBRARY.Message(**message))
        assert reply.message_type.name == "METHOD_RETURN", reply.body
        return reply.body

    async def start(self, unit: TransientUnit) -> None:
        properties = [[name, LIBRARY.Variant(signature, value)] for name, signature, value in unit.properties]
        body = [unit.name, "fail", properties, []]
        (job,) = await self.call(**MANAGER, member="StartTransientUnit", signature="ssa(sv)a(sa(sv))", body=body)
        assert await self._job(job) == "done"
        (path,) = await self.call(**MANAGER, member="GetUnit", signature="s", body=[unit.name])
        get = {"interface": "org.freedesktop.DBus.Properties", "member": "Get", "signature": "ss"}
        (state,) = await self.call(path=path, **SYSTEMD, **get, body=["org.freedesktop.systemd1.Unit", "ActiveState"])
        assert state.value == "active"

    async def unref(self, unit: TransientUnit) -> None:
        """Give up the reference: PID 1 keeps a match rule for each, and has 512 of them on a bus."""
        await self.call(**MANAGER, member="UnrefUnit", signature="s", body=[unit.name])


@pytest.fixture
async def bare(service: Service) -> AsyncIterator[Callable[[list[str]], Any]]:
    """Start units of the given ids with a bare client, all at once; returns seconds."""
    bus = await MessageBus(bus_type=LIBRARY.BusType.SYSTEM if IS_ROOT else LIBRARY.BusType.SESSION).connect()
    bus._writer.sock = libraries.PatientSocket(bus._sock)  # as it comes, a hundred starts at once cut its connection
    client = BareClient(bus)
    await client.call(**MANAGER, member="Subscribe")
    rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'"
    dbus = {"destination": "org.freedesktop.DBus", "path": "/org/freedesktop/DBus", "interface": "org.freedesktop.DBus"}
    await client.call(**dbus, member="AddMatch", signature="s", body=[rule])
    site = Site(f"{service.namespace}", Path(service.state_dir) / "runner.env")

    async def start(ids: list[str]) -> float:
        units = [render(Runner(id=id, command=SLEEP), site, queue="q") for id in ids]
        began = time.perf_counter()
        await asyncio.gather(*map(client.start, units))
        took = time.perf_counter() - began
        await asyncio.gather(*map(client.unref, units))
        return took

    yield start
    bus.disconnect()
    with contextlib.suppress(Exception):
        await bus.wait_for_disconnect()


async def _add(http: Http, ids: list[str]) -> None:
    for id in ids:
        await http.call("add_runner", {"id": id, "command": list(SLEEP)})


async def test_start_of_one_runner(service: Service, bare: Any, report: Any) -> None:
    ours, floor = [], []
    async with Http(service.port) as http:
        for number in range(60):
            await _add(http, [f"ours{number}"])
            # In turns: what comes after a start meets what systemd still does for that one.
            if number % 2:
                floor.append(await bare([f"bare{number}"]))
            began = time.perf_counter()
            status = await http.call("start_runner", {"runner": f"ours{number}"})
            ours.append(time.perf_counter() - began)
            assert status["status"] == "running"
            if not number % 2:
                floor.append(await bare([f"bare{number}"]))
    report("start of one runner", ours[10:], floor[10:], 1.5)


async def test_start_of_a_hundred_runners_at_once(service: Service, bare: Any, report: Any) -> None:
    ours, floor = [], []
    ids = [f"ours{number}" for number in range(100)]
    async with Http(service.port) as http:
        await _add(http, ids)
    for round_ in range(5):
        async with contextlib.AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(Http(service.port)) for _ in ids]
            began = time.perf_counter()
            calls = [http.call("start_runner", {"runner": id}) for http, id in zip(connections, ids, strict=True)]
            statuses = await asyncio.gather(*calls)
            ours.append(time.perf_counter() - began)
            assert {status["status"] for status in statuses} == {"running"}
            await connections[0].call("stop_all")
        floor.append(await bare([f"bare{round_}-{number}" for number in range(100)]))
        systemctl("stop", f"{service.namespace}-runner-bare{round_}-*")
    report("start of 100 runners, 100 connections", ours, floor, 1.3)


async def test_start_all_of_a_hundred_runners(service: Service, bare: Any, report: Any) -> None:
    ours, floor = [], []
    async with Http(service.port) as http:
        await _add(http, [f"ours{number}" for number in range(100)])
    for round_ in range(5):
        async with Http(service.port) as http:
            began = time.perf_counter()
            outcomes = await http.call("start_all")
            ours.append(time.perf_counter() - began)
            assert {outcome["status"] for outcome in outcomes} == {"running"}
            await http.call("stop_all")
        floor.append(await bare([f"bare{round_}-{number}" for number in range(100)]))
        systemctl("stop", f"{service.namespace}-runner-bare{round_}-*")
    report("start_all of 100 runners", ours, floor, 1.3)
