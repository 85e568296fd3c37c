"""A transient unit as data, and the properties that all units of ours have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

#: CGROUP_LIMIT_MAX, and for weights and quotas "not set". Source: org.freedesktop.systemd1(5).
NO_LIMIT: Final = 2**64 - 1

#: Sources: mount(2), clone(2).
_MS_REC: Final = 0x4000
CLONE_NEWUTS: Final = 0x0400_0000


class Property(NamedTuple):
    """One property of a transient unit: its D-Bus name, D-Bus signature and value."""

    name: str
    signature: str
    value: object


@dataclass(frozen=True, slots=True)
class TransientUnit:
    """A unit for ``StartTransientUnit``."""

    name: str
    properties: tuple[Property, ...]
    #: Longest time systemd may take to start it, and to stop it.
    start_timeout_s: float
    stop_timeout_s: float
    #: Names of properties that it should have and that this systemd does not know.
    left_out: tuple[str, ...] = ()


def flag(name: str, *, is_on: bool = True) -> Property:
    """Return a property that says yes or no."""
    return Property(name, "b", is_on)


def duration(name: str, seconds: float) -> Property:
    """Return a property of time; systemd counts microseconds."""
    return Property(name, "t", round(seconds * 1_000_000))


def shown_paths(paths: Iterable[str]) -> Property:
    """Return the property that shows paths where a sandbox would hide them, read-only, with what is mounted below."""
    return Property("BindReadOnlyPaths", "a(ssbt)", [[path, path, False, _MS_REC] for path in paths])


def no_namespaces() -> Property:
    """Return the property that keeps a process from making namespaces.

    The value is the set of those that it may make. An empty one is lost in a ``daemon-reload`` (252 writes it in a form
    that it reads as "no restriction"), so there is one in it: that of host names, which takes rights of root's.
    """
    return Property("RestrictNamespaces", "t", CLONE_NEWUTS)


def exec_start(command: tuple[str, ...]) -> Property:
    """Return the property that makes systemd execute ``command`` byte for byte.

    ``ExecStart`` would expand ``$NAME`` in arguments even over D-Bus; ``ExecStartEx`` takes a flag against it.
    ``%`` specifiers are expanded in unit files only, so nothing is escaped here.
    """
    return _command("ExecStartEx", command)


def exec_reload(command: tuple[str, ...]) -> Property:
    """Return the property that makes systemd execute ``command`` on a reload, byte for byte."""
    return _command("ExecReloadEx", command)


def lifetime(*, start_timeout_s: float, stop_timeout_s: float) -> tuple[Property, ...]:
    """Return the properties by which every unit of ours is started, kept and killed.

    ``CollectMode=inactive`` with a reference (``AddRef``) keeps the unit and its result until we drop the
    reference; a failed unit stays even after that, so a failure that nobody saw is still there to be read.
    """
    return (
        duration("TimeoutStartUSec", start_timeout_s),
        duration("TimeoutStopUSec", stop_timeout_s),
        flag("SendSIGKILL"),
        Property("CollectMode", "s", "inactive"),
        flag("AddRef"),
    )


def _command(name: str, command: tuple[str, ...]) -> Property:
    return Property(name, "a(sasas)", [[command[0], list(command), ["no-env-expand"]]])
