"""A unit's commands and paths across ``daemon-reload``, which is what installing a package does.

systemd keeps a transient unit's properties in a file and reads that file again on every reload. It writes files that
it cannot read (measured: 252 in all of these ways, 257 in the last one):

- ``ExecStartEx=`` is no key of unit files, nor is ``ExecReloadEx=``. After a reload the unit has no command: it runs
  on, but is not restarted.
- In ``ExecStart=`` it writes ``$`` and ``;`` with a backslash that stays: a restart would execute other arguments.
- Paths that a unit is shown or denied are written without quotes. One with a space becomes two, one with a colon, quote
  or backslash is dropped or another: what was denied may then be seen.

So with an older version a command without ``$`` and ``;`` is given as ``ExecStart``, which then survives unchanged. For
any other command, and for such paths, the file is corrected as soon as systemd has written it. We may die between the
two, so it is done again for units that run already, as far as they are what we take them for. Too late for a command
that a reload has lost by then: such a unit cannot be referenced, and its file would come back if it ended meanwhile.

Rejected: ``$$`` for ``$`` in ``ExecStart`` (the backslash stays; 257 doubles it once more); a program in between that
decodes its arguments (a missing command would no longer be an error of the start); leaving restarts to the supervisor
(units must not need it). Source: bus_set_transient_exec_command() in systemd's src/core/dbus-execute.c.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hero_supervisor.unit import Property

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hero_supervisor.unit import TransientUnit

#: The first version of which we know that it reads back the commands that it writes.
GOOD_VERSION: Final = 257

#: Keys of unit files, by the name of the property that takes the flag against ``$``.
_KEYS: Final = {"ExecStartEx": "ExecStart", "ExecReloadEx": "ExecReload"}

#: Properties with paths that are written without quotes, and the characters for which that matters.
_PATHS: Final = frozenset({"InaccessiblePaths", "ReadOnlyPaths", "ReadWritePaths"})
_FRAGILE: Final = frozenset(" \t\"'\\:")

#: What systemd tells of a command beside what it was given: its last execution.
_EXECUTION: Final = "ttttuii"


def surviving(unit: TransientUnit, *, version: int) -> TransientUnit:
    """Return the unit with its command given in the form that survives a reload, if there is one for it.

    Args:
        unit: What is to be started.
        version: The manager's version.
    """
    if version >= GOOD_VERSION:
        return unit
    return replace(unit, properties=tuple(map(_surviving_property, unit.properties)))


def corrections(unit: TransientUnit, *, version: int) -> dict[str, list[str]]:
    """Return what systemd writes wrong of a unit: a key of its file, and the lines that belong there.

    Args:
        unit: What is started.
        version: The manager's version.
    """
    found: dict[str, list[str]] = {}
    fragile = {prop.name for prop in unit.properties if _FRAGILE & set("".join(_paths_in(prop)))}
    for prop in unit.properties:
        command = _only_command(prop)
        if command is not None and version < GOOD_VERSION:
            # An empty value takes back what came before.
            found[prop.name] = [f"{_KEYS[prop.name]}=", command_line(_KEYS[prop.name], command)]
        elif prop.name in fragile:
            found.setdefault(prop.name, []).extend(_path_lines(prop))
    return found


def told_as(unit: TransientUnit, name: str) -> str:
    """Return the D-Bus type in which systemd tells a property of a unit that ``corrections`` names."""
    if name in _KEYS:
        return f"a(sasas{_EXECUTION})"
    return next(prop.signature for prop in unit.properties if prop.name == name)


def is_told(unit: TransientUnit, name: str, value: Sequence[Any]) -> bool:
    """Whether what systemd tells of a property is what the unit has, or nothing: then a reload has dropped it.

    Args:
        unit: What was started, maybe.
        name: The property; one that ``corrections`` names.
        value: What systemd tells, of the type ``told_as``.
    """
    values: list[Any] = [prop.value for prop in unit.properties if prop.name == name]
    wanted = [_plain(entry) for entries in values for entry in entries]
    end = -len(_EXECUTION) if name in _KEYS else None
    told = [_plain(entry)[:end] for entry in value]
    return told in ([], wanted)


def correct(path: str, wrong: Mapping[str, Sequence[str]]) -> None:
    """Correct a transient unit's file, unless it is good: the unit then survives the next reload.

    Args:
        path: The file; systemd's ``FragmentPath`` of the unit, which must be loaded and referenced (or else the file
            could come back after systemd has removed it, and block the name).
        wrong: What ``corrections`` returns for the unit.

    Raises:
        OSError: It cannot be read or replaced.
    """
    file = Path(path)
    text = file.read_bytes()
    written = {key: lines for key, lines in wrong.items() if _lines_of(key, text) not in ([], lines)}
    if not written:
        return
    found = file.stat()
    # systemd compares times to see whether a file was changed since it was loaded.
    _replace(
        file, _corrected(text, written), mode=found.st_mode & 0o777, times_ns=(found.st_atime_ns, found.st_mtime_ns)
    )


def command_line(key: str, command: Sequence[str]) -> str:
    """Return a unit file's line that executes a command as it is, without variables and specifiers."""
    return f"{key}=:{' '.join(map(_quoted, command))}"


def _surviving_property(prop: Property) -> Property:
    command = _only_command(prop)
    if command is None or any(char in word for word in command for char in "$;"):
        return prop
    return Property(_KEYS[prop.name], "a(sasb)", [[command[0], list(command), False]])


def _only_command(prop: Property) -> Sequence[str] | None:
    if prop.name not in _KEYS:
        return None
    commands: Any = prop.value
    ((program, words, flags),) = commands
    return words if flags == ["no-env-expand"] and words[0] == program else None


def _paths_in(prop: Property) -> list[str]:
    """Return the paths of a property that is a list of such; none of any other."""
    entries: Any = prop.value
    if prop.name == "BindReadOnlyPaths":
        return [path for source, target, *_ in entries for path in (source, target)]
    return list(entries) if prop.name in _PATHS else []


def _path_lines(prop: Property) -> list[str]:
    quoted = [_quoted(path) for path in _paths_in(prop)]
    if prop.name == "BindReadOnlyPaths":
        quoted = [f"{source}:{target}" for source, target in zip(quoted[::2], quoted[1::2], strict=True)]
    return [f"{prop.name}={path}" for path in quoted]


def _plain(entry: str | Sequence[Any]) -> str | list[Any]:
    """Return an entry of a list as one that can be compared: a structure may be a list or a tuple."""
    return entry if isinstance(entry, str) else list(entry)


def _lines_of(key: str, text: bytes) -> list[str]:
    return [line.decode(errors="replace") for line in text.splitlines() if line.startswith(f"{key}=".encode())]


def _corrected(text: bytes, wrong: Mapping[str, Sequence[str]]) -> bytes:
    keys = tuple(f"{key}=".encode() for key in wrong)
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(keys)]
    # A key belongs to the section that is written last.
    right = "".join(f"{line}\n" for added in wrong.values() for line in added)
    return b"".join(lines) + f"[Service]\n{right}".encode()


def _quoted(word: str) -> str:
    """Return a word in the quotes of unit files. Source: systemd.syntax(7)."""
    return '"' + "".join(map(_escaped, word)).replace("%", "%%") + '"'


def _escaped(char: str) -> str:
    if char in '\\"':
        return f"\\{char}"
    return f"\\x{ord(char):02x}" if ord(char) < 32 or ord(char) == 127 else char


def _replace(file: Path, text: bytes, *, mode: int, times_ns: tuple[int, int]) -> None:
    """Replace a file at once: systemd may read it at any moment."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".#")
    try:
        with os.fdopen(handle, "wb") as temporary:
            temporary.write(text)
            temporary.flush()
            os.fchmod(handle, mode)
            os.utime(handle, ns=times_ns)
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
