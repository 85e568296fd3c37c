"""A full disk, under Redis and the supervisor: nothing accepted is lost, and all goes on when there is room."""

from __future__ import annotations

import asyncio
import errno
import secrets
import subprocess
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from tests.conftest import missing
from tests.e2e.conftest import IS_ROOT

from .jobs import DEFINITIONS, JobsUnderFire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(300)

#: Seconds for which the disk is full; Redis writes its file every second.
FULL_S = 2.5


@pytest.fixture
def small_disk(stopped_service: Service) -> Iterator[Path]:
    """The state directory of a running service, on a disk of its own."""
    if not IS_ROOT:
        missing("only root may mount a disk of its own size")
    disk = stopped_service.state_dir
    disk.mkdir(mode=0o711)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=711", "tmpfs", disk], check=True)
    try:
        stopped_service.start()
        yield disk
        stopped_service.remove()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


async def fill(disk: Path, ask: Callable[[], None]) -> None:
    """Let a disk be full for a while, and ask something at its end."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError as exc:
            assert exc.errno == errno.ENOSPC  # noqa: PT017  # nothing is expected to raise: the disk is to be full
    await asyncio.sleep(FULL_S)
    try:
        await asyncio.to_thread(ask)
    finally:
        filler.unlink()


@pytest.mark.parametrize("protocol", DEFINITIONS)
async def test_no_job_is_lost(
    small_disk: Path, stopped_service: Service, figures: Callable[..., None], tmp_path: Path, protocol: str
) -> None:
    told: list[str | None] = []

    def ask() -> None:
        told.append(stopped_service.rpc.call("get_health")["redis"])

    seed = secrets.token_hex(4)
    run = JobsUnderFire(stopped_service, protocol=protocol, instances=4, seed=seed, folder=tmp_path)
    outcome = await run.run(400, lambda _: fill(small_disk, ask), kills=3, pause_s=1)
    figures(f"full disk, {protocol}", **outcome.figures())
    own = [text for text in outcome.failed if "I/O error" in text]  # they ran when there was no room for their output
    assert len(own) <= (run.instances * outcome.kills if protocol == "unit" else 0)
    outcome.failed = [text for text in outcome.failed if text not in own]
    outcome.second_results += len(own)
    outcome.check()
    with Redis.from_url(run.redis_url) as raw:
        assert "errorstat_MISCONF" in raw.info("errorstats"), "Redis has not refused a write"
    # Jobs as units leave some room when their files are removed.
    assert protocol == "unit" or all("MISCONF" in (text or "") for text in told)
