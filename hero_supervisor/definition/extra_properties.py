"""The unit properties that an administrator may set beside what the definition has fields for: a closed table.

None of them executes anything, changes who a runner is, or gives it a right that its user has not. Those with paths
decide which part of the file system it sees, so they need the scope ``admin``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from msgspec import Meta

from hero_supervisor import schema
from hero_supervisor.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ExtraValue = bool | int | tuple[str, ...]
ExtraProperties = Annotated[dict[str, ExtraValue], Meta(max_length=32)]

MAX_PATHS: Final = 64


class ExtraProperty(NamedTuple):
    """What a property takes."""

    #: Its D-Bus signature: ``b`` yes or no, ``i`` and ``t`` a number, ``as`` and ``a(ssbt)`` a list of paths.
    signature: str
    lowest: int = 0
    highest: int = 1 << 50
    #: The first version of systemd that knows it.
    since: int = 252


EXTRA_PROPERTIES: Final[Mapping[str, ExtraProperty]] = {
    "BindReadOnlyPaths": ExtraProperty("a(ssbt)"),
    "InaccessiblePaths": ExtraProperty("as"),
    "ReadOnlyPaths": ExtraProperty("as"),
    "ReadWritePaths": ExtraProperty("as"),
    "IOSchedulingClass": ExtraProperty("i", 0, 3),
    "IOSchedulingPriority": ExtraProperty("i", 0, 7),
    "LimitCORE": ExtraProperty("t"),
    "LimitMEMLOCK": ExtraProperty("t"),
    "MemoryLow": ExtraProperty("t"),
    "MemoryMin": ExtraProperty("t"),
    "MemoryZSwapMax": ExtraProperty("t", since=253),
    "Nice": ExtraProperty("i", -20, 19),
    "OOMScoreAdjust": ExtraProperty("i", -1000, 1000),
    "PrivateNetwork": ExtraProperty("b"),
    "TimerSlackNSec": ExtraProperty("t"),
}


def faults_in(values: Mapping[str, ExtraValue]) -> Iterable[Fault]:
    """Yield what is wrong with extra properties."""
    for name, value in values.items():
        path = f"extra_properties.{name[:80]}"
        if name not in EXTRA_PROPERTIES:
            yield Fault(path, f"is not among those that can be set: {', '.join(EXTRA_PROPERTIES)}")
        else:
            yield from _value_faults(path, value, EXTRA_PROPERTIES[name])


def _value_faults(path: str, value: ExtraValue, wanted: ExtraProperty) -> Iterable[Fault]:
    if wanted.signature == "b":
        if not isinstance(value, bool):
            yield Fault(path, "must be true or false")
    elif wanted.signature in {"i", "t"}:
        if not isinstance(value, int) or isinstance(value, bool) or not wanted.lowest <= value <= wanted.highest:
            yield Fault(path, f"must be a number from {wanted.lowest} to {wanted.highest}")
    elif not isinstance(value, tuple) or len(value) > MAX_PATHS:
        yield Fault(path, f"must be an array of at most {MAX_PATHS} paths")
    else:
        for index, each in enumerate(value):
            yield from schema.path_faults(f"{path}[{index}]", each)
            if wanted.signature == "a(ssbt)" and not {"'", '"'}.isdisjoint(each):
                yield Fault(f"{path}[{index}]", "must not contain quotes: systemd 257 takes it for another path")
