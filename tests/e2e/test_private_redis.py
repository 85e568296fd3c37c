"""The private Redis of a service: it outlives the supervisor, comes back, and keeps its password to itself."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.rpc_client import RpcError
from tests.e2e.conftest import IS_ROOT, eventually, systemctl

if TYPE_CHECKING:
    from tests.e2e.conftest import Service


def test_the_redis_outlives_the_supervisor_and_keeps_its_jobs(service: Service) -> None:
    service.rpc.call("add_runner", {"id": "a", "executor": "shell"})
    job_id = service.rpc.call("queue_job_to_runner", {"runner": "a", "job": {"payload": "echo kept"}})
    service.stop()
    systemctl("stop", f"{service.namespace}-redis.service")
    service.start()
    assert service.rpc.call("get_job_status", [job_id]) == "dispatched"
    service.rpc.call("start_runner", ["a"])
    eventually(lambda: service.rpc.call("get_job_status", [job_id]) == "finished")


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_private_redis_that_somebody_ended_comes_back_with_its_jobs(service: Service, verb: str) -> None:
    service.rpc.call("add_runner", {"id": "a", "executor": "shell"})
    job_id = service.rpc.call("queue_job_to_runner", {"runner": "a", "job": {"payload": "echo kept"}})
    time.sleep(1.1)  # what Redis was told is on its disk every second
    systemctl(*([verb] if verb == "stop" else [verb, "--signal=KILL"]), f"{service.namespace}-redis.service")
    eventually(lambda: _status_of_job(service, job_id) == "dispatched", timeout_s=20)


def _status_of_job(service: Service, job_id: str) -> str:
    try:
        return str(service.rpc.call("get_job_status", [job_id]))
    except RpcError as exc:
        return exc.kind


def _redis_cli(service: Service, *words: str) -> str:
    """Run a command on the private Redis as a user who knows no password, and return the answer."""
    runtime = Path("/run" if IS_ROOT else os.environ["XDG_RUNTIME_DIR"])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(runtime / f"{service.namespace}-redis/redis.sock"))
        sock.sendall((" ".join(words) + "\r\n").encode())
        return sock.recv(1000).decode()


def test_who_has_no_password_gets_nothing_of_the_redis(service: Service) -> None:
    assert _redis_cli(service, "KEYS", "*").startswith("-NOAUTH")
    config = service.state_dir / "redis.conf"
    assert config.stat().st_mode & 0o777 == 0o600
    password = config.read_text().split()[1]
    assert _redis_cli(service, "AUTH", password) == "+OK\r\n"
    redis = f"{service.namespace}-redis.service"
    assert password not in systemctl("show", redis)
    assert password.encode() not in Path(f"/proc/{service.show('MainPID', redis)}/cmdline").read_bytes()


def test_a_redis_that_was_started_without_our_password_is_started_anew_and_keeps_its_jobs(service: Service) -> None:
    service.rpc.call("add_runner", {"id": "a", "executor": "shell"})
    job_id = service.rpc.call("queue_job_to_runner", {"runner": "a", "job": {"payload": "echo kept"}})
    redis = f"{service.namespace}-redis.service"
    before = service.show("MainPID", redis)
    service.stop()
    (service.state_dir / "redis.conf").unlink()
    service.start()
    assert service.show("MainPID", redis) != before
    assert service.rpc.call("get_job_status", [job_id]) == "dispatched"
