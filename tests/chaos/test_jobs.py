"""Jobs under fire, in long: each nemesis, each way to execute, one instance and four.

``HERO_CHAOS_JOBS`` and ``HERO_CHAOS_KILLS`` set how many jobs and kills there are in a cell; the long run has 2,000 and
100.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest

from .jobs import DEFINITIONS, JobsUnderFire
from .nemeses import NEMESES, stall_redis

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(1200)

JOBS = int(os.environ.get("HERO_CHAOS_JOBS", "150"))
KILLS = int(os.environ.get("HERO_CHAOS_KILLS", "8"))


@pytest.mark.parametrize("instances", [1, 4])
@pytest.mark.parametrize("protocol", DEFINITIONS)
@pytest.mark.parametrize("nemesis", NEMESES)
async def test_no_job_is_lost(
    service: Service,
    figures: Callable[..., None],
    tmp_path: Path,
    nemesis: str,
    protocol: str,
    instances: int,
) -> None:
    seed = secrets.token_hex(4)
    run = JobsUnderFire(service, protocol=protocol, instances=instances, seed=seed, folder=tmp_path)
    kills = KILLS // 10 if NEMESES[nemesis] is stall_redis else KILLS
    outcome = await run.run(JOBS, NEMESES[nemesis], kills=max(kills, 1), pause_s=0.4)
    figures(f"{nemesis.replace('_', ' ')}, {protocol} x {instances}", **outcome.figures())
    outcome.check()
