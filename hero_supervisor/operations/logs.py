"""What runners and systemd have to say: their logs, read and followed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from msgspec import Meta

from hero_supervisor.job import JobId
from hero_supervisor.log_query import (
    MAX_LINES,
    Cursor,
    Instance,
    InvocationId,
    Level,
    LogQuery,
    Text,
    Time,
    level_of,
)
from hero_supervisor.records import LogRecord
from hero_supervisor.runner import RunnerId

from .parts import Parts

Lines = Annotated[int, Meta(ge=1, le=MAX_LINES, description="Number of lines, from 1 to 10000.")]


class LogOperations(Parts):
    """Looking at the logs of runners."""

    async def get_runner_logs(
        self,
        runner: RunnerId,
        lines: Lines = 100,
        after_cursor: Cursor | None = None,
        job_id: JobId | None = None,
        since: Time | None = None,
        until: Time | None = None,
        priority: Level | None = None,
        grep: Text | None = None,
        instance: Instance | None = None,
        invocation_id: InvocationId | None = None,
    ) -> list[LogRecord]:
        """Return log records of a runner, oldest first: the newest ones, or the ones after a cursor.

        The last record's ``cursor`` is the ``after_cursor`` of the next page; there is none after an empty one.

        Args:
            runner: Id of the runner.
            lines: Most entries to return; fewer may come when they are long, or when the search was ``cut``.
            after_cursor: ``cursor`` of the record to go on after. When the journal no longer has it, a record of
                kind ``gap`` comes first.
            job_id: Only entries of this job.
            since: Only entries of this time or later.
            until: Only entries of this time or earlier.
            priority: Only entries of this priority, by name or number, or more important ones.
            grep: Only entries with this text, upper and lower case being the same.
            instance: Only entries of this instance; those of all instances when not given.
            invocation_id: Only entries of this run of the unit.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidInput: The cursor is not one.
            JournalUnavailable: The journal cannot be read.

        Source: docs/logs.md.
        """
        query = LogQuery(
            units=self._units(runner, instance),
            lines=lines,
            after_cursor=after_cursor,
            since=since,
            until=until,
            priority=level_of(priority),
            grep=grep,
            invocation_id=invocation_id,
            job_id=job_id,
        )
        return await self._logs.read(query)

    def follow_runner_logs(
        self,
        runner: RunnerId,
        *,
        lines: int = 10,
        after_cursor: str | None = None,
        job_id: str | None = None,
        priority: Level | None = None,
        grep: str | None = None,
        instance: int | None = None,
    ) -> AsyncGenerator[LogRecord, None]:
        """Return log records of a runner as they come, after those there are already, for ``async for``.

        It goes on until it is closed (``contextlib.aclosing``), or the supervisor is; the runner need not run.

        Args:
            runner: Id of the runner.
            lines: How many of the newest records come first, from 0 up; of no account with a cursor.
            after_cursor: ``cursor`` of the record to go on after: everything since comes first.
            job_id: Only entries of this job.
            priority: Only entries of this priority, by name or number, or more important ones.
            grep: Only entries with this text, upper and lower case being the same.
            instance: Only entries of this instance; those of all instances when not given.

        Raises:
            RunnerNotFound: No runner has this id.
            InvalidInput: An argument is not what it has to be. These two are raised at once.
            JournalUnavailable: The journal cannot be read, or not any more; raised by the iteration.
        """
        query = LogQuery(
            units=self._units(runner, instance),
            lines=lines,
            after_cursor=after_cursor,
            priority=level_of(priority),
            grep=grep,
            job_id=job_id,
        )
        return self._logs.follow(query)

    def _units(self, runner: str, instance: int | None) -> tuple[str, ...]:
        self._registry.get(runner)
        return self._site.log_units(runner) if instance is None else (self._site.unit_name(runner, instance),)
