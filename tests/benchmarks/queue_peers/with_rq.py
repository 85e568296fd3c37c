"""RQ, with the worker that does not fork for each job: its fastest."""

from __future__ import annotations

import logging
import time

import with_rq  # jobs are found by this name
from common import Count, arguments, tell
from redis import Redis
from rq import Queue, SimpleWorker
from rq.results import Result

count = Count(0)


def noop() -> str:
    with_rq.count()
    return "done"


def main() -> None:
    url, what, number = arguments()
    redis = Redis.from_url(url)
    queue = Queue("bench", connection=redis)
    logging.disable(logging.INFO)
    if what == "drain":
        began = time.perf_counter()
        for _ in range(number):
            queue.enqueue(with_rq.noop)
        stored_s = time.perf_counter() - began
        SimpleWorker([queue], connection=redis).work(burst=True, logging_level="ERROR")
        tell(enqueue=number / stored_s, drain=with_rq.count.per_second)
    elif what == "serve":
        SimpleWorker([queue], connection=redis).work(logging_level="ERROR")
    else:
        times = []
        for _ in range(number):
            began = time.perf_counter()
            job = queue.enqueue(with_rq.noop)
            Result.fetch_latest(job, timeout=10)
            times.append(time.perf_counter() - began)
        tell(times=times)


if __name__ == "__main__":
    main()
