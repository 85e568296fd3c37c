"""Who calls: what the connection tells (``Peer``), and what follows from that and a secret (``Caller``)."""

from __future__ import annotations

import ipaddress

import msgspec

from hero_supervisor.scope import Scope


class Peer(msgspec.Struct, frozen=True):
    """The other end of a connection: an address over TCP, a process over the unix socket."""

    address: str = ""
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    groups: tuple[int, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether the kernel vouches for who it is, as it does over the unix socket."""
        return self.uid is not None

    @property
    def source(self) -> str:
        """What failures are counted by: a user, an address, or a network, when who has one address has all of it."""
        if self.uid is not None:
            return f"uid {self.uid}"
        try:
            ip = ipaddress.ip_address(self.address)
        except ValueError:
            return self.address or "unknown"
        return self.address if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))

    def __str__(self) -> str:
        return f"process {self.pid}" if self.is_local else self.address or "unknown"


class Caller(msgspec.Struct, frozen=True):
    """A caller: who it is, as far as is known, and what it may do."""

    who: str
    scope: Scope
    peer: Peer
    has_shown_secret: bool = False
    #: Of the key that it has shown.
    key_id: str | None = None
