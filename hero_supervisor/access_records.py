"""Plain data of access: keys as they are told, and what was done by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from .schema import Moment
from .scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Most keys of one service.
MAX_KEYS = 256
#: Most characters of a key's name.
MAX_KEY_NAME = 64
#: Most ids of a kind in an entry of the audit log.
MAX_IDS = 10

KeyName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$(?!\n)",
        description="Name of a key: letters, digits, spaces and ._@-, at most 64.",
    ),
]


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key, without its secret, which nobody can read again."""

    id: str
    name: str
    #: What it allows.
    scope: Scope
    created_at: Moment
    #: When it stops working; null: never.
    expires_at: Moment | None = None
    #: When it was last used, to about a minute; null: never.
    last_used_at: Moment | None = None


class NewApiKey(ApiKey, frozen=True, kw_only=True):
    """A key that was just made, with its secret: this once."""

    #: What the caller sends from now on.
    key: str

    def __repr__(self) -> str:
        return f"NewApiKey({self.name!r})"


class KeyCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a secret is good, and for what."""

    is_valid: bool
    #: Name of the key, or of the setting that has it, such as ``admin_secrets``.
    name: str | None = None
    scope: Scope | None = None
    expires_at: Moment | None = None


def joined(ids: Iterable[str]) -> str:
    """Return ids of one kind as an entry has them: each once, ten at most, and ``…`` for more."""
    found = list(dict.fromkeys(ids))
    shown = [id for id in found if id != "…"][:MAX_IDS]
    return ", ".join([*shown, "…"] if len(shown) < len(found) else shown)


class AuditNote(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what."""

    #: ``key NAME``, ``admin_secrets`` and the like, ``uid N`` over the unix socket, or ``anonymous``.
    who: str
    #: Where the call came from: an address, or a process of this machine.
    peer: str
    method: str
    #: Ids in the call, by what they are of: ``runner``, ``job``, ….
    objects: dict[str, str]
    #: ``ok``, or the kind of the error.
    result: str
    #: How long it took, in seconds; of several calls the longest.
    duration_s: float
    #: How many calls it is about: alike ones that ended at the same moment are one entry.
    calls: int = 1


class AuditEntry(AuditNote, frozen=True, kw_only=True):
    """Who did what, and when it was done."""

    #: Where it is in the journal.
    cursor: str
    at: Moment


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of the audit log: all conditions are met."""

    #: Entries of this time or later.
    since: Moment | None = None
    method: str | None = None
    who: str | None = None
    #: The newest so many; with a cursor, the next ones after it.
    limit: int = 100
    after_cursor: str | None = None
