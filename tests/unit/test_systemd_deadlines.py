"""Everything that is waited for ends, though nothing is ever heard."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd import SystemdManager, unit_starts
from hero_supervisor.systemd import bus as bus_module
from hero_supervisor.systemd import manager as manager_module
from tests.unit.conftest import UNIT, ends_with, open_connections, queued, starts_with, unit_job_is_gone

if TYPE_CHECKING:
    from hero_supervisor.systemd.library import Library
    from tests.systemd_fake_bus import FakeBus


# A wait without an end is ended here.
pytestmark = pytest.mark.timeout(10)


async def test_a_bus_that_does_not_let_us_in_is_given_up(
    bus: FakeBus, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "CONNECT_TIMEOUT_S", 0.1)
    bus.never("Hello")
    with pytest.raises(errors.SystemdUnavailable, match=r"no answer within 0\.1 s"):
        await SystemdManager(address=bus.address, library=library).open()


@pytest.mark.parametrize("member", ["AddMatch", "GetNameOwner", "Subscribe"])
async def test_a_bus_that_falls_silent_while_it_is_set_up_is_given_up(
    member: str, bus: FakeBus, library: Library
) -> None:
    bus.never(member)
    with pytest.raises(errors.OperationTimeout):
        await SystemdManager(address=bus.address, library=library, call_timeout_s=0.1).open()
    assert open_connections() == 0


async def test_a_start_of_which_nothing_is_heard_ends_after_its_own_timeout_and_a_margin(
    bus: FakeBus, manager: SystemdManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_starts, "MARGIN_S", 0.1)
    starts_with(bus, queued)
    with pytest.raises(errors.OperationTimeout, match=r"within 0\.2 s and goes on"):
        await manager.start(replace(UNIT, start_timeout_s=0.1))


async def test_a_stop_of_which_nothing_is_heard_ends_after_twice_its_own_timeout_and_a_margin(
    bus: FakeBus, manager: SystemdManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_module, "MARGIN_S", 0.1)
    bus.answers["StopUnit"] = lambda call: [queued(call)]
    with pytest.raises(errors.OperationTimeout, match=r"within 0\.3 s and goes on"):
        await manager.stop(UNIT.name, timeout_s=0.1)


async def test_a_silent_unit_job_is_looked_at_as_often_as_was_asked_for(bus: FakeBus, library: Library) -> None:
    starts_with(bus, queued)
    unit_job_is_gone(bus)
    async with SystemdManager(address=bus.address, library=library, look_interval_s=0.05) as manager:
        assert (await manager.start(UNIT)).active_state == "active"


async def test_a_unit_that_is_executed_again_and_again_has_failed_all_the_same(
    bus: FakeBus, manager: SystemdManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_starts, "SETTLE_PAUSE_S", 0.0)
    starts_with(bus, queued, ends_with("failed"))
    bus.properties.update({"ActiveState": ("s", "activating"), "SubState": ("s", "start")})
    bus.properties["Result"] = ("s", "exit-code")
    with pytest.raises(errors.UnitFailed):
        await manager.start(UNIT)
