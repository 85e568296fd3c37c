"""What happens, as it happens: events of runners, jobs and operations, for any number of followers.

``event`` has what is told; ``hub`` gives it to those who want it, through ``stream``, and keeps the last of it in
``ring`` for those who come back with a ``cursor``; ``query`` is what one of them wants. ``runners`` and ``jobs`` find
out what nobody tells by himself, and only while somebody wants to know (``lazily``).
"""

from .cursor import Position
from .event import (
    DEFAULT_TOPICS,
    AnyEvent,
    Event,
    ExitEvent,
    GapEvent,
    JobEvent,
    LogEvent,
    OperationEvent,
    RunnerEvent,
    Topic,
)
from .hub import MAX_STREAMS, EventHub
from .jobs import JobNews
from .query import EventQuery
from .runners import RunnerNews
from .stream import Delivery, Stream

__all__ = [
    "DEFAULT_TOPICS",
    "MAX_STREAMS",
    "AnyEvent",
    "Delivery",
    "Event",
    "EventHub",
    "EventQuery",
    "ExitEvent",
    "GapEvent",
    "JobEvent",
    "JobNews",
    "LogEvent",
    "OperationEvent",
    "Position",
    "RunnerEvent",
    "RunnerNews",
    "Stream",
    "Topic",
]
