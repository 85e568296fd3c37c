"""The unix socket: made with its rights before anyone can connect, in place of a stale one, and removed in the end.

It is bound under another name, given its group and mode, begins to listen, and is then renamed: at no moment is there a
socket of the right name that has other rights, or that refuses.
"""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import AddressUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

#: Its members may do everything; root makes it: groupadd --system hero-supervisor.
GROUP: Final = "hero-supervisor"
MODE: Final = 0o660
_DIRECTORY_MODE: Final = 0o755
_BACKLOG: Final = 2048


def group_id(name: str = GROUP) -> int | None:
    """Return the id of the group whose members may use the socket; ``None`` when there is none."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


@contextmanager
def local_socket(path: Path, *, gid: int | None = None) -> Iterator[socket.socket]:
    """Listen on a unix socket, which is gone afterwards.

    Args:
        path: Where; its directory is made if it is not there.
        gid: The group that may connect, besides root and this user.

    Raises:
        AddressUnavailable: A service listens there already, something else is there, or it cannot be made.
    """
    try:
        sock = _listening(path, gid)
    except OSError as exc:
        text = exc.strerror or str(exc)
        raise _unavailable(path, text, hint="choose another with --socket-path, or '' for none") from exc
    identity = _identity(path)
    try:
        yield sock
    finally:
        sock.close()
        # Ours only: another one may have taken the name.
        with contextlib.suppress(OSError):
            if _identity(path) == identity:
                path.unlink()


def _listening(path: Path, gid: int | None) -> socket.socket:
    _make_room(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(temporary))
        _give_to(temporary, gid)
        temporary.chmod(MODE)
        sock.listen(_BACKLOG)
        sock.setblocking(False)  # noqa: FBT003  # the standard library's signature
        temporary.rename(path)
    except BaseException:
        sock.close()
        temporary.unlink(missing_ok=True)
        raise
    return sock


def _make_room(path: Path) -> None:
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(_DIRECTORY_MODE)
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        hint = f"look at it, and move it away: ls -l {path}"
        raise _unavailable(path, "there is something that is no socket", hint=hint)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return  # whoever made it is gone
        except TimeoutError:
            pass  # somebody is there, and busy
    hint = f"see who has it: ss -lxp src {path}; or give this one another --namespace or --socket-path"
    raise _unavailable(path, "a service listens there already", hint=hint)


def _give_to(path: Path, gid: int | None) -> None:
    if gid is None:
        return
    try:
        os.chown(path, -1, gid)
    except PermissionError as exc:
        # Root and we can still connect.
        logger.warning("cannot give the socket to group %d, whose members cannot connect now: %s", gid, exc.strerror)


def _identity(path: Path) -> tuple[int, int]:
    stat = path.lstat()
    return stat.st_dev, stat.st_ino


def _unavailable(path: Path, reason: str, *, hint: str) -> AddressUnavailable:
    return AddressUnavailable(f"cannot listen on {path}: {reason}", hint=hint, path=str(path))
