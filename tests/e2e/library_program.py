"""What test_library.py runs: a supervisor and a job client inside a program of their user's."""

from __future__ import annotations

import asyncio
import importlib.util
import sys

from hero_supervisor import JobBuilder, JobClient, Runner, SupervisorBuilder
from hero_supervisor.runner import Executor

NOT_NEEDED = ("starlette", "uvicorn", "jsonrpcserver", "typer", "httpx")


async def main(namespace: str, state_dir: str) -> None:
    assert not [name for name in NOT_NEEDED if importlib.util.find_spec(name)]
    supervisor = await SupervisorBuilder().namespace(namespace).state_dir(state_dir).build()
    async with supervisor:
        await supervisor.add_runner(Runner(id="a", executor=Executor.PYTHON))
        print(f"runner a: {(await supervisor.start_runner('a')).status}")
        job = JobBuilder().caller_id("library").payload("print(6 * 7)").build()
        result = await supervisor.queue_and_wait("a", job)
        print(f"job: {result.status} {(result.result or '').strip()}")
        async with JobClient.connect(supervisor.redis_url, namespace=namespace) as client:
            again = await client.get_job_result(job.id)
        print(f"by the job client: {again.status} {(again.result or '').strip()}")


asyncio.run(main(*sys.argv[1:]))
