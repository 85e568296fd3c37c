"""Ours, through the library; one worker process of the SDK with a handler that does nothing."""

from __future__ import annotations

import asyncio
import os
import time

from common import Count, arguments, tell

from hero_supervisor.client import JobClient
from hero_supervisor.job import Job
from hero_supervisor.worker import JobContext, StopRequest, Worker

RUNNER = "bench"
#: Jobs that are executed at a time, as many as dramatiq has threads; or what the caller says.
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "8"))


def make_worker(url: str, count: Count) -> Worker:
    worker = Worker(RUNNER, redis_url=url, namespace="bench", concurrency=CONCURRENCY)

    @worker.executor("noop")
    async def noop(_: JobContext) -> str:
        count()
        return "done"

    return worker


async def drain(url: str, number: int) -> None:
    async with JobClient.connect(url, "bench") as client:
        began = time.perf_counter()
        for _ in range(number):
            await client.enqueue(Job(payload="noop", executor="noop", runner=RUNNER))
        one_by_one_s = time.perf_counter() - began
        jobs = [Job(payload="noop", executor="noop", runner=RUNNER) for _ in range(number)]
        began = time.perf_counter()
        await client.enqueue_many(jobs)
        at_once_s = time.perf_counter() - began
    stop = StopRequest()
    count = Count(2 * number, stop.make)
    await make_worker(url, count).serve(stop)
    tell(enqueue=number / one_by_one_s, bulk=number / at_once_s, drain=count.per_second)


async def ask(url: str, number: int) -> None:
    times = []
    async with JobClient.connect(url, "bench") as client:
        for _ in range(number):
            began = time.perf_counter()
            job_id = await client.enqueue(Job(payload="noop", executor="noop", runner=RUNNER))
            await client.wait_for_result(job_id, timeout_s=10)
            times.append(time.perf_counter() - began)
    tell(times=times)


def main() -> None:
    url, what, number = arguments()
    if what == "drain":
        asyncio.run(drain(url, number))
    elif what == "serve":
        make_worker(url, Count(0)).run()
    else:
        asyncio.run(ask(url, number))


main()
