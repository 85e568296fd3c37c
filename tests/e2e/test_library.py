"""The package as a library, in an environment that has only its core dependencies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

PROJECT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("library_program.py")

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the library as a user would install it: no extras."""
    venv = tmp_path_factory.mktemp("library") / "venv"
    python = venv / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run([str(python), *install, str(PROJECT)], check=True, timeout=200)
    return python


def test_a_supervisor_runs_a_job_without_server_and_cli_packages(python: Path, stopped_service: Service) -> None:
    done = subprocess.run(
        [str(python), str(PROGRAM), stopped_service.namespace, str(stopped_service.state_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["runner a: running", "job: finished 42", "by the job client: finished 42"]


@pytest.mark.parametrize("program", ["hero-supervisor", "herosup"])
def test_a_missing_extra_is_one_sentence_that_names_it(python: Path, program: str, tmp_path: Path) -> None:
    arguments = ["--state-dir", str(tmp_path)] if program == "hero-supervisor" else ["status"]
    command = [str(python.parent / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in {1, 2}
    assert "pip install 'hero-supervisor[" in done.stderr
    assert "Traceback" not in done.stderr
