"""Scopes: what a caller may do. A higher one includes the lower ones."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What a caller may do; each includes those before it."""

    #: Its place in the order, from 0 up.
    rank: int

    NONE = "none"
    #: Look at runners, jobs and logs.
    READ = "read"
    #: Queue and cancel jobs.
    USER = "user"
    #: Add runners.
    REGISTER = "register"
    #: Everything.
    ADMIN = "admin"

    @classmethod
    def _missing_(cls, value: object) -> Scope | None:
        # The original's word since 2025-10-28.
        return cls.REGISTER if value == "registrar" else None

    def includes(self, other: Scope) -> bool:
        """Whether whoever has this may do what needs the other."""
        return self.rank >= other.rank


for _rank, _scope in enumerate(Scope):
    _scope.rank = _rank  # looked at in every call: a table would cost a hash each time


def highest(*scopes: Scope) -> Scope:
    """Return the highest of some scopes; ``none`` of none."""
    return max(scopes, key=lambda scope: scope.rank, default=Scope.NONE)
