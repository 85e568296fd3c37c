"""The state directory: which runners exist and which of them are to run, across restarts and reboots.

::

    lock           held while a supervisor runs; contains its process id
    runners.json   the definitions, the desired state, and what has failed
    node-id        tells this host from others that share its Redis
    runner.env     environment for every runner that other users may not read
    redis.conf     the password of the private Redis
    keys.json      digests of callers' keys (``api_keys.py``)
    exits.jsonl    how the runs of the runners ended (``exits/store.py``)
    redis/         data of the private Redis
    jobs/          payloads and outputs of jobs that are units of their own (``jobs/unit_files.py``)

systemd knows what runs; this directory knows what should. A file is replaced as a whole (``durable.py``), so a crash
leaves the old content or the new, and a file that cannot be read is never overwritten.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import secrets
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from .durable import replace_file
from .errors import CorruptRecord, Fault, InvalidSettings, StateLocked, StateUnavailable
from .runner import Runner
from .together import to_the_end

if TYPE_CHECKING:
    from collections.abc import Mapping


class Desired(StrEnum):
    """What is wanted of a runner."""

    RUNNING = "running"
    STOPPED = "stopped"
    #: To take no more jobs, to finish those that it has, and then to be stopped.
    DRAINED = "drained"
    #: It was wanted, and its run is over: it ended and its restart policy lets it be, or somebody stopped its unit.
    ENDED = "ended"


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that failed for good as far as systemd is concerned, and what we will do about it."""

    #: The run that failed; empty when none came about.
    invocation_id: str
    #: How often in a row this has happened, from 1 up.
    failures: int
    #: When to start it again, in seconds since the epoch; ``None``: it has been given up.
    due_at: float | None


class StoredRunner(msgspec.Struct, frozen=True, kw_only=True):
    """A runner as it is kept on disk."""

    definition: Runner
    desired: Desired = Desired.STOPPED
    #: When it was last asked to run, in seconds since the epoch.
    wanted_at: float = 0.0
    #: Whether it came by a declared set, and not by a call of its own.
    is_declared: bool = False
    #: The definition before, as long as instances may run that are not what the present one says.
    replaces: Runner | None = None
    #: By unit name, what systemd has given up.
    retries: dict[str, Retry] = {}


class _Content(msgspec.Struct, frozen=True, kw_only=True):
    runners: list[StoredRunner]
    version: int = 1
    #: The boot in which it was written: a reboot makes past failures forgotten.
    boot_id: str = ""


_VERSION: Final = 1
_NODE_ID: Final = re.compile(r"([0-9a-f]{32})\n")
_PASSWORD: Final = re.compile(r"requirepass ([0-9a-f]{48})\n")
#: Another one after each boot. Source: random(4).
_BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")


class StateDirectory:
    """Owner of the state directory. Use: ``open``, then ``load``, then ``save`` after every change, ``close``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd: int | None = None
        self._saving = asyncio.Lock()
        # Saves are numbered: how many were asked for, and up to which one the file is current.
        self._asked = 0
        self._done = 0

    @property
    def environment_file(self) -> Path:
        """File with the environment of all runners; systemd reads it at every start of one."""
        return self.path / "runner.env"

    @property
    def exits_file(self) -> Path:
        """File for the exit records; ``exits.ExitWatcher`` owns it."""
        return self.path / "exits.jsonl"

    @property
    def keys_file(self) -> Path:
        """File for the keys of callers; ``api_keys.KeyStore`` owns it."""
        return self.path / "keys.json"

    @property
    def redis_path(self) -> Path:
        """Directory for the data of the private Redis."""
        return self.path / "redis"

    @property
    def redis_config(self) -> Path:
        """Configuration file of the private Redis, which holds its password."""
        return self.path / "redis.conf"

    @property
    def jobs_path(self) -> Path:
        """Directory for payloads and outputs of jobs that are units; ``jobs/unit_files.py`` owns it."""
        return self.path / "jobs"

    def redis_password(self) -> str:
        """Return the password of the private Redis, which is made once; raises like ``node_id``."""
        return self._made_once(self.redis_config, f"requirepass {secrets.token_hex(24)}\n", _PASSWORD)

    def node_id(self) -> str:
        """Return the id of this host among those that share its Redis: 32 hexadecimal digits, made once.

        Raises:
            CorruptRecord: Its file is damaged.
        """
        return self._made_once(self.path / "node-id", f"{secrets.token_hex(16)}\n", _NODE_ID)

    def _made_once(self, path: Path, content: str, pattern: re.Pattern[str]) -> str:
        """Return what a pattern finds in a file, which is made with this content if it is not there.

        Raises:
            CorruptRecord: It is there, and the pattern finds nothing; it is left as it is.
        """
        if not path.exists():
            replace_file(path, content.encode())
        found = pattern.fullmatch(path.read_text(errors="replace"))
        if found is None:
            raise CorruptRecord(f"cannot read {path}: it is damaged", hint="restore it from a copy, or move it away")
        return found[1]

    def open(self) -> None:
        """Create the directory if need be and take its lock.

        Raises:
            StateLocked: Another supervisor holds it.
            InvalidSettings: The directory cannot be used.
        """
        try:
            self.redis_path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise InvalidSettings([Fault("state_dir", f"{self.path} cannot be used: {exc.strerror}")]) from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            pid = os.read(fd, 20).decode(errors="replace").strip()
            os.close(fd)
            raise StateLocked(
                f"cannot use state directory {self.path}: the supervisor with process id {pid} uses it",
                hint="stop that supervisor, or give this one its own --state-dir and --namespace",
                pid=pid,
            ) from exc
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        self._lock_fd = fd

    def close(self) -> None:
        """Release the lock."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def load(self) -> dict[str, StoredRunner]:
        """Return the stored runners by id, in the order in which they were added.

        Raises:
            CorruptRecord: The file is not one that we wrote; it is left as it is.
        """
        path = self.path / "runners.json"
        try:
            content = msgspec.json.decode(path.read_bytes(), type=_Content)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as exc:
            raise CorruptRecord(f"cannot read {path}: {exc}", hint="restore it from a copy, or move it away") from exc
        if content.version != _VERSION:
            raise CorruptRecord(f"cannot read {path}: it has version {content.version}, this program knows {_VERSION}")
        kept = content.runners
        if content.boot_id != boot_id():
            kept = [replace(stored, retries={}) for stored in kept]
        return {stored.definition.id: stored for stored in kept}

    async def save(self, runners: Mapping[str, StoredRunner]) -> None:
        """Replace what is stored, and return when it is on disk. Saves that meet share one replacement.

        Raises:
            StateUnavailable: It cannot be written; what was stored before still is.
        """
        self._asked += 1
        number = self._asked
        async with self._saving:
            if self._done >= number:
                return  # the one before us began after we had been asked, so it wrote what we want written
            number = self._asked
            content = _Content(runners=list(runners.values()), boot_id=boot_id())
            data = msgspec.json.format(msgspec.json.encode(content), indent=2)
            try:
                await to_the_end(asyncio.to_thread(replace_file, self.path / "runners.json", data))
            except OSError as exc:
                text = f"cannot write to the state directory {self.path}: {exc.strerror or exc}"
                raise StateUnavailable(text, hint="is its disk full?") from exc
            self._done = number

    def write_environment(self, variables: Mapping[str, str]) -> None:
        """Replace the environment file of the runners."""
        lines = [f'{name}="{_escape(value)}"\n' for name, value in variables.items()]
        replace_file(self.environment_file, "".join(lines).encode())


def boot_id() -> str:
    """Return the id of this boot of this host."""
    return _BOOT_ID_FILE.read_text().strip()


def _escape(value: str) -> str:
    """Escape for double quotes in an environment file (systemd.exec(5), EnvironmentFile=)."""
    return value.replace("\\", "\\\\").replace('"', '\\"')
