"""docs/examples/worker.py does what docs/workers.md says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from hero_supervisor.job import JobStatus
from tests.worker_fixtures import run

if TYPE_CHECKING:
    from hero_supervisor.client import JobClient
    from tests.worker_fixtures import StartRunner

PROGRAM = (Path(__file__).parents[2] / "docs/examples/worker.py").read_text()


async def test_the_example_works(client: JobClient, start_runner: StartRunner, tmp_path: Path) -> None:
    start_runner(program=PROGRAM, HERO_CONCURRENCY="4")
    done = await run(client, '{"customer": 42}', executor="report")
    pages = ["page 1", "page 2", "page 3"]
    assert json.loads(done.result or "") == {"customer": 42, "pages": pages, "attempt": 1}
    assert (await run(client, "1000", executor="sum")).result == "499500"
    nobody = await run(client, "{}", executor="report", max_retries=3)
    assert (nobody.status, nobody.error) == (JobStatus.ERROR, "cannot report: the order names no customer")
    late = await run(client, '{"customer": 1, "pages": 100000}', executor="report", timeout=30, soft_timeout=1)
    assert late.status is JobStatus.FINISHED
    assert "out of time after " in (tmp_path / "out").read_text()
    stopped = await run(client, str(10**12), executor="sum", timeout=1)
    assert stopped.error == "timed out after 1 s"
