"""Clients and tools in JavaScript that nobody here wrote, as their users use them; see ``clients/``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import missing
from tests.e2e.conftest import service, stopped_service

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

__all__ = ["service", "stopped_service"]

FOLDER = Path(__file__).parent
CLIENTS = sorted((FOLDER / "clients").iterdir())

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("client", CLIENTS, ids=[client.stem for client in CLIENTS])
def test_a_client_gets_on_with_the_service(service: Service, client: Path) -> None:
    if not shutil.which("node") or not (FOLDER / "node_modules").exists():
        missing("the clients are not installed; run: make conformance")
    service.rpc.call("add_runner", {"id": "a", "executor": "python"})
    done = subprocess.run(["node", client, service.url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
