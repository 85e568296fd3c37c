"""What the manager tells by itself, and a connection to it that is cut or was never allowed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor import errors
from hero_supervisor.systemd import SystemdManager
from tests.systemd_fixtures import AT_ONCE, IS_USER, SLEEP, changed, kill

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hero_supervisor.systemd.library import Library
    from hero_supervisor.unit import TransientUnit

    MakeUnit = Callable[..., TransientUnit]


class News:
    """What the manager tells."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.on_ended = self.told.put_nowait

    def on_doubt(self) -> None:
        self.told.put_nowait("doubt")


async def test_every_end_of_a_main_process_is_told_at_once(manager: SystemdManager, make_unit: MakeUnit) -> None:
    news = News()
    manager.watch(news)
    status = await manager.start(make_unit(*SLEEP, more=AT_ONCE))
    assert news.told.empty()
    for restarts in (1, 2):
        kill(status.main_pid)
        async with asyncio.timeout(5):
            assert await news.told.get() == status.name
        status = await changed(manager, status.name, restarts=restarts, sub_state="running")
        while not news.told.empty():
            assert news.told.get_nowait() == status.name


def cut(manager: SystemdManager) -> None:
    """Cut the bus connection, as a dying bus daemon does."""
    connection: Any = manager._bus._connection
    connection._bus._sock.shutdown(socket.SHUT_RDWR)


async def test_a_connection_cut_under_us_is_made_again(manager: SystemdManager, make_unit: MakeUnit) -> None:
    news = News()
    manager.watch(news)
    unit = make_unit(*SLEEP)
    before = await manager.start(unit)
    never_ready = asyncio.create_task(manager.start(make_unit(*SLEEP, name="notify", kind="notify")))
    await changed(manager, make_unit(*SLEEP, name="notify").name, active_state="activating")
    cut(manager)
    with pytest.raises(errors.SystemdUnavailable, match="cannot reach systemd over 'unix:path="):
        await never_ready
    with pytest.raises(errors.SystemdUnavailable):
        await manager.status(unit.name)
    assert await news.told.get() == "doubt"
    assert await manager.status(unit.name) == before
    os.kill(before.main_pid, signal.SIGTERM)  # its status stays only if it is referenced again
    assert (await changed(manager, unit.name, active_state="inactive")).invocation_id == before.invocation_id
    again = make_unit(*SLEEP, name="again")
    assert (await manager.start(again)).active_state == "active"  # signals arrive again


@pytest.mark.skipif(IS_USER, reason="needs root, to be somebody else for a moment")
async def test_somebody_without_the_right_is_told_so(bus_address: str, make_unit: MakeUnit, library: Library) -> None:
    manager = SystemdManager(address=bus_address, library=library)
    await as_nobody(manager.open)
    with pytest.raises(errors.PermissionDenied) as caught:
        await manager.start(make_unit(*SLEEP))
    assert caught.value.hint is not None
    await manager.close()


async def as_nobody(action: Callable[[], Awaitable[None]]) -> None:
    """The bus daemon asks the kernel who connects."""
    os.setresuid(65534, 65534, 0)
    try:
        await action()
    finally:
        os.setresuid(0, 0, 0)
