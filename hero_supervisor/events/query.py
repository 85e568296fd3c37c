"""What a follower wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hero_supervisor.errors import Fault, InvalidInput
from hero_supervisor.job import JobId
from hero_supervisor.runner import RunnerId

from .event import DEFAULT_TOPICS, Event, GapEvent, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Most runners that one follower may name.
MAX_RUNNERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events. They meet all conditions."""

    topics: frozenset[Topic] = frozenset(DEFAULT_TOPICS)
    #: Only events of these runners; of all when empty. They need not exist, but for ``log``.
    runners: frozenset[str] = frozenset()
    #: Only events of this job.
    job_id: str | None = None

    @classmethod
    def of(
        cls, topics: Iterable[str] = DEFAULT_TOPICS, runners: Iterable[str] = (), job_id: str | None = None
    ) -> EventQuery:
        """Build a query from what a caller says.

        Raises:
            InvalidInput: With every fault.
        """
        named, known = list(topics), set(Topic)
        wanted, runner_set = frozenset(Topic(name) for name in named if name in known), frozenset(runners)
        faults = [
            Fault("topics", f"has {str(name)[:80]!r}; topics are {', '.join(Topic)}")
            for name in named
            if name not in known
        ]
        faults += _faults(wanted, runner_set, job_id) if not faults else []
        if faults:
            raise InvalidInput(faults)
        return cls(wanted, runner_set, job_id)

    def wants(self, event: Event) -> bool:
        """Whether an event is wanted."""
        if isinstance(event, GapEvent):
            return not self.topics.isdisjoint(event.data.topics)
        return (
            event.topic in self.topics
            and (self.job_id is None or event.job_id == self.job_id)
            and (not self.runners or event.runner in self.runners)
        )


def _faults(topics: frozenset[Topic], runners: frozenset[str], job_id: str | None) -> Iterator[Fault]:
    for name in sorted(runners):
        yield from _id_faults("runner", name, RunnerId)
    if job_id is not None:
        yield from _id_faults("job", job_id, JobId)
    if not topics:
        yield Fault("topics", f"must name at least one of {', '.join(Topic)}")
    if len(runners) > MAX_RUNNERS:
        yield Fault("runner", f"must be at most {MAX_RUNNERS}")
    if Topic.LOG in topics and len(runners) > 1:
        yield Fault("runner", "must be one runner when the topic 'log' is asked for")
    if Topic.LOG in topics and not runners and job_id is None:
        yield Fault("runner", "is required, or 'job', when the topic 'log' is asked for")


def _id_faults(path: str, id: str, type_: Any) -> Iterator[Fault]:
    try:
        msgspec.convert(id, type_)
    except msgspec.ValidationError:
        yield Fault(path, f"is not an id: {id[:80]!r}")
