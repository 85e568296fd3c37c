"""What callers keep open, streams and WebSockets, for as long as the key is good by which they opened it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hero_supervisor.access_records import ApiKey
    from hero_supervisor.api_keys import KeyStore

    from .caller import Caller


class Leases:
    """Ends what was opened by a key when that is removed, or expires."""

    def __init__(self, keys: KeyStore) -> None:
        """Args: the keys."""
        self._keys = keys
        self._ends: dict[str, list[Callable[[], None]]] = {}
        keys.on_removed.append(self._end_those_of)

    @contextmanager
    def of(self, caller: Caller, end: Callable[[], None]) -> Iterator[None]:
        """Have ``end`` called, at most once, when the caller's key is good no more before the block is left.

        Whoever has shown no key, or a secret of the settings, is not hindered.
        """
        if caller.key_id is None:
            yield
            return
        ends = self._ends.setdefault(caller.key_id, [])
        ends.append(end)
        timer = self._timer(caller.key_id, end)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            if end in ends:
                ends.remove(end)
            if not ends:
                self._ends.pop(caller.key_id, None)

    def _timer(self, key_id: str, end: Callable[[], None]) -> asyncio.TimerHandle | None:
        key = next((key for key in self._keys.listed() if key.id == key_id), None)
        if key is None or key.expires_at is None:
            return None
        left_s = (key.expires_at - datetime.now(UTC)).total_seconds()
        return asyncio.get_running_loop().call_later(max(0.0, left_s), end)

    def _end_those_of(self, key: ApiKey) -> None:
        for end in self._ends.pop(key.id, []):
            end()
