"""Who is at the other end of each connection: looked up once, when it is made, and carried to every request of it.

uvicorn copies a dictionary of the server's into the scope of each request (the ``state`` of ASGI's lifespan protocol).
Here each connection gets one of its own, so a request costs nothing more, whichever of uvicorn's protocols it comes by;
those for WebSocket take it over from the one for HTTP.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from hero_supervisor.rpc import Peer

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY: Final = "hero_peer"
#: pid_t, uid_t, gid_t. Source: unix(7).
_CREDENTIALS: Final = struct.Struct("=iII")
#: The supplementary groups of the peer; Python has no name for it. Source: Linux 4.13, asm-generic/socket.h.
_SO_PEERGROUPS: Final = 59
_GID: Final = struct.Struct("=I")
#: As many as Python's buffer of 1024 bytes has room for.
_MAX_GROUPS: Final = 256


class PeerProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes, as installed
    """uvicorn's protocol, with the peer in the scope of each request."""

    app_state: dict[str, Any]

    def connection_made(self, transport: Any) -> None:
        """Look up the peer."""
        self.app_state = {**self.app_state, _KEY: peer_of(transport.get_extra_info("socket"))}
        super().connection_made(transport)


def peer_in(scope: Mapping[str, Any]) -> Peer:
    """Return the peer of a request's connection; by its address when another server than ours serves."""
    peer = scope.get("state", {}).get(_KEY)
    if isinstance(peer, Peer):
        return peer
    client = scope.get("client")
    return Peer(address=str(client[0])) if client else Peer()


def peer_of(sock: socket.socket | None) -> Peer:
    """Return who is at the other end of a connection; nobody in particular when it is gone already."""
    try:
        if sock is None:
            return Peer()
        if sock.family != socket.AF_UNIX:
            return Peer(address=str(sock.getpeername()[0]))
        # What they were when it connected. Source: SO_PEERCRED in unix(7).
        pid, uid, gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    except OSError:
        return Peer()
    return Peer(uid=uid, gid=gid, pid=pid, groups=_groups_of(sock))


def _groups_of(sock: socket.socket) -> tuple[int, ...]:
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GID.size * _MAX_GROUPS)
    except OSError:
        # More than that, or an older kernel: then only the main group counts.
        return ()
    return tuple(gid for (gid,) in _GID.iter_unpack(found))
