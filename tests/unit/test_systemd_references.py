"""Which units are referenced: what of a start, a stop or an adoption went wrong decides it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests import systemd_fake_bus as fake
from tests.unit.conftest import JOB, waiting_start

if TYPE_CHECKING:
    from hero_supervisor.systemd import SystemdManager
    from tests.systemd_fake_bus import FakeBus


async def test_a_unit_is_referenced_once(bus: FakeBus, manager: SystemdManager) -> None:
    row = ["a.service", "", "loaded", "active", "running", "", "/u", 0, "", "/"]
    bus.answers["ListUnitsByPatterns"] = lambda call: [fake.reply(call, "a(ssssssouso)", [row])]
    for _ in range(2):
        assert [status.name for status in await manager.adopt("a*")] == ["a.service"]
    assert bus.members().count("RefUnit") == 1


async def test_a_cancelled_start_leaves_no_waiter_and_the_unit_referenced(
    bus: FakeBus, manager: SystemdManager
) -> None:
    start = await waiting_start(bus, manager)
    start.cancel()
    await asyncio.wait([start])
    bus.answers["StopUnit"] = lambda call: [fake.reply(call, "o", JOB), fake.job_removed(JOB)]
    bus.properties.update({"ActiveState": ("s", "inactive"), "SubState": ("s", "dead")})
    assert (await manager.stop("a.service", timeout_s=5)).active_state == "inactive"
    assert "RefUnit" not in bus.members()
    assert bus.members().count("UnrefUnit") == 1
