"""dramatiq, with its usual eight threads."""

from __future__ import annotations

import threading
import time

import dramatiq
from common import Count, arguments, tell
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

url, what, number = arguments()
is_done = threading.Event()
count = Count(number, is_done.set)
broker = RedisBroker(url=url)
broker.add_middleware(Results(backend=RedisBackend(url=url)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=what != "drain")
def noop() -> str | None:
    count()
    return "done" if what != "drain" else None


def main() -> None:
    if what == "drain":
        began = time.perf_counter()
        for _ in range(number):
            noop.send()
        stored_s = time.perf_counter() - began
        worker = dramatiq.Worker(broker, worker_threads=8)
        worker.start()
        is_done.wait()
        worker.stop()
        tell(enqueue=number / stored_s, drain=count.per_second)
    elif what == "serve":
        dramatiq.Worker(broker, worker_threads=8).start()
        threading.Event().wait()
    else:
        times = []
        for _ in range(number):
            began = time.perf_counter()
            noop.send().get_result(block=True, timeout=10_000)
            times.append(time.perf_counter() - began)
        tell(times=times)


main()
