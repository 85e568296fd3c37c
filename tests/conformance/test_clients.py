"""Clients and tools in JavaScript that nobody here wrote, as their users use them; see ``clients/``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.rpc.openrpc import examples
from tests.conftest import missing
from tests.e2e.conftest import service, stopped_service
from tests.e2e.test_events import first_line, running
from tests.integrating_fixtures import programs

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

__all__ = ["service", "stopped_service"]

FOLDER = Path(__file__).parent
CLIENTS = sorted((FOLDER / "clients").iterdir())
TYPESCRIPT = FOLDER / "typescript"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def clients() -> None:
    """What ``packaging/dev/setup conformance`` installs."""
    installed = [FOLDER / "node_modules", TYPESCRIPT / "node_modules"]
    if not shutil.which("node") or not all(folder.exists() for folder in installed):
        missing("the clients are not installed; run: make conformance")


@pytest.mark.parametrize("client", CLIENTS, ids=[client.stem for client in CLIENTS])
def test_a_client_gets_on_with_the_service(service: Service, client: Path) -> None:
    service.rpc.call("add_runner", {"id": "a", "executor": "python"})
    command = ["node", str(client), service.url, json.dumps(list(examples()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_in_the_documentation_prints_the_output_of_its_job(stopped_service: Service) -> None:
    stopped_service.start_as_it_comes()
    environ = {**os.environ, "HEROSUP_TOKEN": stopped_service.key()}
    (program,) = programs("javascript", stopped_service.url)
    command = ["node", "--input-type=module", "--eval", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=FOLDER, env=environ)
    assert (done.stdout, done.stderr, done.returncode) == ("42\n", "", 0)


def test_the_program_in_the_documentation_of_events_prints_what_happens(service: Service) -> None:
    (program,) = programs("javascript", service.url, page="events")
    command = ["node", "--input-type=module", "--eval", program]
    with running(command, cwd=FOLDER) as process:
        event = json.loads(first_line(process, service))
        assert (event["topic"], event["runner"]) == ("runner", "web")


def test_the_generated_typescript_client_compiles_and_runs(service: Service, tmp_path: Path) -> None:
    service.rpc.call("add_runner", {"id": "a", "executor": "python"})
    service.rpc.call("start_runner", ["a"])
    document = FOLDER.parent.parent / "docs" / "openrpc.json"
    options = ["-t", "client", "-l", "typescript", "-n", "hero-client", "-d", str(document), "-o", str(tmp_path)]
    _run(str(FOLDER / "node_modules/.bin/open-rpc-generator"), "generate", *options)
    client = tmp_path / "client" / "typescript"
    shutil.copy(TYPESCRIPT / "main.ts", client / "src")
    (client / "node_modules").symlink_to(TYPESCRIPT / "node_modules")
    _run(str(TYPESCRIPT / "node_modules/.bin/tsc"), "--project", str(client))
    host, port = "127.0.0.1", str(service.port)
    assert _run("node", str(client / "build/main.js"), host, port) == "finished 42\n\n-32001 runner-not-found\n"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
