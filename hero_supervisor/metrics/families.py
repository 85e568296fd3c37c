"""Pure: measures into families of metrics, with their names, labels and meanings. docs/metrics.md has the same list.

Labels are runners, states, reasons, outcomes and names of methods, never ids of jobs: each value makes a series that is
kept for as long as the data. Series of a runner that was removed are gone with the next scrape.
"""

from __future__ import annotations

import platform
from collections import Counter
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from hero_supervisor.records import RunnerState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from hero_supervisor.histogram import Histogram
    from hero_supervisor.operations.measures import Measures
    from hero_supervisor.ports import ExitKind
    from hero_supervisor.queue.figures import QueueFigures
    from hero_supervisor.records import RunnerStatus
    from hero_supervisor.rpc import Tally

#: What a job may end as.
_OUTCOMES: Final = ("finished", "error", "cancelled")
#: What else is counted of jobs: its word in Redis, the name of the counter, what it is.
_COUNTS: Final = (
    ("queued", "hero_jobs_queued", "Jobs that were queued."),
    ("retried", "hero_jobs_retried", "Attempts that ended with an error and are followed by another one."),
    ("recovered", "hero_jobs_recovered", "Jobs given back because whoever had them was no more."),
    ("dead", "hero_jobs_dead", "Jobs that became dead letters."),
)


def families(measures: Measures, tally: Tally) -> Iterator[Metric]:
    """Yield all metrics. Those that systemd, or Redis, would have told are missing while it does not answer."""
    yield from _service(measures)
    if measures.statuses is not None:
        yield from _runners(measures.statuses)
    yield from _exits(measures.exits)
    if measures.queues is not None:
        yield from _queues(measures.queues)
    yield from _requests(tally)


def _service(measures: Measures) -> Iterator[Metric]:
    yield InfoMetricFamily("hero_build", "What runs.", value=_build())
    for name, answer, seconds in (
        ("systemd", measures.statuses, measures.systemd_s),
        ("redis", measures.queues, measures.redis_s),
    ):
        yield _gauge(f"hero_{name}_up", f"Whether {name} answers: 1, or 0.", float(answer is not None))
        yield _gauge(f"hero_{name}_call_seconds", f"How long a small call of {name} took at this scrape.", seconds)
    reconnects = "How often the connection to systemd was lost and made again."
    yield CounterMetricFamily("hero_systemd_reconnects", reconnects, value=measures.systemd_reconnects)
    failures = CounterMetricFamily("hero_redis_failures", "Calls of Redis that failed, by kind.", labels=["kind"])
    for kind, number in measures.redis_failures.items():
        failures.add_metric([kind], number)
    yield failures
    yield _gauge("hero_event_loop_lag_seconds", "How late the event loop was at this scrape.", measures.lag_s)


def _runners(statuses: Sequence[RunnerStatus]) -> Iterator[Metric]:
    found = Counter(status.status for status in statuses)
    states = GaugeMetricFamily(
        "hero_runners", "Runners by state, which is that of their worst instance.", labels=["state"]
    )
    for state in RunnerState:
        states.add_metric([state.value], found[state])
    yield states
    wanted = GaugeMetricFamily("hero_runner_instances_wanted", "Instances that are to run.", labels=["runner"])
    running = GaugeMetricFamily("hero_runner_instances_running", "Instances that run.", labels=["runner"])
    for status in statuses:
        is_wanted = status.desired == "running"
        wanted.add_metric([status.id], len(status.instances) if is_wanted else 0)
        running.add_metric([status.id], sum(each.status is RunnerState.RUNNING for each in status.instances))
    yield from (wanted, running)


def _exits(exits: Mapping[ExitKind, int]) -> Iterator[Metric]:
    labels = ["runner", "reason"]
    ends = CounterMetricFamily("hero_runner_exits", "Ends of runs, by reason.", labels=labels)
    restarts = CounterMetricFamily("hero_runner_restarts", "Those that systemd starts again by itself.", labels=labels)
    numbers: Counter[tuple[str, str]] = Counter()
    for kind, number in exits.items():
        numbers[kind.runner, kind.reason.value] += number
        if kind.will_restart:
            restarts.add_metric([kind.runner, kind.reason.value], number)
    for named, number in numbers.items():
        ends.add_metric(named, number)
    yield from (ends, restarts)


def _queues(queues: Mapping[str, QueueFigures]) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("hero_queue_jobs", "Jobs in the queue of a runner, by place.", labels=["runner", "place"])
    oldest = GaugeMetricFamily(
        "hero_queue_oldest_seconds", "How long the oldest pending job has waited; 0 without one.", labels=["runner"]
    )
    ended = CounterMetricFamily("hero_jobs_ended", "Jobs that ended, by outcome.", labels=["runner", "outcome"])
    for runner, figures in queues.items():
        for place, number in figures.jobs.items():
            jobs.add_metric([runner, place], number)
        oldest.add_metric([runner], figures.oldest_s)
        for outcome in _OUTCOMES:
            ended.add_metric([runner, outcome], figures.counts.get(outcome, 0))
    yield from (jobs, oldest, ended)
    for word, name, meaning in _COUNTS:
        yield _counter(name, meaning, ((runner, figures.counts.get(word, 0)) for runner, figures in queues.items()))
    waits = {runner: figures.wait for runner, figures in queues.items()}
    yield _histogram("hero_job_wait_seconds", "From queueing to start, of ended jobs' last attempts.", "runner", waits)
    runs = {runner: figures.run for runner, figures in queues.items()}
    yield _histogram("hero_job_run_seconds", "From start to end, of ended jobs' last attempts.", "runner", runs)


def _requests(tally: Tally) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "hero_rpc_requests", "JSON-RPC calls, by the kind of their error or 'ok'.", labels=["method", "outcome"]
    )
    for named, number in tally.requests.items():
        requests.add_metric(named, number)
    yield requests
    yield _histogram("hero_rpc_request_seconds", "How long they took.", "method", tally.times)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _counter(name: str, meaning: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=["runner"])
    for runner, value in values:
        family.add_metric([runner], value)
    return family


def _histogram(name: str, meaning: str, label: str, times: Mapping[str, Histogram]) -> Metric:
    """Return a family; where nothing was observed there is no series, for each is a dozen lines."""
    family = HistogramMetricFamily(name, meaning, labels=[label])
    for value, histogram in times.items():
        if histogram.total:
            family.add_metric([value], buckets=histogram.rising(), sum_value=histogram.sum_s)
    return family


@cache
def _build() -> dict[str, str]:
    return {"version": version("hero-supervisor"), "python": platform.python_version()}
