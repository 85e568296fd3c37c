"""The programs in docs/integrating.md do what it says; tests/conformance has those in JavaScript."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integrating_fixtures import programs

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("language", "number", "command"),
    [("bash", 0, ["bash", "-euc"]), *(("python", number, [sys.executable, "-c"]) for number in range(3))],
)
def test_a_program_prints_the_output_of_its_job(
    stopped_service: Service, language: str, number: int, command: list[str]
) -> None:
    stopped_service.start_as_it_comes()
    environ = {**os.environ, "HEROSUP_TOKEN": stopped_service.key()}
    program = programs(language, stopped_service.url)[number]
    done = subprocess.run([*command, program], capture_output=True, text=True, timeout=50, check=False, env=environ)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("42", "", 0)
