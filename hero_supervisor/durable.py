"""Files that outlast a crash, and a power cut: what is written here is on disk, under its name, when a call returns.

A file is replaced as a whole (temporary file, fsync, rename), so that there is the old content or the new; then the
directory is synced, without which a power cut may undo the rename, or lose a file that is new. Source: fsync(2).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Give a file new content. Only its owner may read it.

    Raises:
        OSError: It cannot be written; the old content is still there.
    """
    temporary = path.with_suffix(".new")
    _write(temporary, "wb", data)
    temporary.replace(path)
    _sync_directory(path.parent)


def append_to_file(path: Path, data: bytes) -> None:
    """Write at the end of a file, which is made if it is not there. Only its owner may read it then.

    Raises:
        OSError: Not all of it could be written.
    """
    is_new = not path.exists()
    _write(path, "ab", data)
    if is_new:
        _sync_directory(path.parent)


def _write(path: Path, mode: str, data: bytes) -> None:
    with open(path, mode, opener=_open_private) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
