"""Taking jobs and ending them, as somebody whom others can take for dead: the ``claim`` protocol.

A *holder* is one run of one process. It registers once; from then on every call checks that it has not been fenced,
and that a job it ends is still its own, in the attempt it was given. So a result is written once, whoever is late.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hero_supervisor.errors import CorruptRecord, HolderFenced, InvalidInput
from hero_supervisor.job import MAX_RESULT_BYTES

from . import records
from .connection import close
from .scripts import Scripts
from .store import limits_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hero_supervisor.job import Job

    from .connection import RedisServer
    from .keys import Keys
    from .scripts import Argument

#: Outcomes of an attempt. Sources: ``exchange.lua``.
FINISHED: Final = "finished"
ERROR: Final = "error"
#: An error that another attempt does not mend.
FAILED: Final = "failed"
#: It was not executed, or not to its end: another is to take it.
RELEASED: Final = "released"
#: Whoever executed it ended by its doing: it is tried again, or not, as the job's crash policy says.
CRASHED: Final = "crashed"

#: What a holder reads of a job.
CLAIM_FIELDS: Final = (
    *("id", "caller_id", "context_id", "payload", "runner", "executor", "timeout", "env_vars", "created_at"),
    *("soft_timeout", "labels", "limits"),
)


class HolderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a holder: enough to find out whether it lives."""

    #: Id of the host among those that share a Redis; '' for a process that no supervisor started.
    node: str = ""
    #: Name of its unit, and which instance of its runner it is.
    unit: str = ""
    instance: int = 1
    #: Id of the boot of its host.
    boot_id: str = ""
    pid: int = 0
    #: The list that it takes ids from, if it does not claim jobs.
    queue: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that was given to a holder; ``fault`` is set when its record cannot be read."""

    job_id: str
    attempt: int
    job: Job | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that has ended."""

    job_id: str
    attempt: int
    #: ``FINISHED``, ``ERROR``, ``FAILED``, ``RELEASED`` or ``CRASHED``.
    outcome: str
    #: Output or error; at most ``MAX_RESULT_BYTES`` bytes of UTF-8.
    text: str = ""
    #: Why it ended otherwise than well, in a word of letters and dashes; '' for what the outcome says.
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """The answer to ``Claims.exchange``."""

    claims: tuple[Claim, ...]
    #: For each ended attempt ``ok``, or why its outcome was not taken: its status, ``missing`` or ``superseded``.
    answers: tuple[str, ...]
    #: When there will be more, in seconds since the epoch; ``None`` when that is not known.
    again_at: float | None


class Claims:
    """The jobs of one queue, for one holder. Every method raises what ``RedisServer.call`` names."""

    def __init__(self, server: RedisServer, keys: Keys, runner: str, holder: str) -> None:
        """Args: the server, its key names, whose queue it is, and who takes jobs from it."""
        self._server = server
        self._keys = keys
        self._runner = runner
        self._holder = holder
        self._redis = server.commands()
        self._waiting = server.blocking()
        self._listening = server.blocking()
        self._adopting = server.blocking()
        self._scripts = Scripts(server, self._redis, keys)
        self._word = uuid.uuid4().hex

    async def aclose(self) -> None:
        """Close all connections."""
        await close(self._redis, self._waiting, self._listening, self._adopting)

    async def register(self, record: HolderRecord) -> None:
        """Become known as a holder. Repeating it changes nothing.

        Raises:
            HolderFenced: This holder was taken for dead.
        """
        answer = await self._scripts.run("register", self._runner, self._holder, msgspec.json.encode(record))
        self._check(answer)

    async def exchange(self, ended: Sequence[Ended], *, want: int, is_again: bool = False) -> Exchange:
        """End attempts and take further jobs, in one call.

        A call that was not answered may be repeated: attempts that it ended are answered as before. The jobs that it
        took are with ``is_again``. The one that was not answered may still arrive at Redis: it changes nothing then.

        Args:
            ended: Attempts that have ended.
            want: Most jobs to take.
            is_again: Also return what this holder has already. To be given in the first call, and after one that was
                not answered.

        Raises:
            HolderFenced: This holder was taken for dead.
        """
        arguments: Iterable[Argument] = chain.from_iterable(
            (_raw(each.job_id), each.attempt, f"{each.outcome}:{each.reason}", readable(each.text)) for each in ended
        )
        if is_again:
            self._word = uuid.uuid4().hex
        head: tuple[Argument, ...] = (self._holder, want, int(is_again), self._word, len(ended))
        answer = await self._scripts.run("exchange", self._runner, *head, *arguments, *_LIMITS)
        self._check(answer)
        if answer == b"late":  # a call that had been given up arrived just before this one
            return await self.exchange(ended, want=0, is_again=True)
        answers, jobs, again = answer
        return Exchange(
            claims=tuple(_claim(values) for values in jobs),
            answers=tuple(each.decode() for each in answers),
            again_at=None if again is None else int(again) / 1000,
        )

    async def beat(self, progress: Iterable[tuple[str, int, bytes]] = ()) -> None:
        """Say that this holder lives, and how far its jobs are.

        Args:
            progress: Job id, attempt and JSON text of each.

        Raises:
            HolderFenced: This holder was taken for dead.
        """
        arguments: Iterable[Argument] = chain.from_iterable(
            (_raw(job_id), attempt, raw) for job_id, attempt, raw in progress
        )
        answer = await self._scripts.run("beat", self._runner, self._holder, *arguments)
        self._check(answer)

    async def adopt(self, queue: str, *, most: int = 1000) -> None:
        """Take into the queue what foreign clients have pushed to a list."""
        await self._scripts.run("adopt", self._runner, queue, most)

    async def wait_for_work(self, *, block_s: float) -> bool:
        """Wait until there may be work, at most so long; return whether somebody said so. May be cancelled."""
        return await self._pop(self._waiting, self._keys.queue(self._runner, "wake"), block_s) is not None

    async def wait_for_word(self, *, block_s: float) -> str | None:
        """Wait until this holder is told something, at most so long; return the word, as in ``cancel ID``."""
        control = self._keys.queue(self._runner, f"control:{self._holder}")
        # Not popped: a word that is lost on the way would leave only the end of the whole process.
        word = await self._peek(self._listening, control, block_s)
        return None if word is None else word.decode(errors="surrogateescape")

    async def forget_word(self, word: str) -> None:
        """Take a word that has been heeded from those that this holder is told."""
        client: Any = self._redis
        async with self._server.call():
            await client.lrem(self._keys.queue(self._runner, f"control:{self._holder}"), 1, _raw(word))

    async def wait_for_foreign(self, queue: str, *, block_s: float) -> bool:
        """Wait until foreign clients have pushed something to a list, at most so long; it stays there."""
        return await self._peek(self._adopting, queue, block_s) is not None

    async def leave(self) -> None:
        """Give back what this holder has, and be no holder any more. Only for one that no supervisor watches."""
        await self._scripts.run("recover", self._runner, self._holder, RELEASED, "its worker ended", 0)

    async def _peek(self, client: Any, key: str, block_s: float) -> bytes | None:
        first: bytes | None
        async with self._server.call(block_s=block_s):
            # From the list to the same end of the same list.
            first = await client.blmove(key, key, max(block_s, 0.01), "LEFT", "LEFT")
        return first

    async def _pop(self, client: Any, key: str, block_s: float) -> bytes | None:
        async with self._server.call(block_s=block_s):
            # Redis takes 0 for ever.
            taken: Any = await client.blpop([key], max(block_s, 0.01))
        return None if taken is None else taken[1]

    def _check(self, answer: object) -> None:
        if answer == b"fenced":
            text = f"cannot take jobs of '{self._runner}' any more: this process was taken for dead"
            raise HolderFenced(text, runner=self._runner, holder=self._holder)


_LIMITS: Final = tuple(limits_of(CLAIM_FIELDS))


def readable(text: str) -> str:
    """Return a text that can be stored: one that is too large, or not Unicode, is made so, and says so."""
    with suppress(InvalidInput):
        records.check_result(text)
        return text
    raw = text.encode(errors="backslashreplace")
    note = "\n… cut here: more than is kept" if len(raw) > MAX_RESULT_BYTES else ""
    return raw[: MAX_RESULT_BYTES - len(note.encode())].decode(errors="ignore") + note


def _raw(text: str) -> bytes:
    """Return an id as it is in Redis: foreign clients may have made it of any bytes."""
    return text.encode(errors="surrogateescape")


def _claim(values: Sequence[Any]) -> Claim:
    job_id = values[0].decode(errors="surrogateescape")
    attempt = int(values[1] or 0)
    try:
        return Claim(job_id, attempt, records.job_from(job_id, values[2:], names=CLAIM_FIELDS))
    except CorruptRecord as exc:
        return Claim(job_id, attempt, None, str(exc))
