"""The floor: a plain loop over BLPOP, as an unmodified runner of the original is."""

from __future__ import annotations

import time
import uuid

from common import Count, arguments, tell
from redis import Redis


def enqueue(redis: Redis) -> str:
    job_id = str(uuid.uuid4())
    pipeline = redis.pipeline()
    pipeline.hset(f"raw:job:{job_id}", mapping={"id": job_id, "payload": "noop", "status": "dispatched"})
    pipeline.rpush("raw:queue", job_id)
    pipeline.execute()
    return job_id


def execute_one(redis: Redis) -> None:
    _, raw_id = redis.blpop("raw:queue")
    key = f"raw:job:{raw_id.decode()}"
    redis.hgetall(key)
    redis.hset(key, "status", "started")
    pipeline = redis.pipeline()
    pipeline.hset(key, mapping={"status": "finished", "output": "done"})
    pipeline.rpush(f"raw:reply:{raw_id.decode()}", "done")
    pipeline.expire(f"raw:reply:{raw_id.decode()}", 60)
    pipeline.execute()


def main() -> None:
    url, what, number = arguments()
    redis = Redis.from_url(url)
    if what == "drain":
        began = time.perf_counter()
        for _ in range(number):
            enqueue(redis)
        stored_s = time.perf_counter() - began
        count = Count(number)
        for _ in range(number):
            execute_one(redis)
            count()
        tell(enqueue=number / stored_s, drain=count.per_second)
    elif what == "serve":
        while True:
            execute_one(redis)
    else:
        times = []
        for _ in range(number):
            began = time.perf_counter()
            redis.blpop(f"raw:reply:{enqueue(redis)}")
            times.append(time.perf_counter() - began)
        tell(times=times)


main()
