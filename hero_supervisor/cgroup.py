"""What the units use, from the kernel's cgroup files: ``CgroupSampler``.

systemd has the same figures as properties, but they never emit changes, so every sample would be as many D-Bus calls
as there are figures. The files of 300 units are read in 10 ms. What files do not tell (run, uptime, restarts, and the
path of the control group) comes from the unit's status, which is one round trip.

**Where a control group is**, systemd says (``ControlGroup``). Rejected: putting it together from slice and unit name.
The manager's own root is not always ``/`` (a user's manager, containers), and systemd escapes names that the kernel
could take for its own files: a namespace ``memory`` lives in ``_memory.slice``.

**What is missing** is null, never an error. A unit may end between its status and the read: the open then fails with
ENOENT, a read of a file already open with ENODEV. A file exists only where its controller is enabled for control
groups of version 2. Hosts that bind controllers to version 1 have no figures for memory, tasks and IO; systemd could
not enforce limits there either. CPU time and processes need no controller.

The figures include what a unit's own sub-groups use, except ``processes``, which are those in the unit's group itself.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from .records import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .unit import UnitStatus

#: Where systemd mounts control groups of version 2.
CGROUP_ROOT: Final = Path("/sys/fs/cgroup")

#: Shortest time that a CPU percentage is taken over, in seconds: several clients may sample at once.
MIN_WINDOW_S: Final = 1.0
#: Longest time for which a sample is kept to compare the next one with, in seconds.
MAX_WINDOW_S: Final = 3600.0


class Counters(NamedTuple):
    """What the files of one control group say; None where they do not."""

    cpu_usec: int | None
    memory_bytes: int | None
    memory_peak_bytes: int | None
    tasks: int | None
    processes: int
    io_read_bytes: int | None
    io_write_bytes: int | None


class CgroupSampler:
    """Takes samples of what units use. It remembers the last ones, to tell CPU percentages."""

    def __init__(self, root: Path = CGROUP_ROOT) -> None:
        """Args: where control groups of version 2 are mounted."""
        self._root = root
        self._rates: dict[str, _CpuRate] = {}

    async def sample(self, units: Sequence[UnitStatus]) -> list[Usage]:
        """Return what each unit uses now, in the order given.

        Args:
            units: Their present statuses. One without a control group uses nothing.
        """
        # In a thread: the kernel may have to collect figures from every processor for each file.
        counters = await asyncio.to_thread(lambda: list(map(self._read, units)))
        now_s = time.monotonic()
        self._rates = {name: rate for name, rate in self._rates.items() if now_s - rate.newer.time_s <= MAX_WINDOW_S}
        return [self._usage(unit, read, now_s) for unit, read in zip(units, counters, strict=True)]

    def _read(self, unit: UnitStatus) -> Counters:
        if not unit.control_group:
            return Counters(None, None, None, None, 0, None, None)
        return read_counters(self._root / unit.control_group.lstrip("/"))

    def _usage(self, unit: UnitStatus, read: Counters, now_s: float) -> Usage:
        uptime_s = max(0.0, time.time() - unit.state_change_usec / 1e6) if unit.active_state == "active" else None
        return Usage(
            uptime_s=uptime_s,
            restarts=unit.restarts,
            cpu_s=None if read.cpu_usec is None else read.cpu_usec / 1e6,
            cpu_percent=self._cpu_percent(unit, read.cpu_usec, now_s, uptime_s or 0.0),
            memory_bytes=read.memory_bytes,
            memory_peak_bytes=read.memory_peak_bytes,
            tasks=read.tasks,
            io_read_bytes=read.io_read_bytes,
            io_write_bytes=read.io_write_bytes,
            processes=read.processes,
        )

    def _cpu_percent(self, unit: UnitStatus, cpu_usec: int | None, now_s: float, uptime_s: float) -> float | None:
        if cpu_usec is None:
            self._rates.pop(unit.name, None)
            return None
        rate = self._rates.get(unit.name)
        if rate is None or rate.invocation_id != unit.invocation_id:
            rate = self._rates[unit.name] = _CpuRate(unit.invocation_id, _Point(now_s - uptime_s, 0))
        return rate.percent(_Point(now_s, cpu_usec))


class _Point(NamedTuple):
    time_s: float
    cpu_usec: int


class _CpuRate:
    """The CPU percentage of one run of a unit: since the sample before, or since its start at the first sample.

    A sample that comes within ``MIN_WINDOW_S`` of the one before is compared with the one before that, so one client
    does not make the figures of another jump.
    """

    def __init__(self, invocation_id: str, start: _Point) -> None:
        self.invocation_id = invocation_id
        self.older = self.newer = start

    def percent(self, now: _Point) -> float | None:
        """Return the percentage of one processor, and remember this sample; None when no time has passed."""
        if now.time_s - self.newer.time_s >= MIN_WINDOW_S:
            self.older, self.newer = self.newer, now
        elapsed_s = now.time_s - self.older.time_s
        if elapsed_s <= 0:
            return None
        # A group that was removed and made again counts from zero.
        used_s = max(0, now.cpu_usec - self.older.cpu_usec) / 1e6
        return round(100 * used_s / elapsed_s, 1)


def read_counters(directory: Path) -> Counters:
    """Read the files of one control group; what is missing or unreadable is None.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html. ``memory.peak`` exists since Linux 5.19.
    """
    io = _text(directory / "io.stat")
    return Counters(
        cpu_usec=_sum(r"^usage_usec (\S+)$", _text(directory / "cpu.stat"), at_least=1),
        memory_bytes=_number(_text(directory / "memory.current")),
        memory_peak_bytes=_number(_text(directory / "memory.peak")),
        tasks=_number(_text(directory / "pids.current")),
        processes=len((_text(directory / "cgroup.procs") or "").split()),
        # One line for each device; none before the first transfer.
        io_read_bytes=_sum(r"\brbytes=(\S*)", io),
        io_write_bytes=_sum(r"\bwbytes=(\S*)", io),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None


def _sum(pattern: str, text: str | None, *, at_least: int = 0) -> int | None:
    """Return the sum of the numbers that a pattern finds; None when one is no number or too few are found."""
    found = [_number(word) for word in re.findall(pattern, text or "", re.MULTILINE)]
    known = [number for number in found if number is not None]
    return None if text is None or len(found) < at_least or len(known) < len(found) else sum(known)


def _number(text: str | None) -> int | None:
    word = (text or "").strip()
    return int(word) if re.fullmatch("[0-9]{1,19}", word) else None
