"""arq, as it comes."""

from __future__ import annotations

import asyncio
import time

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from common import Count, arguments, tell

count = Count(0)


async def noop(_: object) -> str:
    count()
    return "done"


async def main() -> None:
    url, what, number = arguments()
    settings = RedisSettings(unix_socket_path=url.removeprefix("unix://"))
    pool = await create_pool(settings)
    if what == "drain":
        began = time.perf_counter()
        for _ in range(number):
            await pool.enqueue_job("noop")
        stored_s = time.perf_counter() - began
        await Worker([noop], redis_settings=settings, burst=True, handle_signals=False).main()
        tell(enqueue=number / stored_s, drain=count.per_second)
    elif what == "serve":
        await Worker([noop], redis_settings=settings, handle_signals=False).main()
    else:
        times = []
        for _ in range(number):
            began = time.perf_counter()
            job = await pool.enqueue_job("noop")
            await job.result(timeout=10)
            times.append(time.perf_counter() - began)
        tell(times=times)


asyncio.run(main())
