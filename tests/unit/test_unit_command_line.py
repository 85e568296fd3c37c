"""A unit as a shell command: what a shell makes of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from hero_supervisor.runner import Runner
from hero_supervisor.unit import Site, render, systemd_run_line

SITE = Site("hero", Path("/var/lib/hero supervisor/runner.env"))


def _words(*, is_user: bool = False, **fields: Any) -> list[str]:
    runner = Runner.from_data({"id": "a", "command": ["/bin/true"], **fields})
    return shlex.split(systemd_run_line(render(runner, SITE, queue="q"), is_user=is_user))


def test_the_line_starts_the_unit_by_its_name_on_the_right_manager() -> None:
    assert _words()[:2] == ["systemd-run", "--unit=hero-runner-a.service"]
    assert _words(is_user=True)[:2] == ["systemd-run", "--user"]


def test_the_command_comes_last_with_dollars_doubled() -> None:
    assert _words(command=["/bin/echo", "$A", "a b", "'"])[-5:] == ["--", "/bin/echo", "$$A", "a b", "'"]


def test_variables_and_files_keep_their_spaces() -> None:
    words = _words(env={"A": "1 '2'\n"})
    assert "--setenv=A=1 '2'\n" in words
    assert "--property=EnvironmentFile=/var/lib/hero supervisor/runner.env" in words


def test_properties_are_said_in_the_words_of_unit_files() -> None:
    words = _words(limits={"cpu_quota_percent": 150}, stop_signal="SIGUSR1", sandbox="strict")
    wanted = [
        "CPUQuota=150%",
        "KillSignal=SIGUSR1",
        "UMask=0077",
        "TimeoutStopSec=10000000us",
        "RestrictNamespaces=uts",
    ]
    wanted += ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources", "CapabilityBoundingSet="]
    assert {f"--property={each}" for each in wanted} <= set(words)
