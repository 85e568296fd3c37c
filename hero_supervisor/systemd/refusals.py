"""D-Bus errors into ours: the one place that knows their names. Their texts are passed on, never matched."""

from __future__ import annotations

from typing import Final

from hero_supervisor.errors import (
    Conflict,
    HeroError,
    NotFound,
    PermissionDenied,
    SystemdRefused,
    SystemdUnavailable,
    UnitExists,
)

_DBUS: Final = "org.freedesktop.DBus.Error."
_SYSTEMD: Final = "org.freedesktop.systemd1."

#: The manager left the bus while, or before, it was asked. It does that for a moment when it re-executes itself.
ABSENT: Final = frozenset({_DBUS + name for name in ("NoReply", "ServiceUnknown", "NameHasNoOwner", "Disconnected")})

_CLASSES: Final[dict[str, type[HeroError]]] = {
    **dict.fromkeys(ABSENT, SystemdUnavailable),
    _DBUS + "Timeout": SystemdUnavailable,
    _DBUS + "TimedOut": SystemdUnavailable,
    _SYSTEMD + "ShuttingDown": SystemdUnavailable,
    _DBUS + "AccessDenied": PermissionDenied,
    _DBUS + "AuthFailed": PermissionDenied,
    _DBUS + "InteractiveAuthorizationRequired": PermissionDenied,
    _DBUS + "UnknownObject": NotFound,
    _SYSTEMD + "NoSuchUnit": NotFound,
    _SYSTEMD + "NoSuchJob": NotFound,
    _SYSTEMD + "UnitExists": UnitExists,
    _SYSTEMD + "TransactionIsDestructive": Conflict,
    _SYSTEMD + "TransactionJobsConflicting": Conflict,
}

_HINTS: Final[dict[type[HeroError], str]] = {
    PermissionDenied: "run as root, use the user manager, or let polkit grant org.freedesktop.systemd1.manage-units",
}


def refusal(error_name: str, text: str, *, purpose: str) -> HeroError:
    """Return our error for a D-Bus error.

    Args:
        error_name: Its D-Bus name; anything without a class of its own is ``SystemdRefused``.
        text: What systemd says, for people. It names the property when one is wrong.
        purpose: What was wanted, as in "start unit 'x.service'".
    """
    error = _CLASSES.get(error_name, SystemdRefused)
    reason = text.rstrip(".") or error_name
    return error(f"cannot {purpose}: {reason}", hint=_HINTS.get(error), dbus_error=error_name)
