"""One connection to a bus: from its opening to its loss, never reopened (``bus.py`` does that with a new one).

An exchange is one or a few calls that are sent together and answered together: take a slot, register under fresh
serial numbers, send, wait. The last reply, the loss of the connection, the deadline or a cancellation ends the wait;
whatever it was, the registrations go with it.

Hazards:

- The library's own calls never return on a lost connection (dbus-next), and keep a handler for every call that
  was cancelled (both). So replies are matched to calls here, in a message handler that sees every message first.
- The reader handles all that has arrived in one go, before any waiting coroutine runs: a signal can overtake the
  reply it belongs to. Whoever waits for signals must be registered before it asks.
- Signals are handed on with their sender. Any local user can send one straight to our bus name, so a receiver must
  compare the sender; replies are checked by the bus daemon.
- The bus allows 128 calls without a reply per connection (more are refused with LimitsExceeded): hence the slots.
- A bus can hang and keep the connection open. A call's deadline is of no help: it is long, for the manager answers
  nobody while it reloads. So when a call has waited for a while the bus itself is asked whether it is there, past the
  slots, and again for as long as calls wait. Only when that gets no answer the connection is lost.

Rejected: a task and a slot for each call. Reading a status, eight calls, then takes a third longer. A timer for each
exchange instead of one for all: every call pays for it. Asking the bus every so often: nobody waits on an idle one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from hero_supervisor.errors import OperationTimeout, SystemdRefused, SystemdUnavailable

from .refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .library import Library, Received

MANAGER_NAME: Final = "org.freedesktop.systemd1"
DBUS_NAME: Final = "org.freedesktop.DBus"
DBUS_PATH: Final = "/org/freedesktop/DBus"

#: Exchanges under way at once, and calls in one: together below the 128 that the bus allows.
MAX_EXCHANGES: Final = 15
MAX_CALLS: Final = 8
#: Longest time that closing waits for the bus to see it.
CLOSE_TIMEOUT_S: Final = 2.0
#: Seconds that a call waits before the bus is asked whether it is there, and between two such questions.
SILENCE_S: Final = 10.0
#: Seconds for the bus to answer that. It does so by itself: no manager that is busy can keep it from it.
ANSWER_TIMEOUT_S: Final = 5.0


class Call(NamedTuple):
    """A method call, and what is expected of it."""

    #: What is wanted, for error messages: "start unit 'x.service'".
    purpose: str
    path: str
    interface: str
    member: str
    signature: str = ""
    body: tuple[object, ...] = ()
    #: Signature that the reply must have.
    returns: str = ""
    destination: str = MANAGER_NAME


_PING: Final = Call(
    "ask whether the bus is there", DBUS_PATH, "org.freedesktop.DBus.Peer", "Ping", destination=DBUS_NAME
)


class _Exchange:
    """The replies to some calls, as they come in."""

    def __init__(self) -> None:
        self.replies: dict[int, Received | None] = {}
        self.missing = 0
        loop = asyncio.get_running_loop()
        self.began_s: Final = loop.time()
        self.complete: asyncio.Future[None] = loop.create_future()

    def expect(self, serial: int) -> None:
        self.replies[serial] = None
        self.missing += 1

    def take(self, message: Received) -> None:
        self.replies[message.reply_serial] = message
        self.missing -= 1
        if not self.missing and not self.complete.done():
            self.complete.set_result(None)

    def fail(self, loss: SystemdUnavailable) -> None:
        if not self.complete.done():
            self.complete.set_exception(loss)


class Connection:
    """One connection to a bus. Make one with ``open``; owned by whoever opened it."""

    def __init__(self, library: Library, bus: Any, address: str, on_signal: Callable[[Received], None]) -> None:
        self._library = library
        self._bus = bus
        self._address = address
        self._on_signal = on_signal
        self._slots = asyncio.Semaphore(MAX_EXCHANGES)
        self._waiting: dict[int, _Exchange] = {}
        self._loss: SystemdUnavailable | None = None
        # Set while calls are made; goes off once more after the last one.
        self._alarm: asyncio.TimerHandle | None = None
        self._doubt: asyncio.Task[None] | None = None
        bus.add_message_handler(self._receive)
        self._watcher = asyncio.create_task(self._watch(), name="systemd-bus-connection")

    @classmethod
    async def open(
        cls, library: Library, address: str, on_signal: Callable[[Received], None], *, timeout_s: float
    ) -> Self:
        """Connect and authenticate.

        Args:
            library: The D-Bus library to use.
            address: D-Bus address of the bus.
            on_signal: Called with every signal; it must not raise, and must check the sender.
            timeout_s: Seconds that all of it may take.

        Raises:
            SystemdUnavailable: The bus does not answer, or not in time, or does not let us in.
        """
        try:
            async with asyncio.timeout(timeout_s):
                bus = await library.connect(address)
        except TimeoutError:
            raise unavailable(address, f"no answer within {timeout_s:g} s") from None
        except Exception as exc:  # libraries and sockets have many ways to say no
            raise unavailable(address, _text_of(exc)) from exc
        return cls(library, bus, address, on_signal)

    @property
    def loss(self) -> SystemdUnavailable | None:
        """Why the connection is lost; ``None`` while it stands."""
        if self._loss is None and not self._bus.connected:
            # Lost a moment ago: the watcher has not run yet.
            return unavailable(self._address, "the connection was lost")
        return self._loss

    @property
    def calls_waiting(self) -> int:
        """Number of calls that wait for their reply."""
        return len(self._waiting)

    async def wait_lost(self) -> SystemdUnavailable:
        """Wait until the connection is lost or closed, and return why."""
        await asyncio.wait([self._watcher])
        return self._loss or unavailable(self._address, "the connection was closed")

    async def close(self) -> None:
        """Disconnect. Calls under way fail."""
        if self._bus.connected:
            self._bus.disconnect()
        if self._alarm is not None:
            self._alarm.cancel()
        if self._doubt is not None:
            self._doubt.cancel()
            await asyncio.wait([self._doubt])
        await asyncio.wait([self._watcher], timeout=CLOSE_TIMEOUT_S)
        self._watcher.cancel()
        await asyncio.wait([self._watcher])

    async def call(self, calls: Sequence[Call], *, timeout_s: float) -> list[Received]:
        """Send one or a few calls and return their replies, in order. Replies may be errors.

        Args:
            calls: What to send, from 1 to 8.
            timeout_s: Seconds to wait, for a slot and for the replies.

        Raises:
            SystemdUnavailable: The connection is lost, or gets lost meanwhile.
            OperationTimeout: No reply in time; the calls may still be carried out.
        """
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                return await self._exchange(calls)
        except TimeoutError:
            text = f"no answer within {timeout_s:g} s, it may still be done"
            raise OperationTimeout(f"cannot {calls[0].purpose} in time: {text}", member=calls[0].member) from None

    async def ask(self, call: Call, *, timeout_s: float) -> Sequence[Any]:
        """Make a call and return the values of its reply; raise when that is an error."""
        (reply,) = await self.call([call], timeout_s=timeout_s)
        return self.values(call, reply)

    def values(self, call: Call, reply: Received) -> Sequence[Any]:
        """Return the values in a reply.

        Raises:
            HeroError: The reply is an error; its class is found by the error's name.
            SystemdRefused: The reply has other types than this call's replies have.
        """
        if reply.message_type is self._library.error:
            text = reply.body[0] if reply.signature.startswith("s") else ""
            raise refusal(reply.error_name or "", str(text), purpose=call.purpose)
        if reply.signature != call.returns:
            text = f"the answer to {call.member} has the types '{reply.signature}' instead of '{call.returns}'"
            raise SystemdRefused(f"cannot {call.purpose}: {text}", member=call.member)
        return reply.body

    def post(self, call: Call) -> None:
        """Send a call whose outcome does not matter. Nothing happens when the connection is lost."""
        if self.loss is None:
            self._send(call, self._bus.next_serial(), wants_reply=False)

    async def _exchange(self, calls: Sequence[Call]) -> list[Received]:
        if self.loss is not None:
            raise again(self.loss)
        exchange = _Exchange()
        if self._alarm is None:
            self._set_alarm(exchange.began_s + SILENCE_S)
        try:
            for call in calls:
                serial = self._bus.next_serial()
                exchange.expect(serial)
                self._waiting[serial] = exchange
                self._send(call, serial)
            await exchange.complete
        finally:
            for serial in exchange.replies:
                self._waiting.pop(serial, None)
        return [reply for reply in exchange.replies.values() if reply is not None]

    def _send(self, call: Call, serial: int, *, wants_reply: bool = True) -> None:
        message = self._library.method_call(
            serial=serial,
            destination=call.destination,
            path=call.path,
            interface=call.interface,
            member=call.member,
            signature=call.signature,
            body=call.body,
            wants_reply=wants_reply,
        )
        # When writing fails the connection is lost, and the watcher tells the waiting call: here it is only seen.
        self._bus.send(message).add_done_callback(_seen)

    def _receive(self, message: Received) -> bool:
        """Take a message; return whether the library has no more to do with it."""
        if message.message_type is self._library.signal:
            self._on_signal(message)
            return False
        if message.message_type not in (self._library.method_return, self._library.error):
            return False
        exchange = self._waiting.pop(message.reply_serial, None)
        if exchange is not None:
            exchange.take(message)
        return True

    def _set_alarm(self, at_s: float) -> None:
        self._alarm = asyncio.get_running_loop().call_at(at_s, self._on_alarm)

    def _on_alarm(self) -> None:
        """Doubt the bus when a call has waited for long, or look again when the oldest one will have."""
        self._alarm = None
        oldest = next(iter(self._waiting.values()), None)  # they are in the order in which they were sent
        if oldest is None or self.loss is not None:
            return
        now_s = asyncio.get_running_loop().time()
        due_s = oldest.began_s + SILENCE_S
        if due_s <= now_s and (self._doubt is None or self._doubt.done()):
            self._doubt = asyncio.create_task(self._ask_bus(), name="systemd-bus-doubt")
        self._set_alarm(due_s if due_s > now_s else now_s + SILENCE_S)

    async def _ask_bus(self) -> None:
        """Ask the bus whether it is there; if it does not answer the connection is lost."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._exchange([_PING])  # any answer will do
        except SystemdUnavailable:
            return  # lost meanwhile, and everybody has been told
        except TimeoutError:
            self._lose("the bus does not answer")
            self._bus.disconnect()

    async def _watch(self) -> None:
        """Wait for the end of the connection."""
        cause = "the connection was closed"
        try:
            await self._bus.wait_for_disconnect()
        except Exception as exc:  # its class depends on library, kernel and peer
            cause = f"the connection was lost ({_text_of(exc)})"
        finally:
            self._lose(cause)

    def _lose(self, cause: str) -> None:
        """Fail everyone who waits for a reply, and all who call from now on. It is the first cause that is told."""
        if self._loss is None:
            self._loss = unavailable(self._address, cause)
        for exchange in self._waiting.values():
            exchange.fail(again(self._loss))


def unavailable(address: str, cause: str) -> SystemdUnavailable:
    """Return the error for a bus that cannot be used."""
    return SystemdUnavailable(f"cannot reach systemd over '{address}': {cause}", address=address, cause=cause)


def again(loss: SystemdUnavailable) -> SystemdUnavailable:
    """Return a loss once more: an exception that is raised in many places collects all their tracebacks."""
    return unavailable(str(loss.facts["address"]), str(loss.facts["cause"]))


def _text_of(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def _seen(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
