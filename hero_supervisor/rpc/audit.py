"""What of a call goes into the audit log, and which calls do: ``Trail``.

Ids only, never payloads, variables or secrets. What is not an id by its name is left out, so a new parameter is not
written down by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hero_supervisor.access_records import MAX_IDS, AuditNote, joined
from hero_supervisor.errors import HeroError, PermissionDenied, WrongSecret
from hero_supervisor.scope import Scope

from .throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hero_supervisor.ports import AuditLog

    from .caller import Caller
    from .methods import Method

#: Refusals within a minute from one source that are written down: nobody who may do nothing can fill the journal.
MAX_REFUSALS: Final = 100

#: What parameters name, by their own names.
_KINDS: Final = {
    "runner": "runner",
    "runners": "runner",
    "job": "job",
    "job_id": "job",
    "jobs": "job",
    "schedule": "schedule",
    "operation_id": "operation",
    "key": "key",
    "name": "key",
    "verb": "verb",
}
_MAX_LENGTH: Final = 80


class Trail:
    """Writes calls down that change something, or were meant to."""

    def __init__(self, log: AuditLog, lowest: Scope = Scope.USER) -> None:
        """Args: where they are written; and the lowest scope whose methods are."""
        self._log = log
        self._lowest = lowest
        self._refusals = Throttle()

    def has(self, method: Method) -> bool:
        """Whether calls of a method are written down."""
        return method.scope.includes(self._lowest)

    async def done(
        self,
        method: str,
        caller: Caller,
        arguments: Mapping[str, object],
        *,
        took_s: float,
        error: Exception | None = None,
    ) -> None:
        """Write a call down that has ended.

        Args:
            method: What was called.
            caller: Who called.
            arguments: The arguments, as they came or converted.
            took_s: How long it took, in seconds.
            error: What it ended with.
        """
        if isinstance(error, WrongSecret):
            return  # nobody knows who it was; the service's log tells of it
        if isinstance(error, PermissionDenied) and not self._has_room(caller):
            return
        note = AuditNote(
            who=caller.who,
            peer=str(caller.peer),
            method=method,
            objects=objects_in(arguments),
            result=_result_of(error),
            duration_s=round(took_s, 6),
        )
        await self._log.write(note)

    def _has_room(self, caller: Caller) -> bool:
        return self._refusals.count(caller.peer.source).number <= MAX_REFUSALS


def objects_in(arguments: Mapping[str, object]) -> dict[str, str]:
    """Return the ids among arguments, as they came or converted, by what they are of."""
    found: dict[str, list[str]] = {}
    for name, value in arguments.items():
        for kind, id in _ids(_KINDS.get(name), value):
            found.setdefault(kind, []).append(id)
    return {kind: joined(map(_visible, ids)) for kind, ids in found.items()}


def _ids(kind: str | None, value: object) -> Iterator[tuple[str, str]]:
    if kind is None:
        return
    if isinstance(value, str):
        yield kind, value
    elif isinstance(value, Sequence):
        for entry in value[: MAX_IDS + 1]:
            yield from _ids(kind, entry)
    else:
        # A definition, a job or a schedule; the latter two name their runner.
        names = {"id": kind} if kind == "runner" else {"runner": "runner", "id": kind}
        for name, of in names.items():
            id = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
            if isinstance(id, str) and id:
                yield of, id


def _visible(id: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in id[:_MAX_LENGTH])


def _result_of(error: Exception | None) -> str:
    if error is None:
        return "ok"
    return error.kind if isinstance(error, HeroError) else "internal-error"
