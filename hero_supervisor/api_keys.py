"""Keys of callers: made here, kept as digests in one file, told apart by the secret that a caller shows.

A key is ``hero_ID_RANDOM``: the id finds its record, and the random part has 256 bits. The file has the SHA-256 of the
whole. A slow hash, as passwords need, would be of no use: nobody can try out 2^256 secrets, however fast a try is, and
every call would have to wait for it.

A change is on disk before it is in force, so what a caller was told of outlasts a crash. When a key was last used is
written at most once a minute: that much of it a crash may lose.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from .access_records import MAX_KEYS, ApiKey, NewApiKey
from .durable import replace_file
from .errors import Conflict, CorruptRecord, KeyExists, KeyNotFound, StateUnavailable
from .together import to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .scope import Scope

logger = logging.getLogger(__name__)

#: Seconds between two writings of when keys were last used.
USE_NOTED_S: Final = 60.0

_VERSION: Final = 1
_KEY: Final = re.compile(r"hero_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


class _StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    key: ApiKey
    #: SHA-256 of the secret, in hexadecimal digits.
    digest: str


class _Content(msgspec.Struct, frozen=True, kw_only=True):
    keys: list[_StoredKey]
    version: int = 1


def _now() -> datetime:
    return datetime.now(UTC)


class KeyStore:
    """Owner of the file of keys. Use: ``load``, then the rest, then ``aclose``."""

    def __init__(self, path: Path, *, clock: Callable[[], datetime] = _now) -> None:
        """Args: the file; and what tells the time."""
        self._path = path
        self._clock = clock
        self._keys: dict[str, _StoredKey] = {}
        self._noted_at: dict[str, datetime] = {}
        self._changing = asyncio.Lock()
        self._noting: asyncio.Task[None] | None = None
        #: Who is told, at once, when a key was removed.
        self.on_removed: list[Callable[[ApiKey], None]] = []

    def load(self) -> None:
        """Read the file.

        Raises:
            CorruptRecord: It is not one that we wrote; it is left as it is.
        """
        try:
            content = msgspec.json.decode(self._path.read_bytes(), type=_Content)
        except FileNotFoundError:
            self._keys = {}
            return
        except (OSError, msgspec.DecodeError) as exc:
            hint = "restore it from a copy, or move it away, which removes all keys"
            raise CorruptRecord(f"cannot read {self._path}: {exc}", hint=hint) from exc
        if content.version != _VERSION:
            text = f"it has version {content.version}, this program knows {_VERSION}"
            raise CorruptRecord(f"cannot read {self._path}: {text}")
        self._keys = {stored.key.id: stored for stored in content.keys}
        self._noted_at = self._uses()

    async def aclose(self) -> None:
        """Write down when keys were last used."""
        if self._noting is not None:
            await asyncio.wait([self._noting])
        await self._note_uses()

    def listed(self) -> list[ApiKey]:
        """Return all keys, oldest first."""
        return [stored.key for stored in self._keys.values()]

    def check(self, secret: str) -> ApiKey | None:
        """Return the key that a secret is, if it is one that works now."""
        match = _KEY.fullmatch(secret)
        stored = self._keys.get(match[1]) if match else None
        # In constant time, although a digest tells nothing of its secret.
        if stored is None or not hmac.compare_digest(_digest(secret), stored.digest):
            return None
        now = self._clock()
        return None if stored.key.expires_at and stored.key.expires_at <= now else self._used(stored, now)

    def _used(self, stored: _StoredKey, now: datetime) -> ApiKey:
        key = replace(stored.key, last_used_at=now)
        self._keys[key.id] = replace(stored, key=key)
        noted_at = self._noted_at.get(key.id)
        is_due = noted_at is None or now - noted_at >= timedelta(seconds=USE_NOTED_S)
        if is_due and (self._noting is None or self._noting.done()):
            self._noting = asyncio.create_task(self._note_uses(), name="note-uses-of-keys")
        return key

    async def _note_uses(self) -> None:
        if self._uses() == self._noted_at:
            return
        async with self._changing:
            self._noted_at = self._uses()
            try:
                await self._write(self._keys)
            except StateUnavailable as exc:
                # Nothing depends on it; in a minute the next use tries again.
                logger.debug("%s", exc)

    def _uses(self) -> dict[str, datetime]:
        return {id: at for id, stored in self._keys.items() if (at := stored.key.last_used_at) is not None}

    async def create(self, name: str, scope: Scope, *, expires_in_s: int | None = None) -> NewApiKey:
        """Make a key.

        Args:
            name: Its name, which no other key has.
            scope: What it allows.
            expires_in_s: Seconds for which it works; ``None``: until it is removed.

        Raises:
            KeyExists: Another key has this name.
            Conflict: There are ``MAX_KEYS`` already.
            StateUnavailable: It cannot be written down; there is no key then.
        """
        async with self._changing:
            if any(stored.key.name == name for stored in self._keys.values()):
                raise KeyExists(f"cannot create key '{name}': another one has this name", name=name)
            if len(self._keys) >= MAX_KEYS:
                hint = "remove one that is not needed: herosup key list"
                raise Conflict(f"cannot create key '{name}': there are {MAX_KEYS} keys already", hint=hint)
            now = self._clock()
            id = secrets.token_hex(6)
            secret = f"hero_{id}_{secrets.token_urlsafe(32)}"
            expires_at = None if expires_in_s is None else now + timedelta(seconds=expires_in_s)
            key = ApiKey(id=id, name=name, scope=scope, created_at=now, expires_at=expires_at)
            await self._write(self._keys | {id: _StoredKey(key=key, digest=_digest(secret))})
            self._keys[id] = _StoredKey(key=key, digest=_digest(secret))
        return NewApiKey(**msgspec.structs.asdict(key), key=secret)

    async def remove(self, name_or_id: str) -> ApiKey:
        """Forget a key: it works no more when this returns.

        Raises:
            KeyNotFound: No key has this id or name.
            StateUnavailable: It cannot be written down; the key still works then.
        """
        async with self._changing:
            stored = self._find(name_or_id)
            await self._write({id: each for id, each in self._keys.items() if id != stored.key.id})
            del self._keys[stored.key.id]
            self._noted_at.pop(stored.key.id, None)
        for tell in self.on_removed:
            tell(stored.key)
        return stored.key

    def _find(self, name_or_id: str) -> _StoredKey:
        by_name = (stored for stored in self._keys.values() if stored.key.name == name_or_id)
        found = self._keys.get(name_or_id) or next(by_name, None)
        if found is None:
            hint = "list the keys: herosup key list"
            raise KeyNotFound(f"cannot find key '{name_or_id[:80]}'", key=name_or_id[:80], hint=hint)
        return found

    async def _write(self, keys: dict[str, _StoredKey]) -> None:
        content = _Content(keys=list(keys.values()))
        data = msgspec.json.format(msgspec.json.encode(content), indent=2)
        try:
            await to_the_end(asyncio.to_thread(replace_file, self._path, data))
        except OSError as exc:
            text = f"cannot write to the state directory {self._path.parent}: {exc.strerror or exc}"
            raise StateUnavailable(text, hint="is its disk full?") from exc


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
