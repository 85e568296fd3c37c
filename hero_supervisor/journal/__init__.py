"""The log of units in journald, read and followed through ``journalctl``; the only package that runs it.

source      reading, and following with a replay: what the supervisor asks
reader      one read            follower, subscription, position    one stream for many
audit       who did what through the service: written by it, and read again
query       arguments           process, export, entry              its output → entries → records
"""

from .audit import AuditJournal
from .entry import JOB_FIELD
from .export import MAX_MESSAGE_BYTES, ExportParser
from .follower import LogFollower
from .reader import JournalReader
from .source import JournalSource

__all__ = [
    "JOB_FIELD",
    "MAX_MESSAGE_BYTES",
    "AuditJournal",
    "ExportParser",
    "JournalReader",
    "JournalSource",
    "LogFollower",
]
