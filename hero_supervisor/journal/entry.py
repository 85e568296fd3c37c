"""A journal entry into a log record, and which unit it is about.

An entry is about a unit under the same conditions as for ``journalctl -u``: its processes wrote it, the manager names
the unit, or a daemon of root's does, such as journald and systemd-coredump. Whoever writes an entry chooses all fields
that do not begin with an underscore, so those count only with a trusted one beside them.
Source: add_matches_for_unit() in systemd's logs-show.c, systemd.journal-fields(7).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from hero_supervisor.errors import JournalUnavailable
from hero_supervisor.records import LogKind, LogRecord
from hero_supervisor.unit import instance_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    Entry = Mapping[str, bytes]

#: Field by which a worker tags the lines of a job.
JOB_FIELD: Final = "HERO_JOB_ID"
#: journald dropped lines of a unit that wrote more than its rate limit. Source: systemd's sd-messages.h.
MESSAGE_ID_DROPPED: Final = "a596d6fe7bfa4994828e72309e95d61e"
MESSAGE_ID_COREDUMP: Final = "fc2e22bc6ee647b6b90729ab34a250b1"

#: Fields that are asked of ``journalctl``.
FIELDS: Final = (
    "MESSAGE",
    "PRIORITY",
    "MESSAGE_ID",
    "N_DROPPED",
    "UNIT",
    "USER_UNIT",
    "INVOCATION_ID",
    "USER_INVOCATION_ID",
    "COREDUMP_UNIT",
    "COREDUMP_USER_UNIT",
    "OBJECT_SYSTEMD_UNIT",
    "OBJECT_SYSTEMD_USER_UNIT",
    "OBJECT_SYSTEMD_INVOCATION_ID",
    JOB_FIELD,
    "_PID",
    "_UID",
    "_TRANSPORT",
    "_LINE_BREAK",
    "_SYSTEMD_UNIT",
    "_SYSTEMD_USER_UNIT",
    "_SYSTEMD_INVOCATION_ID",
)

_PRIORITIES: Final = frozenset(b"%d" % number for number in range(8))
_DEFAULT_PRIORITY: Final = 6
#: Why journald ended a message where its line does not end. Source: systemd.journal-fields(7).
_BREAKS_WITHIN_LINES: Final = frozenset({b"line-max", b"pid-change"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def record_of(entry: Entry, unit_name: str = "") -> LogRecord:
    """Return the log record for a journal entry.

    Args:
        entry: Its fields.
        unit_name: The unit it is about, see ``unit_of``.

    Raises:
        JournalUnavailable: It has no cursor or no time, so it is not from a journal.
    """
    try:
        cursor = entry["__CURSOR"].decode()
        timestamp = _EPOCH + timedelta(microseconds=int(entry["__REALTIME_TIMESTAMP"]))
    except (KeyError, ValueError, OverflowError) as exc:
        raise JournalUnavailable("cannot read the journal: journalctl wrote an entry without cursor or time") from exc
    is_dropped = _tells_of_dropped_lines(entry)
    return LogRecord(
        cursor=cursor,
        timestamp=timestamp,
        kind=LogKind.DROPPED if is_dropped else LogKind.LINE,
        priority=int(priority) if (priority := entry.get("PRIORITY", b"")) in _PRIORITIES else _DEFAULT_PRIORITY,
        message=entry.get("MESSAGE", b"").decode(errors="replace"),
        pid=int(pid) if (pid := entry.get("_PID", b"")).isdigit() else None,
        invocation_id=_invocation_id(entry),
        instance=instance_of(unit_name),
        # In systemd 257 what the manager itself says of a unit has the unit's extra fields, too.
        job_id=None if _is_from_manager(entry) else _text(entry, JOB_FIELD),
        dropped=int(count) if is_dropped and (count := entry.get("N_DROPPED", b"")).isdigit() else 0,
        continues=entry.get("_LINE_BREAK") in _BREAKS_WITHIN_LINES,
    )


def unit_of(entry: Entry, *, user: bool) -> str:
    """Return the unit that an entry is about, of the system manager or of a user's; empty when there is none."""
    prefix = "USER_" if user else ""
    if _is_from_manager(entry) and (unit := _text(entry, f"{prefix}UNIT")):
        return unit
    if entry.get("_UID") == b"0":
        if unit := _text(entry, f"OBJECT_SYSTEMD_{prefix}UNIT"):
            return unit
        if entry.get("MESSAGE_ID") == MESSAGE_ID_COREDUMP.encode():
            return _text(entry, f"COREDUMP_{prefix}UNIT") or ""
    return _text(entry, f"_SYSTEMD_{prefix}UNIT") or ""


def _invocation_id(entry: Entry) -> str | None:
    """Return the run of the unit that an entry is about.

    The manager's messages about a unit name it in a field of their own, because ``_SYSTEMD_INVOCATION_ID`` is always
    that of the sender. PID 1 has none; a user manager has that of its own unit.
    """
    sender = _text(entry, "_SYSTEMD_INVOCATION_ID")
    if _is_from_manager(entry):
        return _text(entry, "INVOCATION_ID") or _text(entry, "USER_INVOCATION_ID") or sender
    if entry.get("_UID") == b"0":
        return _text(entry, "OBJECT_SYSTEMD_INVOCATION_ID") or sender
    return sender


def _is_from_manager(entry: Entry) -> bool:
    return entry.get("_PID") == b"1" or entry.get("_SYSTEMD_USER_UNIT") == b"init.scope"


def _tells_of_dropped_lines(entry: Entry) -> bool:
    # Only journald itself has this transport.
    return entry.get("_TRANSPORT") == b"driver" and entry.get("MESSAGE_ID") == MESSAGE_ID_DROPPED.encode()


def _text(entry: Entry, field: str) -> str | None:
    value = entry.get(field)
    return None if value is None else value.decode(errors="replace")
