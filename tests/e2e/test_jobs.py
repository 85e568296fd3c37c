"""Jobs of a running service, as an operator meets them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import eventually

if TYPE_CHECKING:
    from tests.e2e.conftest import Service


@pytest.mark.parametrize("sandbox", ["default", "strict", "trusted"])
def test_a_job_whose_runner_is_killed_says_why_and_counts_it(service: Service, sandbox: str) -> None:
    status = service.add("r", executor="shell", sandbox=sandbox, restart_delay_s=0.1)
    job = {"id": "j", "payload": "sleep 60", "max_crashes": 0}
    service.rpc.call("queue_job_to_runner", {"runner": "r", "job": job})
    eventually(lambda: service.rpc.call("get_job_status", ["j"]) == "started")
    os.kill(status["main_pid"], signal.SIGKILL)
    eventually(lambda: service.rpc.call("get_job_status", ["j"]) == "error")
    state = service.rpc.call("get_job_state", ["j"])
    assert (state["reason"], state["crashes"], state["error"]) == ("signal", 1, "its runner was killed by SIGKILL")
    done = service.rpc.call("queue_and_wait", {"runner": "r", "job": {"payload": "echo next"}})
    assert done["result"] == "next\n"
