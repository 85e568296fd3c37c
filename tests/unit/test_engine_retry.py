from __future__ import annotations

import pytest

from hero_supervisor.definition.restart import Backoff
from hero_supervisor.engine.retry import left_s, next_retry, pause_s
from hero_supervisor.state import Retry

BACKOFF = Backoff(delay_s=1, max_delay_s=10, factor=3, jitter=0)


@pytest.mark.parametrize(("failures", "expected_s"), [(1, 1), (2, 3), (3, 9), (4, 10), (5, 10), (10**6, 10)])
def test_pauses_grow_up_to_the_longest(failures: int, expected_s: float) -> None:
    assert pause_s(BACKOFF, failures) == expected_s


def test_a_factor_of_one_gives_equal_pauses() -> None:
    backoff = Backoff(delay_s=2, max_delay_s=10, factor=1)
    assert {pause_s(backoff, failures) for failures in range(1, 20)} == {2}


def test_the_first_failure_is_retried_after_the_first_pause() -> None:
    assert next_retry(BACKOFF, None, invocation_id="a", now=100, random=0.5) == Retry(
        invocation_id="a", failures=1, due_at=101
    )


def test_failures_in_a_row_are_counted() -> None:
    second = next_retry(
        BACKOFF, Retry(invocation_id="a", failures=1, due_at=101), invocation_id="b", now=200, random=0.5
    )
    assert second == Retry(invocation_id="b", failures=2, due_at=203)


@pytest.mark.parametrize(("random", "due_at"), [(0, 100.8), (0.5, 101), (1, 101.2)])
def test_jitter_makes_a_pause_longer_or_shorter(random: float, due_at: float) -> None:
    backoff = Backoff(delay_s=1, jitter=0.2)
    assert next_retry(backoff, None, invocation_id="a", now=100, random=random).due_at == pytest.approx(due_at)


def test_a_runner_is_given_up_after_as_many_slow_retries_as_it_says() -> None:
    backoff = Backoff(give_up_after=2)
    retry = None
    due = []
    for number in range(3):
        retry = next_retry(backoff, retry, invocation_id=str(number), now=0, random=0)
        due.append(retry.due_at is not None)
    assert due == [True, True, False]


@pytest.mark.parametrize(
    ("due_at", "expected_s"),
    [(100, 0), (99, 0), (104, 4), (110, 10), (111, 0)],
    ids=["now", "before", "soon", "as late as can be", "a clock was set back"],
)
def test_what_is_left_of_a_pause(due_at: float, expected_s: float) -> None:
    assert left_s(BACKOFF, due_at, now=100) == expected_s
