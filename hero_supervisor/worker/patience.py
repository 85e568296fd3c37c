"""Waiting for a Redis that is away: ever longer, up to some seconds, and said once."""

from __future__ import annotations

import logging
import random
from typing import Final

from hero_supervisor.errors import CorruptRecord, PermissionDenied, RedisUnavailable

logger = logging.getLogger(__name__)

#: What may be different the next time: Redis is away or refuses, or somebody spoilt a key of the queue.
AWAY: Final = (RedisUnavailable, PermissionDenied, CorruptRecord)
#: Shortest and longest pause between two attempts to reach Redis, in seconds.
FIRST_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 2.0


class Patience:
    """How long one who talks to Redis waits until the next try."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        """Args: whether somebody else says that Redis is away."""
        self._pause_s = 0.0
        self._is_quiet = is_quiet

    def after(self, exc: Exception) -> float:
        """Return the pause after a failure, in seconds; the first of a row is logged."""
        if not self._pause_s and not self._is_quiet:
            logger.warning("%s; trying again until it works", exc)
        self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), MAX_PAUSE_S)
        # Many workers lose Redis at the same moment, and should not all come back at the same one.
        return self._pause_s * (0.75 + random.random() / 4)  # noqa: S311

    def is_rewarded(self) -> None:
        """Note that Redis answers."""
        if self._pause_s and not self._is_quiet:
            logger.warning("Redis answers again")
        self._pause_s = 0.0
