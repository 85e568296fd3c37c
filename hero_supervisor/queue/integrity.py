"""Proving on live data that every job is where it has to be, and mending what is not.

Each job is looked at in one moment, by a script that sees all the places where it may be (``integrity.lua``). So jobs
that go on with their lives meanwhile are never taken for faults, and Redis does nothing else for a millisecond or two
at a time only. What cannot be seen in one moment, the number of open jobs of a group, is reported when two counts agree
and the group did not change from before the first until after the second. Names of queues, holders and groups that are
no UTF-8 are none that we could have made; they are left alone.

What is looked at, in this order, and how it is mended; a job that has a record is never dropped:

==================  ================================================================================================
``key``             a key of a queue, holder or group is of another type: it is set aside, renamed to
                    ``KEY:set-aside``. What it held is rebuilt from the records of the jobs, as far as they tell;
                    settings are as usual again. Without repair, nothing else is looked at then
``held``            a job is in the set of a holder that does not have it: it is taken from that set
``record``          an id has no record: it is taken from all sets. ``type``: its record is not a hash: the same, but
                    it stays in the index, so that somebody finds it
``queue``           a job is in the queue of another runner than its own: it is taken from there
``index``           a job is not in the index, so that it would not be listed: it is put there
``nowhere``         a job has not ended and is in no set: it goes back among the pending ones, the delayed ones when its
                    time has not come, the blocked ones when it waits for others; it is cancelled when it was to be
``several``         a job is in several sets: it stays with its holder if it has one, or where its status says
``status``          a job's status does not belong to its set: it is changed
``holder``          a job is taken by a holder that is not known: others may take it, uncounted
``held``            a job is not in the set of its holder, so that it could not be ended: it is put there
``prerequisites``   a job waits for others that would not tell it of their end: it waits anew, or goes on
``place``           a job has ended and is still in a set: it is taken from there
``end``             a job was ended by somebody who wrote into its record only: its end is recorded, those that wait for
                    it go on
``ended``           a job has ended and would never be forgotten, or has not and would be: that is put right
``dead``            a job that did not fail is a dead letter: it is none any more
``name``            a queue is not among the names of queues: it is put there
``group``           the number of open jobs of a group is not right: it is set. Looked at only when all else is right
==================  ================================================================================================
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from .store import JobStore

#: Jobs that are looked at in one call, which is a millisecond or two, and ids and keys that are read in one.
JOBS_PER_LOOK: Final = 100
IDS_PER_READ: Final = 1000
#: Most violations that are told one by one.
MAX_VIOLATIONS: Final = 10_000
#: Sets of a queue that hold ids of jobs, beside the index and those of holders.
_SETS: Final = ("pending", "delayed", "blocked", "taken", "ended", "dead")
_TYPES: Final = dict.fromkeys((*_SETS, "jobs", "fenced", "beats", "schedules-due"), b"zset") | {
    **dict.fromkeys(("holders", "words", "settings", "bucket", "counts", "schedules"), b"hash"),
    "wake": b"list",
    "last": b"string",
}
#: Those of a holder, before its name.
_HOLDER_TYPES: Final = {"held": b"zset", "ping": b"hash", "control": b"list"}

#: What is added to the name of a key that is of another type than it should.
_SET_ASIDE: Final = b":set-aside"


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it has to be."""

    #: In a word: see ``queue/integrity.py``.
    kind: str
    #: Whose queue, and which job, it is about; '' for neither.
    runner: str
    job_id: str
    #: As a sentence.
    text: str


class IntegrityReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found when all jobs were looked at."""

    #: How many jobs the indexes have.
    jobs: int
    #: What was wrong; with more than 10,000, the first ones.
    violations: tuple[Violation, ...]
    #: How many were found.
    found: int
    #: Whether they have been mended.
    is_repaired: bool
    #: Groups whose count could not be proven because they changed all the time.
    unsettled_groups: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing was wrong."""
        return not self.found


async def check_integrity(store: JobStore, *, repair: bool) -> IntegrityReport:
    """Look at all jobs of a namespace, and mend what is wrong if asked to; raises what ``RedisServer.call`` names."""
    return await _Check(store, is_repairing=repair).run()


class _Check:
    """One look at all jobs."""

    def __init__(self, store: JobStore, *, is_repairing: bool) -> None:
        self._store = store
        self._redis: Any = store.redis
        self._keys = store.keys
        self._is_repairing = is_repairing
        #: In order; one that is met in several sets is there once.
        self._violations: dict[Violation, None] = {}
        self._found = 0
        self._jobs = 0
        #: Whether what is found now has not been found before.
        self._is_told = True

    async def run(self) -> IntegrityReport:
        runners = await self._runners()
        for runner in runners:
            await self._check_types(runner)
        holders = await self._holders()
        if self._found and not self._is_repairing:
            return self._report_of(unsettled=0)  # the scripts cannot look at the rest
        for runner in runners:
            for name in _SETS:
                await self._look_at_set(runner, name, "member")
        await self._look_at_records()
        for runner, holder in holders:
            await self._look_at_set(runner, f"held:{holder}", "held")
        return self._report_of(unsettled=await self._check_groups(await self._runners()))

    def _report_of(self, *, unsettled: int) -> IntegrityReport:
        return IntegrityReport(
            jobs=self._jobs,
            violations=tuple(self._violations),
            found=self._found,
            is_repaired=self._is_repairing,
            unsettled_groups=unsettled,
        )

    # -- jobs ----------------------------------------------------------------------------------------------------

    async def _look_at_set(self, runner: str, name: str, source: str) -> Counter[str]:
        """Look at the jobs in a set of a queue, and return how many of the index have not ended, by group."""
        groups: Counter[str] = Counter()
        async for ids in self._members(self._keys.queue(runner, name)):
            groups.update(await self._look(runner, source, name, ids))
        return groups

    async def _look(self, runner: str, source: str, name: str, ids: Sequence[bytes]) -> list[str]:
        groups: list[str] = []
        head = (int(self._is_repairing), source, _raw(name))
        for start in range(0, len(ids), JOBS_PER_LOOK):
            some = ids[start : start + JOBS_PER_LOOK]
            violations, found = await self._store.scripts.run("integrity", runner, *head, *some)
            for whose, job_id, kind, text in (map(_text, violation) for violation in violations):
                subject = f"job '{job_id}'" if job_id else f"queue '{whose}'"
                self._report(kind, whose, f"{subject} {text}", job_id=job_id)
            groups += map(_text, found)
            self._jobs += len(some) if source == "index" and self._is_told else 0
        return groups

    async def _look_at_records(self) -> None:
        """Look at the jobs that no index has."""
        prefix = self._keys.job_prefix.encode()
        async for keys in self._all_keys(self._keys.job_prefix):
            await self._look("", "stored", "", [key.removeprefix(prefix) for key in keys])

    # -- keys ----------------------------------------------------------------------------------------------------

    async def _runners(self) -> list[str]:
        if not await self._has_type(self._keys.queues, b"set", ""):
            return []
        async with self._store.server.call():
            names = await self._redis.smembers(self._keys.queues)
        return sorted(_text(name) for name in names if _is_text(name))

    async def _check_types(self, runner: str) -> None:
        for name, wanted in _TYPES.items():
            await self._has_type(self._keys.queue(runner, name), wanted, runner)

    async def _holders(self) -> list[tuple[str, str]]:
        """Return the runners and names of the holders that have jobs; look whether their keys have their types."""
        prefix, kinds = f"{self._keys.namespace}:q:{{", "|".join(_HOLDER_TYPES)
        # No holder has braces in its name; queues of any name may be in Redis.
        form = re.compile(re.escape(prefix.encode()) + rf"(.*)\}}:({kinds}):([^{{}}]*)".encode(), re.DOTALL)
        holders = []
        async for keys in self._all_keys(prefix):
            for runner, kind, holder in (map(_text, found.groups()) for found in map(form.fullmatch, keys) if found):
                key = self._keys.queue(runner, f"{kind}:{holder}")
                if await self._has_type(key, _HOLDER_TYPES[kind], runner) and kind == "held":
                    holders.append((runner, holder))
        return holders

    async def _has_type(self, key: str, wanted: bytes, runner: str) -> bool:
        """Tell whether a key has its type, or does not exist; set it aside if not."""
        async with self._store.server.call():
            found = await self._redis.type(key)
            if found in {wanted, b"none"}:
                return True
            self._report("key", runner, f"key '{key}' is a {_text(found)}, not a {_text(wanted)}")
            if self._is_repairing:
                await self._redis.rename(key, key + _SET_ASIDE.decode())
        return self._is_repairing

    async def _members(self, key: str) -> AsyncIterator[list[bytes]]:
        cursor = None
        while cursor != 0:
            async with self._store.server.call():
                if await self._redis.type(key) != b"zset":
                    return
                cursor, members = await self._redis.zscan(key, cursor or 0, count=IDS_PER_READ)
            yield [member for member, _ in members]

    async def _all_keys(self, prefix: str) -> AsyncIterator[list[bytes]]:
        """Yield the keys that begin so, but those that were set aside."""
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", prefix) + "*"
        cursor = None
        while cursor != 0:
            async with self._store.server.call():
                cursor, keys = await self._redis.scan(cursor or 0, match=pattern, count=IDS_PER_READ)
            yield [key for key in keys if _is_text(key) and not key.endswith(_SET_ASIDE)]

    # -- groups --------------------------------------------------------------------------------------------------

    async def _check_groups(self, runners: list[str]) -> int:
        """Look at the jobs in the indexes, and whether groups have as many open jobs as they say.

        Returns:
            How many groups changed too often to tell.
        """
        before = await self._group_counts(await self._groups())
        counted = await self._look_at_indexes(runners)
        if self._found and not self._is_repairing:
            return 0  # jobs have to be right first
        suspects = {
            name for name in before.keys() | counted.keys() if before.get(name, {}).get("open", 0) != counted[name]
        }
        if not suspects:
            return 0
        before = await self._group_counts(suspects)
        again = await self._look_at_indexes(runners, is_told=False)
        after = await self._group_counts(suspects)
        settled = {name for name in suspects if after[name] == before[name] and again[name] == counted[name]}
        for name in sorted(settled):
            if (says := before[name].get("open", 0)) != counted[name]:
                await self._correct_group(name, says, counted[name])
        return len(suspects - settled)

    async def _groups(self) -> list[str]:
        prefix = self._keys.group("").encode()
        names: set[str] = set()
        async for keys in self._all_keys(self._keys.group("")):
            names.update(_text(key.removeprefix(prefix)) for key in keys)
        return [name for name in sorted(names) if await self._has_type(self._keys.group(name), b"hash", "")]

    async def _look_at_indexes(self, runners: list[str], *, is_told: bool = True) -> Counter[str]:
        counted: Counter[str] = Counter()
        self._is_told = is_told
        for runner in runners:
            counted.update(await self._look_at_set(runner, "jobs", "index"))
        self._is_told = True
        return counted

    async def _group_counts(self, names: Iterable[str]) -> dict[str, dict[str, int]]:
        return {name: await self._store.group_counts(name) for name in names}

    async def _correct_group(self, name: str, says: int, is_so: int) -> None:
        self._report("group", "", f"group '{name}' says that {says} of its jobs are open, and {is_so} are")
        if self._is_repairing:
            async with self._store.server.call():
                await self._redis.hset(self._keys.group(name), "open", is_so)

    def _report(self, kind: str, runner: str, text: str, *, job_id: str = "") -> None:
        if not self._is_told:
            return
        violation = Violation(kind=kind, runner=runner, job_id=job_id, text=text)
        if violation in self._violations:
            return
        self._found += 1
        if len(self._violations) < MAX_VIOLATIONS:
            self._violations[violation] = None


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
