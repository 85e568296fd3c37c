"""A slice of the chaos of jobs, with everything that can break; all of it is run by ``make chaos`` (tests/chaos)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.chaos.jobs import DEFINITIONS, JobsUnderFire
from tests.chaos.nemeses import any_of_them

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(200)


@pytest.mark.parametrize("protocol", DEFINITIONS)
async def test_no_job_is_lost_whatever_breaks(service: Service, tmp_path: Path, protocol: str) -> None:
    run = JobsUnderFire(service, protocol=protocol, instances=2, seed=secrets.token_hex(4), folder=tmp_path)
    outcome = await run.run(150, any_of_them, kills=12, pause_s=0.5)
    outcome.check()
