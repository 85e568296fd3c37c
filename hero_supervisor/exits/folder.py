"""Pure: systemd's journal entries about units, folded into runs.

What systemd 252 says of a run, always with its invocation id (Source: its journal catalogue, and measured)::

    Starting  Started   [Stopping]   [Main process exited]   Deactivated successfully | Failed with result
    [Consumed]   [Scheduled restart job   Stopped]   [Failed with result   Failed to start]

- *Main process exited* is missing when it ended cleanly: with status 0, or by SIGHUP, SIGINT, SIGTERM or SIGPIPE.
  Which of them it was the journal does not tell.
- *Stopping* is there whenever somebody stops a unit that is up; for one that is still starting only *Stopped* is, with
  ``JOB_TYPE=stop``. The same comes when the pause before a restart is cut short, after the end.
- *Consumed* comes after the end, and only from one second of CPU time on.
- *Scheduled restart job* comes after the pause, so hours later if the pause is that long.
- A second *Failed with result* after the end means that the start limit was hit. Its result is the first one's, or
  ``start-limit-hit`` after a clean end.
- A start for which nothing could be executed has neither *Starting* nor *Main process exited*.
- A user's manager never says *Deactivated successfully*. What can only follow a clean end stands for it then; when
  nothing follows, somebody else has to tell (``note_end``).

So the end of a run is one entry, but what belongs to it may come later. A run is given out a moment after its end
(``settle_s``), at once with *Consumed* or the unit's next run, and once more whenever something new is said of it.
Rejected: holding it back until its restart is certain, which makes the news hours late.

Entries of a run may have been read by somebody before us. A run whose beginning was not seen is marked by
``is_partial``: read all that the journal has of it and ``fold`` that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Entry = Mapping[str, bytes]

_STARTING: Final = b"7d4958e842da4a758f6c1cdc7b36dcc5"
_STARTED: Final = b"39f53479d3a045ac8e11786248231fbf"
_STOPPING: Final = b"de5b426a63be47a7b6ac3eaac82e2f6f"
_MAIN_EXITED: Final = b"98e322203f7a4ed290d09fe03c09fe15"
_SUCCEEDED: Final = b"7ad2d189f7e94e70a38c781354912448"
_FAILED: Final = b"d9b373ed55a64feb8242e02dbe79a49c"
_CONSUMED: Final = b"ae8f7b866b0347b9af31fe1c80b127c0"
_OOM: Final = b"fe6faa94e7774663a0da52717891d8ef"
_RESTART: Final = b"5eb03494b6584870a536b337290809b3"
_STOPPED: Final = b"9d1aaa27d60140bd96365438aad20286"
_START_FAILED: Final = b"be02cf6855d2428ba40df7e9d022f03d"

#: The kinds of entries that ``ExitFolder`` needs. Source: sd-messages.h.
MESSAGE_IDS: Final = tuple(
    message.decode()
    for message in (
        *(_STARTING, _STARTED, _STOPPING, _MAIN_EXITED, _SUCCEEDED, _FAILED),
        *(_CONSUMED, _OOM, _RESTART, _STOPPED, _START_FAILED),
    )
)
#: With these a run ends or has ended.
_AFTER_END: Final = frozenset({_SUCCEEDED, _FAILED, _CONSUMED, _RESTART, _STOPPED, _START_FAILED})

_UNIT_PATTERN: Final = r"-runner-(?P<runner>[a-z0-9][a-z0-9_-]{0,62})(@(?P<instance>[0-9]{1,6}))?\.service"


@dataclass(slots=True)
class Run:
    """What is known of one run of a unit. Times are microseconds since the epoch."""

    unit: str
    invocation_id: str
    started_usec: int | None = None
    is_up: bool = False
    #: Somebody asked systemd to stop it.
    is_stopped: bool = False
    exit_code: int | None = None
    signal_number: int | None = None
    is_oom: bool = False
    #: Set with the end: systemd's word for it, when, and where in the journal.
    result: str = ""
    ended_usec: int | None = None
    cursor: str = ""
    cpu_nsec: int | None = None
    memory_peak_bytes: int | None = None
    #: Whether systemd will start the unit again; None while nothing was said of it.
    is_restart_due: bool | None = None
    is_given_up: bool = False
    has_start_failed: bool = False
    #: When the unit's next run began, if that was seen.
    followed_usec: int | None = None

    @property
    def is_partial(self) -> bool:
        """Whether its beginning was not seen."""
        return self.started_usec is None

    def add(self, entry: Entry) -> None:
        """Take in an entry about this run. The same entry may come again."""
        message = entry.get("MESSAGE_ID")
        if message in {_STARTING, _STARTED}:
            self.started_usec = self.started_usec or _time(entry)
            self.is_up = self.is_up or message == _STARTED
        elif message == _STOPPING:
            self.is_stopped = True
        elif message == _MAIN_EXITED and entry.get("COMMAND", b"ExecStart") == b"ExecStart":
            self._end_process(entry)
        elif message == _OOM:
            self.is_oom = True
        elif message == _FAILED and self.ended_usec is not None:
            self._give_up(entry)
        elif message == _FAILED:
            self._end(entry, _text(entry, "UNIT_RESULT"))
        else:
            self._add_after_end(message, entry)

    def _end_process(self, entry: Entry) -> None:
        status = _number(entry, "EXIT_STATUS")
        if entry.get("EXIT_CODE") == b"exited":
            self.exit_code = status
        else:
            self.signal_number = status

    def _end(self, entry: Entry, result: str) -> None:
        self.result, self.ended_usec, self.cursor = result, _time(entry), _text(entry, "__CURSOR")

    def _give_up(self, entry: Entry) -> None:
        if _text(entry, "__CURSOR") != self.cursor:
            self.is_given_up = True
            self.is_restart_due = False

    def _add_after_end(self, message: bytes | None, entry: Entry) -> None:
        if message in {_SUCCEEDED, _CONSUMED, _RESTART, _STOPPED} and self.ended_usec is None:
            self._end(entry, "success")
        if message == _CONSUMED:
            self.cpu_nsec = _number(entry, "CPU_USAGE_NSEC")
            self.memory_peak_bytes = _number(entry, "MEMORY_PEAK")
        elif message == _RESTART:
            self.is_restart_due = True
        elif message == _START_FAILED:
            self.has_start_failed = True
        elif message == _STOPPED and entry.get("JOB_TYPE") == b"stop":
            self.is_restart_due = False
            # One that failed to start was stopped in the pause after that, else the stop is what ended it.
            self.is_stopped |= not (self.is_partial or self.is_up or self.has_start_failed)


@dataclass(slots=True)
class _Open:
    """A run of which something is still to be given out, or to come."""

    run: Run
    #: Where to read from again in order to see all of its end; None is the beginning.
    before: str | None
    #: When it is to be given out; None when nothing new is known.
    due_at: float | None = None
    is_latest: bool = True


class ExitFolder:
    """Folds entries into runs and gives out those that have ended.

    Holds one run for each unit, and those that have ended and were not taken.
    """

    def __init__(self, namespace: str, *, position: str | None = None, settle_s: float = 0.5) -> None:
        """Prepare.

        Args:
            namespace: First part of the names of the units to look at.
            position: Cursor of the last entry that need not be seen again.
            settle_s: How long a run waits, in seconds of the caller's clock, for what else is said of it.
        """
        self._namespace = namespace
        self._settle_s = settle_s
        self._last = position
        self._open: dict[str, _Open] = {}
        self._latest: dict[str, str] = {}

    @property
    def position(self) -> str | None:
        """Cursor of the entry after which to read on: nothing before it is needed to make what was not taken yet."""
        return next((each.before for each in self._open.values() if each.due_at is not None), self._last)

    @property
    def waiting(self) -> list[Run]:
        """The runs that wait to be taken, in the order of their ends."""
        return [each.run for each in self._open.values() if each.due_at is not None]

    @property
    def running_units(self) -> list[str]:
        """The units of which a run was seen to begin and not to end."""
        return [each.run.unit for each in self._open.values() if each.run.ended_usec is None]

    @property
    def due_at(self) -> float | None:
        """When there is something to take, on the caller's clock; None when nothing is waiting."""
        return min((each.due_at for each in self._open.values() if each.due_at is not None), default=None)

    def feed(self, entry: Entry, now: float) -> None:
        """Take in an entry; entries of other units and other kinds do no harm."""
        cursor, unit = _text(entry, "__CURSOR"), _text(entry, "UNIT") or _text(entry, "USER_UNIT")
        invocation_id = _text(entry, "INVOCATION_ID") or _text(entry, "USER_INVOCATION_ID")
        if cursor == self._last:
            return
        if invocation_id and identify(unit, self._namespace):
            self._add(entry, unit, invocation_id, now)
        self._last = cursor

    def note_end(self, unit: str, invocation_id: str, ended_usec: int, now: float) -> None:
        """Take in that a run of a runner's unit has ended cleanly; nothing happens if that is known."""
        each = self._open.get(invocation_id) or self._begin(unit, invocation_id, ended_usec, now)
        if each.run.ended_usec is None:
            each.run.result, each.run.ended_usec, each.run.cursor = "success", ended_usec, self._last or ""
            self._wait(each, now)

    def take(self, now: float | None = None) -> list[Run]:
        """Return the runs that are due, in the order of their ends; all that wait when no time is given."""
        waiting = [each for each in self._open.values() if each.due_at is not None]
        due = [each for each in waiting if now is None or (each.due_at or 0) <= now]
        for each in due:
            each.due_at = None
            if not each.is_latest:
                del self._open[each.run.invocation_id]
        return [each.run for each in due]

    def _add(self, entry: Entry, unit: str, invocation_id: str, now: float) -> None:
        message = entry.get("MESSAGE_ID", b"")
        each = self._open.get(invocation_id) or self._begin(unit, invocation_id, _time(entry), now)
        each.run.add(entry)
        if message in _AFTER_END:
            self._wait(each, now, is_complete=message == _CONSUMED)

    def _wait(self, each: _Open, now: float, *, is_complete: bool = False) -> None:
        """Let a run wait to be taken."""
        if each.due_at is None:
            # To the end, for the position is that of the first one that waits.
            self._open[each.run.invocation_id] = self._open.pop(each.run.invocation_id)
            each.before = self._last
        each.due_at = now if is_complete or not each.is_latest else now + self._settle_s

    def _begin(self, unit: str, invocation_id: str, began_usec: int, now: float) -> _Open:
        """Make room for a run; the unit's run before it is over."""
        last = self._open.get(self._latest.get(unit, ""))
        if last is not None:
            last.is_latest = False
            last.run.followed_usec = began_usec
            if last.due_at is None:
                del self._open[last.run.invocation_id]
            else:
                last.due_at = now
        self._latest[unit] = invocation_id
        self._open[invocation_id] = _Open(Run(unit, invocation_id), self._last)
        return self._open[invocation_id]


def fold(partial: Run, entries: Iterable[Entry]) -> Run:
    """Return a run made of all entries about it, in the order of the journal; others among them are left out.

    What of the partial run is not from the journal is kept.
    """
    run = Run(partial.unit, partial.invocation_id, followed_usec=partial.followed_usec)
    for entry in entries:
        if run.invocation_id in {_text(entry, "INVOCATION_ID"), _text(entry, "USER_INVOCATION_ID")}:
            run.add(entry)
    if run.ended_usec is None:
        run.result, run.ended_usec, run.cursor = partial.result, partial.ended_usec, partial.cursor
    return run


def identify(unit_name: str, namespace: str) -> tuple[str, int] | None:
    """Return the runner and the number of the instance that a unit belongs to; None when it is not a runner's."""
    found = re.fullmatch(re.escape(namespace) + _UNIT_PATTERN, unit_name)
    return (found["runner"], int(found["instance"] or 1)) if found else None


def _time(entry: Entry) -> int:
    return _number(entry, "__REALTIME_TIMESTAMP") or 0


def _number(entry: Entry, field: str) -> int | None:
    value = entry.get(field, b"")
    # systemd writes the largest number of 64 bits where it does not know one.
    return int(value) if re.fullmatch(rb"[0-9]{1,20}", value) and int(value) < 2**64 - 1 else None


def _text(entry: Entry, field: str) -> str:
    return entry.get(field, b"").decode(errors="replace")
