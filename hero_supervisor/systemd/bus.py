"""The way to one systemd manager: a connection that is made again when it is lost.

On every (re)connect, before anybody else may use the connection::

    AddMatch x 4 → GetNameOwner (who is the manager?) → Subscribe → the listener's restore (references)

A user's bus is started by whoever connects to it first, and the manager joins it a moment later: we wait for it.

- **Connection lost**: calls under way and calls from now on raise ``SystemdUnavailable`` with the address and the
  cause. The listener is told, and a task named ``systemd-bus`` connects again, pausing 0.1 s to 5 s between tries.
- **The bus hangs**: after 15 s at most a call that waits for it counts the connection as lost (``connection.py``).
- **The manager leaves the bus and comes back** (``daemon-reexec``, seen as NameOwnerChanged): the connection stands.
  The bus answers calls that were under way with NoReply; whether they were carried out is unknown. Calls that
  may be repeated are, once it is back; the others raise ``ManagerAbsent``. New calls wait for it.
- **The manager reloads** (``daemon-reload``): it answers nobody for a while. Calls just take longer.
- After the last two the listener hears ``on_doubt``: signals may have been missed.

Four match rules, all of them in use. Of the changed properties only those of services are asked for, eight messages
for a start; what is passed on is that a service has changed, and that its main process has ended. Rejected: a rule for
each unit (a bus allows a connection 512 of them); the changes of units in general, as many messages again that say no
more: systemd sends both whenever anything of a unit has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final, Protocol

from hero_supervisor.errors import HeroError, SystemdUnavailable

from . import library as libraries
from .connection import DBUS_NAME, DBUS_PATH, MANAGER_NAME, Call, Connection, again, unavailable
from .refusals import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .library import Library, Received

MANAGER_PATH: Final = "/org/freedesktop/systemd1"
MANAGER_INTERFACE: Final = "org.freedesktop.systemd1.Manager"
SERVICE_INTERFACE: Final = "org.freedesktop.systemd1.Service"
PROPERTIES_INTERFACE: Final = "org.freedesktop.DBus.Properties"

#: Seconds for a reply. PID 1 answers nobody while it reloads, which takes long on hosts with many units.
CALL_TIMEOUT_S: Final = 90.0
#: Seconds for connecting, authentication included.
CONNECT_TIMEOUT_S: Final = 10.0

#: Seconds for the manager to join the bus.
ARRIVAL_TIMEOUT_S: Final = 5.0

#: How often a call is sent when the manager keeps leaving the bus under it.
MAX_SENDS: Final = 5

_MANAGER_SIGNAL: Final = (
    f"type='signal',sender='{MANAGER_NAME}',path='{MANAGER_PATH}',interface='{MANAGER_INTERFACE}',member='%s'"
)
_SERVICE_CHANGED: Final = (
    f"type='signal',sender='{MANAGER_NAME}',path_namespace='{MANAGER_PATH}/unit',"
    f"interface='{PROPERTIES_INTERFACE}',member='PropertiesChanged',arg0='{SERVICE_INTERFACE}'"
)
MATCH_RULES: Final = (
    f"type='signal',sender='{DBUS_NAME}',interface='{DBUS_NAME}',member='NameOwnerChanged',arg0='{MANAGER_NAME}'",
    _MANAGER_SIGNAL % "JobRemoved",
    _MANAGER_SIGNAL % "Reloading",
    _SERVICE_CHANGED,
)


class ManagerAbsent(SystemdUnavailable):
    """The manager left the bus while it was asked: whether it did what was asked is unknown."""


class Listener(Protocol):
    """Who wants to know what happens on the bus. Its plain methods must not raise."""

    def on_job_removed(self, path: str, result: str) -> None:
        """A unit job ended."""

    def on_changed(self, path: str) -> None:
        """Something of the service unit of this object path has changed."""

    def on_main_process_ended(self, path: str) -> None:
        """The service unit of this object path has no main process any more."""

    def on_doubt(self) -> None:
        """The manager reloaded or re-executed itself; signals may have been missed."""

    def on_loss(self, loss: SystemdUnavailable) -> None:
        """The connection is lost; it is being made again."""

    async def restore(self, connection: Connection) -> None:
        """The connection is made again; for everybody else it stays lost until this returns."""

    def on_restored(self) -> None:
        """The connection can be used again."""


def address_of(*, user: bool) -> str:
    """Return the D-Bus address of the system manager, or of this user's manager."""
    if user:
        runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
        return os.environ.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={runtime}/bus"
    return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or "unix:path=/run/dbus/system_bus_socket"


def to_manager(purpose: str, member: str, signature: str = "", *body: object, returns: str = "") -> Call:
    """Return a call of the manager itself, not of one of its units."""
    return Call(purpose, MANAGER_PATH, MANAGER_INTERFACE, member, signature, body, returns)


def pauses() -> Iterator[float]:
    """Yield the seconds to wait before each try to connect again."""
    pause = 0.1
    while True:
        yield pause
        pause = min(pause * 2, 5.0)


class SystemdBus:
    """Calls and signals of one systemd manager. It owns its connection and the task that keeps it."""

    def __init__(
        self,
        address: str,
        listener: Listener,
        *,
        library: Library | None = None,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        """Args: the address, who listens, the D-Bus library (default: the best installed), seconds for a reply."""
        self.library: Final = library or libraries.load()
        self._address = address
        self._listener = listener
        self.call_timeout_s: Final = call_timeout_s
        self._connection: Connection | None = None
        self._loss = unavailable(address, "not connected yet")
        # The manager's unique name; '' while it is off the bus, None before we asked.
        self._manager: str | None = None
        self._manager_present = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        #: How often the connection was lost and made again.
        self.reconnects = 0

    @property
    def connected(self) -> bool:
        """Whether calls can be made now."""
        return self._connection is not None and self._connection.loss is None

    async def open(self) -> None:
        """Connect, and keep connected from now on.

        Raises:
            SystemdUnavailable: There is no manager to be reached at the address.
            PermissionDenied: The bus or the manager does not let us in.
        """
        self._connection = await self._connect()
        self._keeper = asyncio.create_task(self._keep(), name="systemd-bus")

    async def close(self) -> None:
        """Disconnect. Calls under way fail; units and unit jobs go on."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._keeper)
        if self._connection is not None:
            await self._connection.close()
        self._lose(unavailable(self._address, "closed"))

    async def call(self, call: Call, *, repeat: bool = True) -> Sequence[Any]:
        """Make a call and return the values of its reply.

        Args:
            call: What to send.
            repeat: Whether to send it again when the manager left the bus under it.

        Raises:
            SystemdUnavailable: There is no connection, or it gets lost meanwhile.
            ManagerAbsent: The manager left the bus meanwhile, and the call was not to be repeated.
            OperationTimeout: No reply in time; the call may still be carried out.
            SystemdRefused: The reply is not what this call returns, or an error without a class of its own.
            HeroError: The manager answered with an error.
        """
        (values,) = await self.call_together([call], repeat=repeat)
        return values

    async def call_together(self, calls: Sequence[Call], *, repeat: bool = True) -> list[Sequence[Any]]:
        """Make from 1 to 8 calls in one round trip and return the values of their replies, in order.

        Raises:
            HeroError: As ``call``, for the first that failed.
        """
        for _ in range(MAX_SENDS if repeat else 1):
            connection = await self._usable()
            replies = await connection.call(calls, timeout_s=self.call_timeout_s)
            if not any(reply.error_name in ABSENT for reply in replies):
                return [connection.values(call, reply) for call, reply in zip(calls, replies, strict=True)]
        raise ManagerAbsent(f"cannot {calls[0].purpose}: systemd left the bus meanwhile", member=calls[0].member)

    async def _usable(self) -> Connection:
        """Return the connection, once there is a manager behind it."""
        if self._connection is not None and not self._manager_present.is_set():
            await self._wait_for_manager(self.call_timeout_s)
        if self._connection is None:
            raise again(self._loss)
        return self._connection

    async def _wait_for_manager(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._manager_present.wait()
        except TimeoutError:
            raise unavailable(self._address, f"no manager for {timeout_s:g} s") from None

    # -- connecting ----------------------------------------------------------------------------------------------

    async def _connect(self) -> Connection:
        self._manager = None
        self._manager_present.clear()
        connection = await Connection.open(self.library, self._address, self._on_signal, timeout_s=CONNECT_TIMEOUT_S)
        try:
            await self._prepare(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _prepare(self, connection: Connection) -> None:
        for rule in MATCH_RULES:
            await connection.ask(self._to_bus("AddMatch", rule), timeout_s=self.call_timeout_s)
        await self._find_manager(connection)
        await connection.ask(_subscribe(), timeout_s=self.call_timeout_s)
        await self._listener.restore(connection)
        if not self._manager_present.is_set():
            raise unavailable(self._address, "the manager left the bus")

    async def _find_manager(self, connection: Connection) -> None:
        """Learn the manager's unique name, once it has one."""
        call = self._to_bus("GetNameOwner", MANAGER_NAME, returns="s")
        (reply,) = await connection.call([call], timeout_s=self.call_timeout_s)
        if reply.error_name in ABSENT:
            await self._wait_for_manager(ARRIVAL_TIMEOUT_S)
        elif self._manager is None:  # else a signal brought newer news
            (self._manager,) = connection.values(call, reply)
            self._manager_present.set()

    def _to_bus(self, member: str, argument: str, *, returns: str = "") -> Call:
        purpose = f"reach systemd over '{self._address}'"
        return Call(purpose, DBUS_PATH, DBUS_NAME, member, "s", (argument,), returns, DBUS_NAME)

    async def _keep(self) -> None:
        """Connect again whenever the connection is lost."""
        while self._connection is not None:
            loss = await self._connection.wait_lost()
            lost = self._connection
            self._lose(loss)
            await lost.close()
            self._connection = await self._reconnect()
            self.reconnects += 1
            self._listener.on_restored()

    def _lose(self, loss: SystemdUnavailable) -> None:
        self._loss = loss
        self._connection = None
        self._manager_present.set()  # whoever waits for the manager must see the loss instead
        self._listener.on_loss(loss)

    async def _reconnect(self) -> Connection:
        for pause_s in pauses():
            await asyncio.sleep(pause_s)
            with contextlib.suppress(HeroError):  # the first cause stays the one that is reported
                return await self._connect()
        raise AssertionError("pauses never end")

    # -- signals -------------------------------------------------------------------------------------------------

    def _on_signal(self, message: Received) -> None:
        """Hand on what is genuine: any user of the bus can send us signals under these names."""
        if message.sender == DBUS_NAME and message.member == "NameOwnerChanged" and message.signature == "sss":
            name, _, owner = message.body
            if name == MANAGER_NAME:
                self._on_manager(owner)
        elif message.sender == self._manager and message.interface == MANAGER_INTERFACE:
            self._on_manager_signal(message)
        elif message.sender == self._manager and message.member == "PropertiesChanged":
            self._on_properties_changed(message)

    def _on_properties_changed(self, message: Received) -> None:
        if message.signature != "sa{sv}as":
            return
        interface, changed, _ = message.body
        if interface != SERVICE_INTERFACE:
            return
        path, main_pid = message.path or "", changed.get("MainPID")
        self._listener.on_changed(path)
        if main_pid is not None and main_pid.value == 0:
            self._listener.on_main_process_ended(path)

    def _on_manager_signal(self, message: Received) -> None:
        if message.member == "JobRemoved" and message.signature == "uoss":
            _, path, _, result = message.body
            self._listener.on_job_removed(path, result)
        elif message.member == "Reloading" and message.signature == "b" and not message.body[0]:
            self._listener.on_doubt()

    def _on_manager(self, owner: str) -> None:
        self._manager = owner
        if not owner:
            self._manager_present.clear()
            return
        self._manager_present.set()
        if self._connection is not None:
            # A re-executed manager remembers us and answers AlreadySubscribed; a new one would not send us signals.
            self._connection.post(_subscribe())
            self._listener.on_doubt()


def _subscribe() -> Call:
    return to_manager("subscribe to systemd's signals", "Subscribe")
