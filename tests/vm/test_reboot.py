"""A reboot: transient units are gone with it, and the service brings back what was meant to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hero_supervisor.rpc_client import RpcClient, ServiceUnreachable
from tests.e2e.conftest import BIN, eventually, systemctl

PROJECT = Path(__file__).parents[2]
UNIT = "hero-supervisor.service"
#: Where a test before the reboot leaves what one after it has to know.
JOB_ID = Path("/var/tmp/test-job-id")

pytestmark = pytest.mark.timeout(300)


def call(method: str, params: Any = None) -> Any:
    """Call the installed service."""
    return RpcClient("unix:///run/hero-supervisor/api.sock", timeout_s=60).call(method, params)


def is_ready() -> bool:
    try:
        return call("list_runners") is not None
    except ServiceUnreachable:
        return False


@pytest.fixture(autouse=True)
def ready(virtual_machine: None) -> None:
    """The service as an installation has it, enabled; systemd itself starts it again after the reboot."""
    unit = Path("/etc/systemd/system") / UNIT
    if not unit.exists():
        unit.write_text((PROJECT / "units" / UNIT).read_text())
        drop_in = unit.with_name(f"{UNIT}.d") / "test.conf"
        drop_in.parent.mkdir()
        # The project may be below /var/tmp, of which the unit has its own.
        own = f'ExecStart=\nExecStart="{BIN}/hero-supervisor"\nBindReadOnlyPaths="{PROJECT}"\n'
        drop_in.write_text(f"[Service]\n{own}")
        systemctl("daemon-reload")
        systemctl("enable", UNIT)
        systemctl("start", "--no-block", UNIT)
    eventually(is_ready, timeout_s=120)


@pytest.mark.boot(1)
def test_one_runner_runs_and_another_is_stopped_before_the_reboot() -> None:
    for runner in ("started", "stopped"):
        # Trusted, because the project may be where other users cannot go.
        call("add_runner", {"id": runner, "executor": "shell", "sandbox": "trusted"})
        assert call("start_runner", [runner])["status"] == "running"
    assert call("stop_runner", ["stopped"])["status"] == "stopped"
    JOB_ID.write_text(call("queue_job_to_runner", {"runner": "stopped", "job": {"payload": "echo kept"}}))


@pytest.mark.boot(2)
def test_a_runner_that_was_started_runs_again_after_a_reboot() -> None:
    eventually(lambda: call("get_runner_status", ["started"])["status"] == "running", timeout_s=60)
    assert systemctl("is-active", "hero-runner-started.service") == "active"


@pytest.mark.boot(2)
def test_a_runner_that_was_stopped_stays_stopped_after_a_reboot() -> None:
    eventually(lambda: call("get_runner_status", ["started"])["status"] == "running", timeout_s=60)
    assert call("get_runner_status", ["stopped"])["status"] == "stopped"
    assert systemctl("is-active", "hero-runner-stopped.service", is_checked=False) == "inactive"


@pytest.mark.boot(2)
def test_a_job_that_waited_is_done_after_a_reboot() -> None:
    job_id = JOB_ID.read_text()
    assert call("get_job_status", [job_id]) == "dispatched"
    call("start_runner", ["stopped"])
    eventually(lambda: call("get_job_status", [job_id]) == "finished", timeout_s=60)
