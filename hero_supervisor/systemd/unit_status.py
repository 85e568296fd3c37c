"""Reading a unit's status: which properties, how to get them cheaply, and as of one moment.

The manager answers calls in order, so the reads of one unit are sent together and cost one round trip. Rejected:
``GetAll`` (303 properties, 3.5 ms) and PropertiesChanged (a dozen signals for each start).

Between two reads a process may exit. The time of the last state change, which changes with every state, is read first
and last: when it differs the reads are done again. A unit that runs has no end to report, so only the others'
``Result`` and exit status are read, in a second round trip.

Asking for a property of a unit that is not loaded makes systemd load an empty one. The caller makes sure that it is:
it holds a reference, or has asked ``is_loaded`` first.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hero_supervisor.errors import NotFound, SystemdRefused
from hero_supervisor.unit import UnitStatus

from .bus import MANAGER_PATH, PROPERTIES_INTERFACE, SERVICE_INTERFACE, to_manager
from .connection import Call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Ask = Callable[[Sequence[Call]], Awaitable[list[Sequence[Any]]]]

UNIT_INTERFACE: Final = "org.freedesktop.systemd1.Unit"

#: How often a status is read again because the unit keeps changing under us; then the last one has to do.
MAX_READS: Final = 5


class Read(NamedTuple):
    """One property to read: our name for it, its interface, D-Bus name and D-Bus type."""

    field: str
    interface: str
    name: str
    signature: str


_CHANGED: Final = Read("state_change_usec", UNIT_INTERFACE, "StateChangeTimestamp", "t")
_STATE: Final = (
    Read("active_state", UNIT_INTERFACE, "ActiveState", "s"),
    Read("sub_state", UNIT_INTERFACE, "SubState", "s"),
    Read("main_pid", SERVICE_INTERFACE, "MainPID", "u"),
    Read("invocation_id", UNIT_INTERFACE, "InvocationID", "ay"),
    Read("restarts", SERVICE_INTERFACE, "NRestarts", "u"),
    Read("control_group", SERVICE_INTERFACE, "ControlGroup", "s"),
)
_END: Final = (
    Read("result", SERVICE_INTERFACE, "Result", "s"),
    Read("exec_main_code", SERVICE_INTERFACE, "ExecMainCode", "i"),
    Read("exec_main_status", SERVICE_INTERFACE, "ExecMainStatus", "i"),
)
#: For the caller's own reads.
ACTIVE_STATE: Final = _STATE[0]
FRAGMENT_PATH: Final = Read("fragment_path", UNIT_INTERFACE, "FragmentPath", "s")
JOB: Final = Read("job", UNIT_INTERFACE, "Job", "(uo)")
LOAD_STATE: Final = Read("load_state", UNIT_INTERFACE, "LoadState", "s")
LEFT_INACTIVE: Final = Read("left_inactive_usec", UNIT_INTERFACE, "InactiveExitTimestampMonotonic", "t")


@lru_cache(maxsize=4096)
def unit_path(unit_name: str) -> str:
    """Return the object path of a unit: every byte that is no letter or digit becomes ``_`` and its two hex digits.

    A digit at the beginning is escaped as well. Source: sd_bus_path_encode(3).
    """
    escaped = re.sub(rb"[^A-Za-z0-9]|^[0-9]", _escape, unit_name.encode())
    return f"{MANAGER_PATH}/unit/{escaped.decode() or '_'}"


def name_in(path: str) -> str:
    """Return the name of the unit that has an object path; what is no unit's path gives ''."""
    escaped = path.removeprefix(f"{MANAGER_PATH}/unit/").encode()
    name = re.sub(rb"_([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), escaped)
    return "" if escaped.startswith(b"/") else name.decode(errors="replace")


def _escape(found: re.Match[bytes]) -> bytes:
    return b"_%02x" % ord(found[0])


def get_property(path: str, interface: str, name: str, *, purpose: str) -> Call:
    """Return the call that reads a property. Check what it answers with ``value_in``."""
    return Call(purpose, path, PROPERTIES_INTERFACE, "Get", "ss", (interface, name), "v")


def value_in(values: Sequence[Any], name: str, signature: str) -> Any:
    """Return the value in the answer to ``get_property``.

    Raises:
        SystemdRefused: It is not of the type that this property has.
    """
    (variant,) = values
    if variant.signature != signature:
        text = f"it has the type '{variant.signature}' instead of '{signature}'"
        raise SystemdRefused(f"cannot use the property {name} that systemd sent: {text}", property=name)
    return variant.value


async def is_loaded(ask: Ask, unit_name: str) -> bool:
    """Whether a unit is loaded. Loads nothing.

    Raises:
        HeroError: As ``SystemdBus.call``, but not that there is no such unit.
    """
    try:
        await ask([to_manager(f"find unit '{unit_name}'", "GetUnit", "s", unit_name, returns="o")])
    except NotFound:
        return False
    return True


async def read_properties(ask: Ask, unit_name: str, reads: Sequence[Read]) -> list[Any]:
    """Return the values of some properties of a loaded unit, in one round trip.

    Raises:
        HeroError: As ``SystemdBus.call``.
    """
    path, purpose = unit_path(unit_name), f"read the status of unit '{unit_name}'"
    calls = [get_property(path, read.interface, read.name, purpose=purpose) for read in reads]
    answers = await ask(calls)
    return [value_in(values, read.name, read.signature) for read, values in zip(reads, answers, strict=True)]


async def read_status(ask: Ask, unit_name: str) -> UnitStatus:
    """Return the status of a loaded unit, as of one moment.

    Raises:
        HeroError: As ``SystemdBus.call``.
    """
    for _ in range(MAX_READS - 1):
        status, is_of_one_moment = await _read_once(ask, unit_name)
        if is_of_one_moment:
            return status
    return (await _read_once(ask, unit_name))[0]


async def _read_once(ask: Ask, unit_name: str) -> tuple[UnitStatus, bool]:
    before, *state, after = await read_properties(ask, unit_name, (_CHANGED, *_STATE, _CHANGED))
    if state[:2] == ["active", "running"]:
        return _status(unit_name, state, (), after), before == after
    *end, after = await read_properties(ask, unit_name, (*_END, _CHANGED))
    return _status(unit_name, state, end, after), before == after


def _status(unit_name: str, state: Sequence[Any], end: Sequence[Any], changed_usec: int) -> UnitStatus:
    fields = [read.field for read in (*_STATE, *_END)]
    values = dict(zip(fields, (*state, *end), strict=False))  # a unit that runs has no end
    values["invocation_id"] = bytes(values["invocation_id"]).hex()
    return UnitStatus(name=unit_name, state_change_usec=changed_usec, **values)
