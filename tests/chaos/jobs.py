"""Jobs under fire: what must be true of each of them whatever breaks while they are executed.

Each job appends a line to a file when it is executed, and gives a result that only it can give. So the file tells how
often each was executed, and Redis how each ended.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis

from hero_supervisor.client import JobClient
from hero_supervisor.errors import HeroError
from hero_supervisor.job import Job, JobStatus
from hero_supervisor.state import StateDirectory
from tests.e2e.conftest import systemctl

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.e2e.conftest import Service

    #: What breaks something, once.
    Nemesis = Callable[["JobsUnderFire"], Awaitable[None]]

RUNNER = "chaos"
#: What each job does: says that it is executed, takes a moment, and gives its own result.
SCRIPT = 'echo "$HERO_JOB_ID $HERO_ATTEMPT" >> {log}; sleep 0.0{pause}; echo "result of $HERO_JOB_ID"'

DEFINITIONS: dict[str, dict[str, Any]] = {
    "claim": {"executor": "shell", "protocol": "claim"},
    "unit": {"executor": "shell", "protocol": "unit"},
    "list": {"command": ["/bin/bash", "{examples}/list-runner.sh"], "protocol": "list"},
}


def redis_url(service: Service) -> str:
    """Return the URL of a service's private Redis."""
    words = StateDirectory(service.state_dir).environment_file.read_text()
    found = re.search('^HERO_REDIS_URL="(.*)"$', words, re.MULTILINE)
    assert found, f"no Redis URL in {service.state_dir}"
    return found[1]


@dataclass(slots=True)
class Outcome:
    """What became of the jobs of one run."""

    seed: str
    jobs: int
    kills: int = 0
    #: Jobs that are nowhere, that have not ended, and that ended otherwise than well, with what is known of them.
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    #: What ``check_integrity`` found.
    violations: list[str] = field(default_factory=list)
    #: How many results were taken down, less the number of jobs.
    second_results: int = 0
    #: How often jobs were executed beyond once each, and how many may have been at most.
    duplicates: int = 0
    in_flight_at_kills: int = 0
    #: Milliseconds from the end of a process to its job's being back in the queue.
    recoveries_ms: list[float] = field(default_factory=list)
    took_s: float = 0.0

    def figures(self) -> dict[str, object]:
        """Return what is to be printed."""
        times = sorted(self.recoveries_ms)
        shown: dict[str, object] = {
            "seed": self.seed,
            "jobs": self.jobs,
            "kills": self.kills,
            "lost": len(self.lost),
            "stuck": len(self.stuck),
            "ended_otherwise_than_well": len(self.failed),
            "violations_of_integrity": len(self.violations),
            "second_results": self.second_results,
            "executed_more_than_once": f"{self.duplicates} (at most {self.in_flight_at_kills} in flight at kills)",
            "took_s": self.took_s,
        }
        if times:
            shown["recovery_p50_ms"] = times[len(times) // 2]
            shown["recovery_p99_ms"] = times[min(len(times) - 1, len(times) * 99 // 100)]
        return shown

    def check(self) -> None:
        """Fail if anything is not as it must be."""
        bad = self.lost + self.stuck + self.failed + self.violations
        assert not bad, f"seed {self.seed}: {len(bad)} jobs, {bad[:5]}"
        assert self.second_results == 0, f"seed {self.seed}: {self.second_results} jobs have two results"
        assert self.duplicates <= self.in_flight_at_kills, f"seed {self.seed}: {self.figures()}"


class JobsUnderFire:
    """A runner of a service, with jobs that are executed while things are broken."""

    def __init__(
        self, service: Service, *, protocol: str, instances: int, seed: str, folder: Path, **definition: Any
    ) -> None:
        self.service = service
        self.protocol = protocol
        self.instances = instances
        self.rng = random.Random(seed)  # noqa: S311  # it guards nothing
        self.outcome = Outcome(seed, 0)
        folder.chmod(0o777)
        self._log = folder / "executions"
        self._log.touch()
        self._log.chmod(0o666)
        examples = Path(__file__).parents[2] / "docs/examples"
        definition |= json.loads(json.dumps(DEFINITIONS[protocol]).replace("{examples}", str(examples)))
        number = {"concurrency": instances} if protocol == "unit" else {"instances": instances}
        service.add(RUNNER, **definition, **number, sandbox="trusted", restart_delay_s=0.05, backoff=_PATIENT)
        self.redis_url = redis_url(service)

    async def run(self, jobs: int, nemesis: Nemesis, *, kills: int, pause_s: float) -> Outcome:
        """Queue jobs, let the nemesis do its work until it is done and they have ended, and return what became of them.

        Args:
            jobs: How many jobs.
            nemesis: What breaks something, once.
            kills: How often.
            pause_s: Longest pause between two times; the shortest is a fifth of it.
        """
        began = time.monotonic()
        async with JobClient.connect(self.redis_url, self.service.namespace) as client:
            ids = await self._queue(client, jobs)
            for _ in range(kills):
                await asyncio.sleep(self.rng.uniform(pause_s / 5, pause_s))
                await nemesis(self)
                self.outcome.kills += 1
            await self._wait(client, ids)
            await self._judge(client, ids)
        self.outcome.took_s = time.monotonic() - began
        return self.outcome

    def processes(self) -> dict[str, int]:
        """Return the process ids of what executes jobs, by unit."""
        kind = "job" if self.protocol == "unit" else "runner"
        shown = systemctl("show", "--property=Id,MainPID", f"{self.service.namespace}-{kind}-{RUNNER}*")
        found = re.findall("MainPID=([0-9]+)\nId=(.*)|Id=(.*)\nMainPID=([0-9]+)", shown)
        pairs = {(b or c): int(a or d) for a, b, c, d in found}
        return {unit: pid for unit, pid in pairs.items() if pid}

    async def _queue(self, client: JobClient, number: int) -> list[str]:
        script = SCRIPT.format(log=self._log, pause=self.rng.randint(1, 9))
        jobs = [
            Job(id=f"{self.protocol}-{i}", payload=script, runner=RUNNER, executor="shell", max_crashes=1000)
            for i in range(number)
        ]
        answers = await client.enqueue_many(jobs)
        assert not [answer for answer in answers if isinstance(answer, HeroError)]
        self.outcome.jobs = number
        return [job.id for job in jobs]

    async def _wait(self, client: JobClient, ids: list[str]) -> None:
        """Wait until all have ended, or nothing moves any more."""
        open_ids, last_s = list(ids), time.monotonic()
        while open_ids and time.monotonic() - last_s < 40:
            await asyncio.sleep(0.2)
            try:
                still = [i for i in open_ids if not await self._has_ended(client, i)]
            except HeroError:
                continue  # Redis is on its way back
            last_s = time.monotonic() if len(still) < len(open_ids) else last_s
            open_ids = still

    async def _has_ended(self, client: JobClient, job_id: str) -> bool:
        return (await client.get_job_status(job_id)).is_final

    async def _judge(self, client: JobClient, ids: list[str]) -> None:
        for job_id in ids:
            try:
                result = await client.get_job_result(job_id)
            except HeroError as exc:
                self.outcome.lost.append(f"{job_id}: {exc}")
                continue
            if not result.status.is_final:
                self.outcome.stuck.append(str(await client.get_job_state(job_id)))
            elif result.status is not JobStatus.FINISHED or (result.result or "").strip() != f"result of {job_id}":
                self.outcome.failed.append(str(result))
        with Redis.from_url(self.redis_url) as raw:
            finished = raw.hget(client.keys.queue(RUNNER, "counts"), "finished")
        self.outcome.second_results = int(finished or 0) - (len(ids) - len(self.outcome.stuck) - len(self.outcome.lost))
        report = await client.check_integrity(repair=False)
        self.outcome.violations = [violation.text for violation in report.violations]
        executions = Counter(line.split()[0] for line in self._log.read_text().splitlines() if line)
        self.outcome.duplicates = sum(executions.values()) - len(executions)


_PATIENT = {"fast_retries": 100, "stable_after_s": 1}
