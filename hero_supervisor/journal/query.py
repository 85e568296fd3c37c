"""A query into arguments for ``journalctl``.

**Matches.** Units, priorities, one run and one job are fields with indexes, so ``journalctl`` finds them fast.
journald's word that it dropped lines is wanted whatever the priority: what was dropped might have been important.

**Cursors.** ``--after-cursor`` skips one entry wherever it begins: with a cursor whose entry is gone, or does not have
the fields that are matched, it loses a line (systemd 252). So we read from the cursor's entry on, itself included.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from hero_supervisor.log_query import ALL_PRIORITIES

from .entry import JOB_FIELD, MESSAGE_ID_DROPPED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hero_supervisor.log_query import LogQuery

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DROPPED: Final = ("_TRANSPORT=driver", f"MESSAGE_ID={MESSAGE_ID_DROPPED}")


def arguments_for(query: LogQuery, *, user: bool) -> list[str]:
    """Return arguments to read entries newest first, or with a cursor from that entry on, itself included.

    For the user manager ``--user-unit`` is used without ``--user``: it looks into every journal file that we may
    read, and not only into that of this user, which does not exist while the journal is volatile.
    """
    option = "--user-unit" if user else "--unit"
    return [*(f"{option}={name}" for name in query.units), *_order(query), *_terms(query, user=user)]


def _order(query: LogQuery) -> Iterator[str]:
    if query.until is not None:
        yield f"--until={_timestamp(query.until)}"
    if query.after_cursor is not None:
        # Not with --since, nor with --lines: versions differ in what that counts from. Our caller does both.
        yield f"--cursor={query.after_cursor}"
        return
    yield "--reverse"
    if query.since is not None:
        yield f"--since={_timestamp(query.since)}"
    if query.grep is None and query.job_id is None:  # not all that journalctl finds is wanted then
        yield f"--lines={query.lines}"


def _timestamp(time: datetime) -> str:
    """Return a time as ``journalctl`` takes it: seconds since the epoch, which is its first moment."""
    since_epoch = max(time - _EPOCH, timedelta())
    return f"@{since_epoch // timedelta(seconds=1)}.{since_epoch.microseconds:06}"


def _terms(query: LogQuery, *, user: bool) -> Iterator[str]:
    """Yield matches: all within a term have to be met, different fields that is, and one of the terms between ``+``."""
    job = [] if query.job_id is None else [f"{JOB_FIELD}={query.job_id}"]
    priorities = [f"PRIORITY={level}" for level in range(query.priority + 1)] if query.priority < ALL_PRIORITIES else []
    terms = [[*priorities, *job, *run] for run in _runs(query, user=user)]
    if priorities and not job:
        terms.append([*_DROPPED, *_object(query)])
    for number, term in enumerate(terms):
        yield from ["+"] if number else []
        yield from term


def _runs(query: LogQuery, *, user: bool) -> list[list[str]]:
    """Return who may name a run: the run's processes and, but for the lines of a job, the manager and journald."""
    if query.invocation_id is None:
        return [[]]
    own = [f"_SYSTEMD_INVOCATION_ID={query.invocation_id}"]
    if query.job_id is not None:
        return [own]
    system = ["_PID=1", f"INVOCATION_ID={query.invocation_id}"]
    users = ["_SYSTEMD_USER_UNIT=init.scope", f"USER_INVOCATION_ID={query.invocation_id}"]
    return [own, users if user else system, ["_UID=0", *_object(query)]]


def _object(query: LogQuery) -> list[str]:
    return [] if query.invocation_id is None else [f"OBJECT_SYSTEMD_INVOCATION_ID={query.invocation_id}"]
