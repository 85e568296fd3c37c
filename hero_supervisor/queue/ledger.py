"""What a supervisor does about the jobs that were handed out: who has them, who is late, who is no more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hero_supervisor.job import JobStatus

from .claims import HolderRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .store import JobStore


#: Seconds without a sign of life after which a process is silent; they are to give one every five.
SILENT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class QueueLook:
    """A queue at one moment."""

    #: Processes that may take jobs, and what is known of each; an empty record when it cannot be read.
    holders: Mapping[str, HolderRecord]
    #: Jobs that have been executed for longer than they may, and those that have been told to stop.
    overdue: tuple[str, ...]
    stopping: tuple[str, ...]
    pending: int
    taken: int
    #: When the one that would be taken next was queued.
    oldest_at: datetime | None
    #: When the next one of those that are scheduled is due.
    due_at: datetime | None
    #: How many have been queued since the beginning.
    queued: int
    #: Processes that have given no sign of life for ``SILENT_S``.
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListPlace:
    """A list of ids, and the process that takes from it."""

    #: Name of the list.
    name: str
    #: Name of the process, the same for each of its runs.
    holder: str
    #: What is kept of it with its name.
    record: HolderRecord


@dataclass(frozen=True, slots=True)
class Settlement:
    """What has become of the jobs that were put into a list."""

    ended: tuple[str, ...]
    #: Its process had them and does not execute them any more: others may take them.
    lost: tuple[str, ...]
    #: It has taken them from the list; and those of them that are to be stopped are also in ``stopping``.
    executing: tuple[str, ...]
    #: All that are in the list or were taken from it.
    held: tuple[str, ...]
    stopping: tuple[str, ...]
    #: When there will be more, if that is known.
    again_at: datetime | None
    #: How many ids in the list were not looked at: there were too many for one call.
    left: int


@dataclass(frozen=True, slots=True)
class Death:
    """Why a process is no more."""

    #: In a word: see ``ExitReason``, and ``reboot``, ``dropped``, ``unheard``, ``lease-lost``.
    reason: str
    #: As a sentence that begins with "its".
    text: str
    #: Whether its jobs may have been the cause.
    is_counted: bool


class Ledger:
    """The jobs of all queues that were handed out. Every method raises what ``RedisServer.call`` names."""

    def __init__(self, store: JobStore) -> None:
        self._scripts = store.scripts

    async def look(self, runner: str, *, grace_s: float) -> QueueLook:
        """Look at a queue; scheduled jobs whose time has come are queued by that.

        Args:
            runner: Whose queue.
            grace_s: Seconds after its deadline that make a job overdue.
        """
        holders, overdue, stopping, pending, taken, oldest, due, queued, silent = await self._scripts.run(
            "look", runner, round(grace_s * 1000), round(SILENT_S * 1000)
        )
        return QueueLook(
            holders={_text(key): _record(value) for key, value in zip(holders[::2], holders[1::2], strict=True)},
            overdue=tuple(map(_text, overdue)),
            stopping=tuple(map(_text, stopping)),
            pending=pending,
            taken=taken,
            oldest_at=_moment(oldest),
            due_at=_moment(due),
            queued=queued,
            silent=tuple(map(_text, silent)),
        )

    async def stirring(self, lists: Mapping[str, Sequence[str]]) -> set[str]:
        """Return the runners whose queues hold jobs that have not ended, or whose lists hold ids.

        Args:
            lists: By runner, its lists; at least one each.
        """
        places = [(runner, *names) for runner, names in lists.items()]
        return {places[number - 1][0] for number in await self._scripts.stirring(places)} if places else set()

    async def recover(self, runner: str, holder: str, death: Death) -> dict[str, JobStatus]:
        """Give the jobs of a holder that is no more to others, and never let it take or end one again.

        Returns:
            The jobs that it had not ended, and what they are now.
        """
        answer = await self._scripts.run("recover", runner, holder, death.reason, death.text, int(death.is_counted))
        return {
            _text(job_id): JobStatus(_text(status)) for job_id, status in zip(answer[::2], answer[1::2], strict=True)
        }

    async def settle(
        self,
        runner: str,
        place: ListPlace,
        *,
        run: str,
        coming: str,
        born: str,
        executes: int | None,
        window: int,
        death: Death,
        over: Iterable[str] = (),
    ) -> Settlement:
        """See what has become of the jobs of a process that takes ids with BLPOP, and put further ones into its list.

        What others have pushed there is taken into the queue.

        Args:
            runner: Whose queue.
            place: The list, and who takes from it.
            run: Id of the run of the process that is under way; '' when none is.
            coming: What is known of the run that takes what is put into the list now: its id, or '+' and how often
                its unit will have been restarted; in a shared list a word for each of its runs.
            born: '+' and how often the unit of the run under way has been restarted.
            executes: How many jobs it executes at a time; ``None`` when several processes share the list.
            window: How many jobs it may have, in the list and out of it, or in a shared list. 0 also takes back what is
                in the list.
            death: Why its last run ended.
            over: Jobs that a run had which is over.
        """
        known = msgspec.json.encode(place.record)
        reasons = (death.reason, death.text, int(death.is_counted))
        head = (place.holder, place.name, known, run, coming, born, "" if executes is None else executes, window)
        answer = await self._scripts.run("settle", runner, *head, *reasons, *over)
        ended, lost, executing, held, stopping = (tuple(map(_text, ids)) for ids in answer[:5])
        return Settlement(ended, lost, executing, held, stopping, _moment(answer[5]), answer[6])

    async def notice(self, runner: str, place: ListPlace, job_ids: Iterable[str], *, is_only: bool) -> int:
        """Enter jobs that others have pushed and that a process took before they were seen in its list.

        Args:
            runner: Whose queue.
            place: The list, and who takes from it.
            job_ids: Jobs whose hashes have changed; those that are ours, or not begun, are left alone.
            is_only: Whether a job that names no runner can only be one of this queue.

        Returns:
            How many were entered.
        """
        entered: int = await self._scripts.run("notice", runner, place.holder, place.name, int(is_only), *job_ids)
        return entered

    async def adopt(self, runner: str, queue: str, *, most: int = 1000) -> int:
        """Take into a queue what foreign clients have pushed to a list, and return how much is left there."""
        left: int = await self._scripts.run("adopt", runner, queue, most)
        return left


def _record(raw: bytes) -> HolderRecord:
    try:
        return msgspec.json.decode(raw, type=HolderRecord)
    except msgspec.MsgspecError:
        return HolderRecord()


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


def _moment(raw: Any) -> datetime | None:
    return None if raw is None else datetime.fromtimestamp(float(raw) / 1000, UTC)
