"""A transient unit as the ``systemd-run`` line that makes the same one, for people who want to see or try it.

The line says in the words of unit files what we say over D-Bus. Two things have no word: the reference that we keep
(``AddRef``), and the flag against ``$`` in commands; a ``$`` is doubled instead, which comes to the same.
"""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING, Any, Final

from .transient import CLONE_NEWUTS, NO_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .transient import Property, TransientUnit

_UNSAYABLE: Final = frozenset({"AddRef"})

#: Properties whose name in unit files is not the one on D-Bus.
_NAMES: Final = {
    "EnvironmentFiles": "EnvironmentFile",
    "ExecReloadEx": "ExecReload",
    "LimitNOFILESoft": "LimitNOFILE",
    "ProtectControlGroupsEx": "ProtectControlGroups",
}
_OCTAL: Final = frozenset({"UMask", "RuntimeDirectoryMode"})


def systemd_run_line(unit: TransientUnit, *, is_user: bool = False) -> str:
    """Return a shell command that starts a unit with the same properties.

    Args:
        unit: The unit.
        is_user: For a user's manager instead of the system's.
    """
    words = ["systemd-run", *(["--user"] if is_user else []), f"--unit={unit.name}"]
    command: list[str] = []
    for prop in unit.properties:
        if prop.name == "ExecStartEx":
            command = [word.replace("$", "$$") for word in _words_of(prop)]
        elif prop.name == "Environment":
            words += [f"--setenv={variable}" for variable in _list(prop.value)]
        elif prop.name not in _UNSAYABLE and prop.value != NO_LIMIT:  # that a limit is not set need not be said
            words += [f"--property={assignment}" for assignment in _assignments(prop)]
    return shlex.join([*words, "--", *command])


def unsayable(unit: TransientUnit) -> tuple[str, ...]:
    """Return the names of a unit's properties that its line cannot say."""
    return tuple(prop.name for prop in unit.properties if prop.name in _UNSAYABLE)


def _assignments(prop: Property) -> Iterable[str]:
    """Yield what a unit file says for a property: lists with one line for each entry."""
    value: Any = prop.value
    name = _NAMES.get(prop.name, prop.name)
    if prop.name.endswith("USec"):
        yield _duration(prop.name, value)
    elif prop.name in _SPECIAL:
        yield f"{name}={_SPECIAL[prop.name](value)}"
    elif prop.name in _OCTAL:
        yield f"{name}={value:04o}"
    elif prop.signature in _LISTS:
        yield from (f"{name}={_LISTS[prop.signature](each)}" for each in value)
    elif prop.signature == "(bas)":
        yield f"{name}={'' if value[0] else '~'}{' '.join(value[1])}"
    else:
        yield f"{name}={_scalar(value)}"


def _duration(name: str, usec: int) -> str:
    if name == "CPUQuotaPerSecUSec":
        return f"CPUQuota={usec // 10_000}%"
    return f"{name.removesuffix('USec')}Sec={usec}us"


def _scalar(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _list(value: Any) -> list[str]:
    return list(value)


def _statuses(value: Any) -> str:
    """Return exit statuses, and signals by name."""
    statuses, signals = value
    return " ".join([*map(str, statuses), *(signal.Signals(number).name for number in signals)])


def _words_of(prop: Property) -> list[str]:
    commands: Any = prop.value
    return list(commands[0][1])


def _quoted(text: str) -> str:
    """Return a text in the quotes of unit files. Source: systemd.syntax(7)."""
    return '"' + "".join(f"\\{char}" if char in '\\"' else char for char in text) + '"'


#: How an entry of a list is written, by the signature of the list.
_LISTS: Final[Mapping[str, Callable[[Any], str]]] = {
    "as": _quoted,
    "aay": bytes.decode,  # not a list to systemd-run, so not quoted
    "a(sb)": lambda file: f"{'-' if file[1] else ''}{file[0]}",
    "a(ss)": ":".join,
    "a(ssbt)": lambda mount: ":".join(map(_quoted, mount[:2])),
    "a(sasas)": lambda command: " ".join(_quoted(word.replace("$", "$$")) for word in command[1]),
}

#: Properties whose value unit files write in a way of their own.
_SPECIAL: Final[Mapping[str, Callable[[Any], str]]] = {
    "CapabilityBoundingSet": lambda mask: "" if mask == 0 else str(mask),
    "KillSignal": lambda number: signal.Signals(number).name,
    "RestrictNamespaces": lambda allowed: "uts" if allowed == CLONE_NEWUTS else str(allowed),
    "RestartPreventExitStatus": _statuses,
    "SuccessExitStatus": _statuses,
    "SystemCallErrorNumber": lambda number: "EPERM" if number == 1 else str(number),
}
