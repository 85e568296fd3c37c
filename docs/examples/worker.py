"""A worker on the SDK: how handlers return, fail, wait, tell how far they are, and are broken off.

herosup runner add reports --protocol claim --concurrency 8 --start -- /path/to/.venv/bin/python /path/to/worker.py
herosup job run reports '{"customer": 42}' --executor report
"""

from __future__ import annotations

import asyncio
import json

from hero_supervisor.worker import GiveUp, JobContext, SoftTimeout, Worker

worker = Worker()


@worker.executor("report")
async def report(job: JobContext) -> dict[str, object]:
    """Runs in the event loop, beside others. What has a JSON form is stored as that."""
    order = json.loads(job.payload)  # what it raises is the job's error; it is tried again if it has retries left
    if "customer" not in order:
        raise GiveUp("cannot report: the order names no customer")  # another attempt would not mend it
    pages: list[str] = []
    try:
        for number in range(1, order.get("pages", 3) + 1):
            await asyncio.sleep(0.01)
            pages.append(f"page {number}")
            job.progress({"pages": number})
    except SoftTimeout:
        job.log.warning("out of time after %d pages", len(pages))
    return {"customer": order["customer"], "pages": pages, "attempt": job.attempt}


@worker.executor("sum")
def sum_up(job: JobContext) -> str:
    """Runs in a thread, which nothing can interrupt: so it looks from time to time whether it may go on."""
    total = 0
    for number in range(int(job.payload)):
        if number % 10_000 == 0:
            job.check()
        total += number
    return str(total)


if __name__ == "__main__":
    worker.run()
