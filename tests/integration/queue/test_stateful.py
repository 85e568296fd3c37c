"""The queue against a model of it, in random order: every answer and, after every step, everything in Redis.

By itself for some seconds; ``HERO_STATEFUL_EXAMPLES=2000`` for many minutes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from hero_supervisor.client import JobClient
from hero_supervisor.errors import Conflict, HolderFenced, JobExists, JobNotFound
from hero_supervisor.job import CrashPolicy, Job, PrerequisitePolicy
from hero_supervisor.queue.claims import Claims, Ended, HolderRecord
from hero_supervisor.queue.connection import RedisServer
from hero_supervisor.queue.ledger import Death
from hero_supervisor.records import QueueLimits
from tests.integration.queue.model import Model, ModelJob

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.redis_fixtures import RedisProcess

T = TypeVar("T")

RUNNERS = ("a", "b")
LEVEL = 8 * 10**14
HOUR_S = 3600
PLACES = ("pending", "delayed", "blocked", "taken")
FIELDS = ("status", "attempt", "failures", "crashes", "place", "holder", "cancel")
OUTCOMES = ("finished", "error", "failed", "released")
MAX_HOLDERS = 4
_numbers = itertools.count(1)
steps = 0

numbers = st.integers(0, 10**6)
runners = st.sampled_from(RUNNERS)
options = st.fixed_dictionaries({
    "runner": runners,
    "priority": st.sampled_from([0, 5, 5, 9]),
    "is_delayed": st.sampled_from([False, False, True]),
    "runs_anyway": st.booleans(),
    "max_retries": st.integers(0, 2),
    "on_crash": st.sampled_from(["retry", "retry", "fail", "dead"]),
    "max_crashes": st.integers(0, 1),
    "group": st.sampled_from(["", "g1", "g2"]),
})  # fmt: skip


cancellations = st.sampled_from(["", "", "cancelled", "timeout"])


class QueueMachine(RuleBasedStateMachine):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.url = url
        self.client = JobClient(url, namespace=f"stateful{next(_numbers)}")
        self.keys = self.client.keys
        self.raw = Redis.from_url(url, decode_responses=True)
        self.model = Model()
        self.made: dict[str, Job] = {}
        self.keyed: dict[tuple[str, str], str] = {}
        self.holders: dict[str, tuple[str, Claims]] = {}
        self.fenced: list[Claims] = []
        #: What was given, and to whom.
        self.claims: list[tuple[str, str, int]] = []
        self.last_moment = 0

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    def teardown(self) -> None:
        assert self.do(self.client.check_integrity(repair=False)).violations == ()
        for claims in (*(claims for _, claims in self.holders.values()), *self.fenced):
            self.do(claims.aclose())
        self.do(self.client.close())
        self.loop.close()
        if keys := list(self.raw.scan_iter(f"{self.keys.namespace}:*", count=1000)):
            self.raw.delete(*keys)
        self.raw.close()

    def job(self, number: int) -> ModelJob:
        return list(self.model.jobs.values())[number % len(self.model.jobs)]

    def has_jobs(self) -> bool:
        return bool(self.model.jobs)

    # -- clients -------------------------------------------------------------------------------------------------

    def new_job(self, fields: dict[str, Any], prerequisites: set[int]) -> ModelJob:
        others = tuple(self.job(number).id for number in prerequisites) if self.model.jobs else ()
        job = ModelJob(id=f"j{len(self.made)}", prerequisites=others, **fields)
        policy = PrerequisitePolicy.RUN if job.runs_anyway else PrerequisitePolicy.CANCEL
        self.made[job.id] = Job(
            id=job.id,
            payload="x",
            runner=job.runner,
            priority=job.priority,
            delay_s=HOUR_S if job.is_delayed else 0,
            prerequisites=job.prerequisites,
            on_prerequisite_failure=policy,
            max_retries=job.max_retries,
            retry_delay_s=HOUR_S,
            retry_max_delay_s=2 * HOUR_S,
            on_crash=CrashPolicy(job.on_crash),
            max_crashes=job.max_crashes,
            group=job.group,
        )
        return job

    @rule(fields=options, prerequisites=st.sets(numbers, max_size=3), is_repeated=st.booleans())
    def enqueue(self, fields: dict[str, Any], prerequisites: set[int], is_repeated: bool) -> None:
        job = self.new_job(fields, prerequisites)
        for _ in range(1 + is_repeated):
            assert self.do(self.client.enqueue(self.made[job.id])) == job.id
        self.model.store(job)
        self.model.queue(job)

    @rule(fields=options, key=st.sampled_from(["k1", "k2"]))
    def enqueue_with_key(self, fields: dict[str, Any], key: str) -> None:
        job = self.new_job(fields, set())
        made = Job(
            **{name: getattr(self.made[job.id], name) for name in Job.__struct_fields__} | {"idempotency_key": key}
        )
        known = self.keyed.get((job.runner, key))
        found = self.do(self.client.enqueue(made))
        if known in self.model.jobs:
            assert found == known
            return
        assert found == job.id
        self.keyed[job.runner, key] = job.id
        self.made[job.id] = made
        self.model.store(job)
        self.model.queue(job)

    @rule(fields=options, prerequisites=st.sets(numbers, max_size=2))
    def store(self, fields: dict[str, Any], prerequisites: set[int]) -> None:
        job = self.new_job(fields, prerequisites)
        assert self.do(self.client.store_job(self.made[job.id])) == job.id
        self.model.store(job)

    @precondition(has_jobs)
    @rule(number=numbers)
    def enqueue_again(self, number: int) -> None:
        job = self.job(number)
        if job.status == "created" and any(other not in self.model.jobs for other in job.prerequisites):
            with pytest.raises(JobNotFound):
                self.do(self.client.enqueue(self.made[job.id]))
            return
        assert self.do(self.client.enqueue(self.made[job.id])) == job.id
        if job.status == "created":
            self.model.queue(job)

    @precondition(has_jobs)
    @rule(number=numbers)
    def enqueue_another_of_the_same_id(self, number: int) -> None:
        job = self.job(number)
        with pytest.raises(JobExists):
            self.do(self.client.enqueue(Job(id=job.id, payload="another", runner=job.runner)))

    @precondition(has_jobs)
    @rule(number=numbers, is_overdue=st.booleans())
    def cancel(self, number: int, is_overdue: bool) -> None:
        job = self.job(number)
        if is_overdue:
            if job.holder:
                self.do(self.client.stop_overdue(job.id))
                self.model.cancel(job, "timeout")
        elif job.status in {"finished", "error"}:
            with pytest.raises(Conflict):
                self.do(self.client.cancel_job(job.id))
        else:
            if not job.is_final:
                self.model.cancel(job, "cancelled")
            assert self.do(self.client.cancel_job(job.id)) == job.is_final

    @precondition(has_jobs)
    @rule(number=numbers)
    def retry(self, number: int) -> None:
        job = self.job(number)
        if job.is_final or job.status == "dispatched":
            self.do(self.client.retry_job(job.id))
            if job.is_final:
                self.model.retry(job)
        else:
            with pytest.raises(Conflict):
                self.do(self.client.retry_job(job.id))

    @precondition(has_jobs)
    @rule(number=numbers)
    def delete(self, number: int) -> None:
        job = self.job(number)
        if job.holder:
            with pytest.raises(Conflict):
                self.do(self.client.delete_job(job.id))
        else:
            self.do(self.client.delete_job(job.id))
            self.model.delete(job)

    @precondition(has_jobs)
    @rule(number=numbers, is_good=st.booleans())
    def report(self, number: int, is_good: bool) -> None:
        job = self.job(number)
        text = f"{job.id} reported"
        call = self.client.set_job_result(job.id, text) if is_good else self.client.set_job_error(job.id, text)
        if job.is_final:
            try:
                self.do(call)  # a repeat
            except Conflict:
                return
            assert job.status == ("finished" if is_good else "error")
        else:
            self.do(call)
            self.model.report(job, "finished" if is_good else "error")

    # -- holders -------------------------------------------------------------------------------------------------

    def has_holders(self) -> bool:
        return bool(self.holders)

    def holder(self, number: int) -> tuple[str, str, Claims]:
        name = list(self.holders)[number % len(self.holders)]
        return (name, *self.holders[name])

    @initialize()
    def begin(self) -> None:
        for runner in RUNNERS:
            self.register(runner)

    @precondition(lambda self: len(self.holders) < MAX_HOLDERS)
    @rule(runner=runners)
    def register(self, runner: str) -> None:
        name = f"h{next(_numbers)}"
        claims = Claims(RedisServer.at(self.url), self.keys, runner, name)
        self.holders[name] = (runner, claims)
        for _ in range(2):
            self.do(claims.register(HolderRecord()))

    @precondition(has_holders)
    @rule(number=numbers, want=st.integers(0, 3), is_lost=st.booleans())
    def claim(self, number: int, want: int, is_lost: bool) -> None:
        name, runner, claims = self.holder(number)
        had = {job.id for job in self.model.jobs.values() if job.holder == name}
        expected = self.model.take(runner, name, want)
        given = self.do(claims.exchange([], want=want)).claims
        assert [(claim.job_id, claim.attempt) for claim in given] == [(job.id, job.attempt) for job in expected]
        if is_lost:
            again = self.do(claims.exchange([], want=0, is_again=True)).claims
            assert {claim.job_id for claim in again} == had | {job.id for job in expected}
        self.claims += [(name, job.id, job.attempt) for job in expected]

    @rule(
        fields=options, outcome=st.sampled_from(OUTCOMES), cancelled=st.sampled_from(["", "", "cancelled", "timeout"])
    )
    def a_life(self, fields: dict[str, Any], outcome: str, cancelled: str) -> None:
        """Take one job of its queue all the way, unless it may not be taken now."""
        self.enqueue({**fields, "is_delayed": False}, set(), is_repeated=False)
        job = list(self.model.jobs.values())[-1]
        for name, (runner, _) in self.holders.items():
            if runner == job.runner:
                self.redis_agrees_with_the_model()  # the model learns the job's place
                self.claim(list(self.holders).index(name), 3, is_lost=False)
                break
        if cancelled and job.holder:
            self.cancel(list(self.model.jobs).index(job.id), is_overdue=cancelled == "timeout")
        if outcome == "death" and job.holder:
            self.die(list(self.holders).index(job.holder), is_counted=True)
        elif self.claims:
            self.end(0, outcome, is_repeated=True)

    @precondition(lambda self: bool(self.claims))
    @rule(number=numbers, outcome=st.sampled_from(OUTCOMES), is_repeated=st.booleans())
    def end(self, number: int, outcome: str, is_repeated: bool) -> None:
        """End an attempt, perhaps an old one, perhaps for a holder that was taken for dead."""
        name, job_id, attempt = self.claims[-1 - number % min(len(self.claims), 8)]
        call = Ended(job_id, attempt, outcome, f"{outcome} by {name}")
        for _ in range(1 + is_repeated):
            if name not in self.holders:
                with pytest.raises(HolderFenced):
                    self.do(next(each for each in self.fenced if each._holder == name).exchange([call], want=0))
                continue
            expected = self.model.end(job_id, attempt, name, outcome)
            assert self.do(self.holders[name][1].exchange([call], want=0)).answers == (expected,)

    @precondition(has_holders)
    @rule(number=numbers, is_counted=st.booleans())
    def die(self, number: int, is_counted: bool) -> None:
        name, runner, claims = self.holder(number)
        death = Death("signal", "its runner was killed", is_counted=is_counted)
        outcomes = self.do(self.client.ledger.recover(runner, name, death))
        assert outcomes == self.model.die(runner, name, is_counted=is_counted)
        assert self.do(self.client.ledger.recover(runner, name, death)) == {}
        del self.holders[name]
        self.fenced.append(claims)

    # -- supervisors and operators -------------------------------------------------------------------------------

    @rule(runner=runners)
    def time_passes(self, runner: str) -> None:
        due = self.model.come_due(runner)
        if due:
            self.raw.zadd(self.keys.queue(runner, "delayed"), {job.id: 1 for job in due}, xx=True)
        look = self.do(self.client.ledger.look(runner, grace_s=1))
        assert look.due_at is None
        assert set(look.holders) == {name for name, (whose, _) in self.holders.items() if whose == runner}

    @rule(runner=runners, is_paused=st.booleans())
    def pause(self, runner: str, is_paused: bool) -> None:
        self.do(self.client.queues.pause(runner, is_paused=is_paused))
        self.model.paused[runner] = is_paused

    @rule(runner=runners, most=st.sampled_from([None, None, 1, 2]))
    def limit(self, runner: str, most: int | None) -> None:
        self.do(self.client.queues.limit(runner, QueueLimits(max_running=most)))
        self.model.max_running[runner] = most

    @rule()
    def check_integrity(self) -> None:
        report = self.do(self.client.check_integrity(repair=True))
        assert (report.violations, report.jobs) == ((), len(self.model.jobs))

    # -- what is always so ---------------------------------------------------------------------------------------

    @invariant()
    def redis_agrees_with_the_model(self) -> None:
        global steps  # hypothesis makes the machines; the test tells the sum
        steps += 1
        for runner in RUNNERS:
            self.check_queue(runner)
        for job in self.model.jobs.values():
            self.check_job(job)
        for name, counts in self.model.groups.items():
            found = self.raw.hgetall(self.keys.group(name))
            assert {key: int(value) for key, value in found.items() if int(value)} == +counts

    def check_queue(self, runner: str) -> None:
        jobs = [job for job in self.model.jobs.values() if job.runner == runner]
        expected = {
            **{
                place: {job.id for job in jobs if job.where == place}
                for place in ("pending", "delayed", "blocked", "taken")
            },
            "jobs": {job.id for job in jobs},
            "ended": {job.id for job in jobs if job.is_final},
            "dead": {job.id for job in jobs if job.is_dead},
        }
        for name, (whose, _) in self.holders.items():
            if whose == runner:
                expected[f"held:{name}"] = {job.id for job in jobs if job.holder == name}
        with self.raw.pipeline(transaction=False) as pipeline:
            for what in expected:
                pipeline.zrange(self.keys.queue(runner, what), 0, -1)
            found = dict(zip(expected, map(set, pipeline.execute()), strict=True))
        assert found == expected
        self.check_counts(runner)

    def check_counts(self, runner: str) -> None:
        found = {str(name): int(value) for name, value in self.raw.hgetall(self.keys.queue(runner, "counts")).items()}
        expected = +self.model.counts[runner]
        assert {name: number for name, number in found.items() if ":" not in name} == expected
        waits, runs = (
            sum(number for name, number in found.items() if name.startswith(what) and not name.endswith("ms"))
            for what in ("wait:", "run:")
        )
        # Not every job is begun before it ends.
        assert waits == runs <= expected["finished"] + expected["error"] + expected["cancelled"]

    def check_job(self, job: ModelJob) -> None:
        values = self.raw.hmget(self.keys.job(job.id), FIELDS)
        found = dict(zip(FIELDS, (value or "" for value in values), strict=True))
        numbers = [int(found[name] or 0) for name in ("attempt", "failures", "crashes")]
        assert numbers == [job.attempt, job.failures, job.crashes]
        assert (found["status"], found["holder"], found["cancel"]) == (job.status, job.holder, job.cancel)
        if job.where == "pending" and not job.place:
            assert int(found["place"]) // LEVEL == 9 - job.priority
            job.place = str(found["place"])
        elif job.where == "pending":
            assert found["place"] == job.place


# Behind Hypothesis's back time goes by only for us, so health checks of time say nothing.
@pytest.mark.timeout(7200)
def test_the_queue_does_what_the_model_does(redis_server: RedisProcess) -> None:
    examples = int(os.environ.get("HERO_STATEFUL_EXAMPLES", "40"))
    profile = settings(
        max_examples=examples,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(lambda: QueueMachine(redis_server.url), settings=profile)  # type: ignore[arg-type]  # it takes a factory, too
    print(f"{steps} steps")
