"""Measures as text. It takes some milliseconds for hundreds of runners, so it is not for the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from .families import families

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from hero_supervisor.operations.measures import Measures
    from hero_supervisor.rpc import Tally

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

#: Memory, processor time and open files of this process. Not in a registry: that is for whoever asks all the time.
_PROCESS: Final = ProcessCollector(registry=CollectorRegistry())


class _Scrape(CollectorRegistry):
    """What is told at one scrape."""

    def __init__(self, measures: Measures, tally: Tally) -> None:
        super().__init__()
        self._measures, self._tally = measures, tally

    def collect(self) -> Iterable[Metric]:
        yield from families(self._measures, self._tally)
        yield from _PROCESS.collect()


def render(measures: Measures, tally: Tally) -> bytes:
    """Return the metrics in the text format of Prometheus, version 0.0.4."""
    return generate_latest(_Scrape(measures, tally))
