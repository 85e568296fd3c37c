"""What went through a queue in the last minute, from samples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from hero_supervisor.jobs.rates import SAMPLE_S, Rates
from hero_supervisor.records import QueueLimits, QueueStats
from hero_supervisor.runner import Runner

STORED: Any = SimpleNamespace(definition=Runner(id="a", command=("/bin/true",)))


def stats(finished: int, *, age_s: float = 0.0) -> QueueStats:
    none = dict.fromkeys(("pending", "scheduled", "waiting", "taken", "dead", "known"), 0)
    return QueueStats(
        runner="a",
        is_paused=False,
        limits=QueueLimits(),
        oldest_s=None,
        counts={"finished": finished},
        per_second={},
        scaling="",
        at=datetime.now(UTC) - timedelta(seconds=age_s),
        **none,
    )


class Queues:
    """Answers with what it is given, one after the other."""

    def __init__(self, *answers: QueueStats) -> None:
        self.left = list(answers)

    async def stats(self, _: str) -> QueueStats:
        return self.left.pop(0)


async def sampled(*answers: QueueStats) -> tuple[Rates, list[float | None]]:
    jobs: Any = SimpleNamespace(queues=Queues(*answers))
    rates = Rates(lambda: jobs)
    return rates, [await rates.look(STORED) for _ in answers]


async def test_the_rate_is_that_of_the_last_minute() -> None:
    rates, _ = await sampled(stats(0, age_s=90), stats(60, age_s=60), stats(90, age_s=30))
    assert rates.told(stats(120)).per_second == {"finished": pytest.approx(1.0, abs=0.01)}


async def test_no_sample_is_taken_before_its_time() -> None:
    rates, _ = await sampled(stats(0))
    assert await rates.look(STORED) == pytest.approx(SAMPLE_S, abs=2)


async def test_samples_go_on_as_long_as_something_is_counted() -> None:
    _, pauses = await sampled(stats(0, age_s=90), stats(1, age_s=60), stats(1, age_s=30))
    assert pauses == [SAMPLE_S, SAMPLE_S, None]


async def test_after_a_rest_the_rate_is_since_the_last_sample() -> None:
    rates, _ = await sampled(stats(0, age_s=900), stats(600, age_s=880), stats(600, age_s=300))
    assert rates.told(stats(600)).per_second == {"finished": 0.0}
    assert rates.told(stats(630)).per_second == {"finished": pytest.approx(0.1, abs=0.01)}
