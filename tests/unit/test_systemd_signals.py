"""The signals of a bus to which any user can send: what is genuine and well-formed is heard, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests import systemd_fake_bus as fake
from tests.unit.conftest import JOB, News, waiting_start

if TYPE_CHECKING:
    from hero_supervisor.systemd import SystemdManager
    from tests.systemd_fake_bus import FakeBus


PROPERTIES = "org.freedesktop.DBus.Properties"


def of_the_bus(signature: str, *body: object) -> Any:
    return fake.signal("NameOwnerChanged", signature, *body, sender=fake.BUS, interface=fake.BUS)


def changed(main_pid: int, path: str = f"{fake.MANAGER_PATH}/unit/a_2eservice", **header: str) -> Any:
    message = fake.signal(
        "PropertiesChanged",
        "sa{sv}as",
        "org.freedesktop.systemd1.Service",
        {"MainPID": fake.Variant("u", main_pid)},
        [],
        interface=PROPERTIES,
        **header,
    )
    message.path = path
    return message


async def test_a_forged_signal_is_ignored(bus: FakeBus, manager: SystemdManager) -> None:
    start = await waiting_start(bus, manager)
    bus.send(
        fake.signal("NameOwnerChanged", "sss", fake.SYSTEMD, "", ":1.66", sender=":1.66", interface=fake.BUS),
        fake.job_removed(JOB, "failed", sender=":1.66"),
    )
    await manager.status("b.service")
    assert not start.done()
    bus.send(fake.job_removed(JOB))
    assert (await start).active_state == "active"


# A signal of which we make an error is swallowed by the D-Bus library, which then logs it: so each is sent alone.
@pytest.mark.parametrize(
    "signal",
    [
        pytest.param(fake.signal("JobRemoved", ""), id="JobRemoved()"),
        pytest.param(fake.signal("JobRemoved", "s", JOB), id="JobRemoved(s)"),
        pytest.param(fake.signal("JobRemoved", "ssss", "7", JOB, "a", "failed"), id="JobRemoved(ssss)"),
        pytest.param(fake.job_removed(JOB, "failed", interface="a.b"), id="JobRemoved of another interface"),
        pytest.param(fake.signal("Reloading", ""), id="Reloading()"),
        pytest.param(fake.signal("Reloading", "s", ""), id="Reloading(s)"),
        pytest.param(of_the_bus("s", fake.SYSTEMD), id="NameOwnerChanged(s)"),
        pytest.param(of_the_bus("sss", "a.b", "", ":1.66"), id="NameOwnerChanged of another name"),
        pytest.param(fake.signal("PropertiesChanged", "s", "x", interface=PROPERTIES), id="PropertiesChanged(s)"),
    ],
)
async def test_a_malformed_signal_is_ignored(
    signal: Any, bus: FakeBus, manager: SystemdManager, caplog: pytest.LogCaptureFixture
) -> None:
    start = await waiting_start(bus, manager)
    news = News(manager)
    bus.send(signal)
    await manager.status("b.service")
    assert not start.done()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    bus.send(changed(0), fake.job_removed(JOB))
    assert await news.told() == "a.service"
    async with asyncio.timeout(5):
        assert (await start).active_state == "active"


async def test_the_end_of_a_main_process_is_told_and_nothing_else(bus: FakeBus, manager: SystemdManager) -> None:
    news = News(manager)
    other = fake.signal("PropertiesChanged", "sa{sv}as", "x", {}, [], interface=PROPERTIES)
    malformed = fake.signal("PropertiesChanged", "s", "x", interface=PROPERTIES)
    bus.send(changed(7), other, malformed, changed(0, sender=":1.666"), changed(0))
    assert await news.told() == "a.service"


async def test_after_a_reload_anything_may_have_happened(bus: FakeBus, manager: SystemdManager) -> None:
    news = News(manager)
    bus.send(fake.signal("Reloading", "b", True), fake.signal("Reloading", "b", False), changed(0))
    assert [await news.told(), await news.told()] == ["doubt", "a.service"]
