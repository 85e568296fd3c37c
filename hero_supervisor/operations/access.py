"""Who may call, and who did what: the keys of callers, and the audit log."""

from __future__ import annotations

import hmac
from typing import Annotated

from msgspec import Meta

from hero_supervisor.access_records import (
    ApiKey,
    AuditEntry,
    AuditQuery,
    KeyCheck,
    KeyName,
    NewApiKey,
)
from hero_supervisor.errors import Fault, InvalidInput
from hero_supervisor.log_query import Cursor, Time
from hero_supervisor.scope import Scope
from hero_supervisor.settings import Secrets

from .parts import Parts

KeyRef = Annotated[str, Meta(min_length=1, max_length=64, description="Id or name of a key.")]
ShownSecret = Annotated[str, Meta(max_length=512, description="A key, or one of the configured secrets.")]
Seconds = Annotated[int, Meta(ge=1, le=3_155_760_000, description="A time in seconds, up to a hundred years.")]
AuditLimit = Annotated[int, Meta(ge=1, le=1_000, description="Number of entries, from 1 to 1000.")]
#: What ends up in a match of ``journalctl``.
Word = Annotated[str, Meta(pattern=r"^[ -~]{1,100}$(?!\n)", description="Printable ASCII, at most 100 characters.")]


class AccessOperations(Parts):
    """Giving access, taking it away, and looking at what was done with it."""

    secrets: Secrets

    async def create_key(self, name: KeyName, scope: Scope, expires_in_s: Seconds | None = None) -> NewApiKey:
        """Make a key for a caller. Only the answer has it: what is kept tells whether a key is right, not what it is.

        Args:
            name: What the key is for; no other key may have this name.
            scope: What it allows: ``read``, ``user``, ``register`` or ``admin``.
            expires_in_s: For how long it works; until it is removed when not given.

        Raises:
            KeyExists: Another key has this name.
            Conflict: There are 256 keys already.
            StateUnavailable: It cannot be written down.
        """
        if scope is Scope.NONE:
            raise InvalidInput([Fault("scope", "must be read, user, register or admin")])
        return await self._keys.create(name, scope, expires_in_s=expires_in_s)

    async def list_keys(self) -> list[ApiKey]:
        """Return all keys, oldest first, expired ones included. The secrets in the settings are not among them."""
        return self._keys.listed()

    async def remove_key(self, key: KeyRef) -> ApiKey:
        """Forget a key. When this returns, it works no more.

        Args:
            key: Its id or name.

        Returns:
            What was removed.

        Raises:
            KeyNotFound: No key has this id or name.
            StateUnavailable: It cannot be written down; the key still works then.
        """
        return await self._keys.remove(key)

    async def verify_key(self, key: ShownSecret) -> KeyCheck:
        """Say whether a key, or a secret of the settings, is good, and what it allows. Too many wrong ones are refused.

        Args:
            key: What a caller would send.
        """
        if found := secret_in(self.secrets, key):
            return KeyCheck(is_valid=True, name=found[0], scope=found[1])
        known = self._keys.check(key)
        if known is None:
            return KeyCheck(is_valid=False)
        return KeyCheck(is_valid=True, name=known.name, scope=known.scope, expires_at=known.expires_at)

    async def get_audit_log(
        self,
        since: Time | None = None,
        method: Word | None = None,
        who: Word | None = None,
        limit: AuditLimit = 100,
        after_cursor: Cursor | None = None,
    ) -> list[AuditEntry]:
        """Return who called what, newest last: the newest calls, or those after a cursor.

        Every call of a method whose scope is above ``read`` is there, a moment after its end, also when it failed or
        was refused for lack of scope.

        Args:
            since: Only calls of this time or later.
            method: Only calls of this method.
            who: Only calls of this caller: ``key NAME``, ``admin_secrets``, ``uid N``, ``anonymous``.
            limit: Most entries to return.
            after_cursor: ``cursor`` of the entry to go on after.

        Raises:
            InvalidInput: The cursor is not one.
            JournalUnavailable: The journal cannot be read.
        """
        query = AuditQuery(since=since, method=method, who=who, limit=limit, after_cursor=after_cursor)
        return await self._audit.read(query)


def secret_in(secrets: Secrets, secret: str) -> tuple[str, Scope] | None:
    """Return the setting that has a secret, and what it allows; of several the highest."""
    lists = (
        ("admin_secrets", Scope.ADMIN, secrets.admin),
        ("register_secrets", Scope.REGISTER, secrets.register),
        ("user_secrets", Scope.USER, secrets.user),
    )
    # Every entry is compared, in constant time, so that timing tells nothing.
    found = [(name, scope) for name, scope, known in lists for entry in known if _is_same(entry, secret)]
    return found[0] if found else None


def _is_same(entry: str, secret: str) -> bool:
    return hmac.compare_digest(secret.encode(errors="surrogatepass"), entry.encode(errors="surrogatepass"))
