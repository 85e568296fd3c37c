"""What happens, as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager

from hero_supervisor.errors import JobNotFound
from hero_supervisor.events import DEFAULT_TOPICS, Event, EventQuery, ExitEvent, OperationEvent, Position, Stream, Topic
from hero_supervisor.events.entry import log_entry
from hero_supervisor.events.event import OperationChange
from hero_supervisor.log_query import LogQuery
from hero_supervisor.records import ExitRecord, Operation

from .parts import Parts

#: Lines that come first of a runner that had not written any a moment before.
FIRST_LINES = 100


class EventOperations(Parts):
    """Following events."""

    def follow_events(
        self,
        topics: Iterable[str] = DEFAULT_TOPICS,
        *,
        runners: Iterable[str] = (),
        job_id: str | None = None,
        since: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Return events as they come, for ``async for``. They come from the first ``anext`` on.

        It goes on until it is closed (``contextlib.aclosing``), or the supervisor is. A ``GapEvent`` stands for what
        is missing; who takes events too slowly gets one as well, and never holds up others.

        Args:
            topics: ``runner``, ``exit``, ``job``, ``operation``, ``log``; all but the last if not given.
            runners: Only events of these runners. With ``log`` one runner, or a job, has to be named.
            job_id: Only events of this job.
            since: ``cursor`` of the event to go on after: everything since comes first, as far as it is remembered.

        Raises:
            InvalidInput: An argument is not what it has to be; raised at once, the others by the iteration.
            RunnerNotFound, JobNotFound: There is no log of that.
            TooManyStreams: As many as may be are open.
            JournalUnavailable: The journal cannot be read, or not any more.

        Source: docs/events.md.
        """
        query = EventQuery.of(topics, runners, job_id)
        return self._follow_events(query, None if since is None else Position.of(since))

    @asynccontextmanager
    async def open_events(self, query: EventQuery, since: Position | None = None) -> AsyncIterator[Stream]:
        """Give a stream of events for the time of a block; raises like ``follow_events``.

        Args:
            query: What is wanted.
            since: Where to go on; without it, it begins now.
        """
        runner = await self._runner_of_log(query)
        async with self._events.open(query, since) as stream:
            if runner is None:
                yield stream
                return
            async with self._lines_into(stream, runner, since.log if since else ""):
                yield stream

    def end_events(self) -> None:
        """End all streams of events, and those that are opened later: the end of the service is near."""
        self._events.close()

    # -- inside --------------------------------------------------------------------------------------------------

    async def _follow_events(self, query: EventQuery, since: Position | None) -> AsyncGenerator[Event, None]:
        async with self.open_events(query, since) as stream:
            while (batch := await stream.take()) is not None:
                for entry, cursor in batch:
                    yield entry.event_at(cursor)

    async def _runner_of_log(self, query: EventQuery) -> str | None:
        """Return the runner whose log is wanted, if one is."""
        if Topic.LOG not in query.topics:
            return None
        (runner,) = query.runners or [(await self._jobs.get_job_state(query.job_id or "")).runner]
        if not runner:
            raise JobNotFound(f"cannot follow the log of job '{query.job_id}': it has no runner", job_id=query.job_id)
        return self._registry.get(runner).definition.id

    @asynccontextmanager
    async def _lines_into(self, stream: Stream, runner: str, cursor: str) -> AsyncIterator[None]:
        """Bring lines of a log into a stream, from a place in the journal on, or from now on."""
        units = self._site.log_units(runner)
        if not cursor:
            newest = await self._logs.read(LogQuery(units=units, lines=1))
            cursor = newest[-1].cursor if newest else ""
        stream.start_log_at(cursor)
        # With a cursor all that follow it come, however many; without one there were none a moment ago.
        after, job_id = cursor or None, stream.query.job_id
        query = LogQuery(units=units, lines=FIRST_LINES, after_cursor=after, job_id=job_id)
        bringing = asyncio.create_task(self._bring_lines(stream, runner, query), name=f"log-of-{runner}-to-stream")
        try:
            yield
        finally:
            bringing.cancel()
            await asyncio.wait([bringing])

    async def _bring_lines(self, stream: Stream, runner: str, query: LogQuery) -> None:
        try:
            async with aclosing(self._logs.follow(query)) as records:
                async for record in records:
                    await stream.put_line(log_entry(runner, record))
        except Exception as exc:  # whoever follows the stream gets it
            stream.close(exc)
        else:
            stream.close()

    def _on_exit(self, record: ExitRecord) -> None:
        self._events.publish(ExitEvent, record, runner=record.runner, instance=record.instance)

    def _on_operation(self, operation: Operation) -> None:
        change = OperationChange(
            id=operation.id,
            verb=operation.verb,
            state=operation.state,
            started_at=operation.started_at,
            ended_at=operation.ended_at,
            runners=len(operation.outcomes),
            failed=sum(outcome.error is not None for outcome in operation.outcomes),
        )
        self._events.publish(OperationEvent, change)
