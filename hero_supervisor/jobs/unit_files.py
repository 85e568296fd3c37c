"""The files of job units: payload and output of each, in a directory that only the supervisor's user can enter.

::

    jobs/{unit}.in     the payload; any user may read it who is given it open
    jobs/{unit}.out    what the job wrote to standard output: systemd opens it, and we read it

They outlast the supervisor, so that the next one finds them, and are removed when the job's end is in Redis. What is
left is removed by ``sweep``. Methods do a few quick calls of the file system, and must be called in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hero_supervisor.job import MAX_RESULT_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

#: Bytes to which a file that has grown beyond them is cut; more than the limit of a result, so that it shows.
KEPT_BYTES: Final = MAX_RESULT_BYTES + 1
#: Bytes that must be free for a job to be started: its output needs room, and Redis's file may be on the same disk.
LEAST_FREE_BYTES: Final = 16 * 1024 * 1024


class JobFiles:
    """The files of all job units of one supervisor."""

    def __init__(self, directory: Path) -> None:
        """Args: the directory; it is made when it is needed."""
        self._directory = directory

    def payload(self, unit_name: str) -> Path:
        """Return the path of a unit's payload."""
        return self._directory / f"{unit_name.removesuffix('.service')}.in"

    def output(self, unit_name: str) -> Path:
        """Return the path of a unit's output."""
        return self._directory / f"{unit_name.removesuffix('.service')}.out"

    def prepare(self, unit_name: str, payload: str) -> None:
        """Write a unit's payload, and remove an output that is there.

        Raises:
            OSError: It cannot be written, or there would be no room for the output.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        disk = os.statvfs(self._directory)
        if disk.f_bavail * disk.f_frsize < LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.output(unit_name).unlink(missing_ok=True)
        path = self.payload(unit_name)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb") as file:
            os.fchmod(file.fileno(), 0o444)
            file.write(payload.encode())

    def read_output(self, unit_name: str) -> str:
        """Return what a unit's job wrote, at most one byte more than a result may have; '' when there is none."""
        try:
            handle = os.open(self.output(unit_name), os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return ""
        with os.fdopen(handle, "rb") as file:
            return file.read(KEPT_BYTES).decode(errors="replace")

    def bound(self, unit_names: Iterable[str]) -> None:
        """Cut outputs that have grown too large: whoever writes appends, and goes on at the new end."""
        for name in unit_names:
            path = self.output(name)
            with contextlib.suppress(OSError):
                if path.stat().st_size > KEPT_BYTES:
                    os.truncate(path, KEPT_BYTES)

    def remove(self, unit_name: str) -> None:
        """Remove a unit's files, as far as they are there."""
        for path in (self.payload(unit_name), self.output(unit_name)):
            with contextlib.suppress(OSError):
                path.unlink()

    def sweep(self, prefix: str, in_use: Collection[str]) -> None:
        """Remove the files of units whose names begin with a prefix and that are not in use."""
        kept = {path.name for name in in_use for path in (self.payload(name), self.output(name))}
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._directory):
                if entry.name.startswith(prefix) and entry.name not in kept:
                    with contextlib.suppress(OSError):
                        Path(entry.path).unlink()
