"""The life of runners through the API, on a real systemd: instances, probes, changes, signals."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.rpc_client import RpcError
from tests.e2e.conftest import eventually, systemctl

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

CONTROLLERS = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
BACKOFF = {"delay_s": 0.2, "jitter": 0}


def status(service: Service, id: str = "a") -> dict[str, Any]:
    return dict(service.rpc.call("get_runner_status", [id]))


def pids(service: Service, id: str = "a") -> list[int]:
    return [each["main_pid"] for each in status(service, id)["instances"]]


def reasons(service: Service) -> list[str]:
    """Return why the runs of the runner ended, newest first."""
    return [each["reason"] for each in service.rpc.call("get_runner_exits", ["a"])]


@pytest.fixture
def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_instances_are_units_of_their_own_and_scaling_leaves_the_others_alone(service: Service) -> None:
    service.add("a", instances=2)
    first, second = pids(service)
    service.rpc.call("scale_runner", {"runner": "a", "instances": 4})
    assert pids(service)[:2] == [first, second]
    assert len(set(pids(service))) == 4
    service.rpc.call("scale_runner", {"runner": "a", "instances": 1})
    assert pids(service) == [first]
    assert service.show("ActiveState", f"{service.namespace}-runner-a@2.service") == "inactive"


@pytest.mark.skipif("pids" not in CONTROLLERS, reason="this host binds its controllers to cgroup version 1")
def test_a_change_of_limits_is_live_and_another_restarts(service: Service) -> None:
    service.add("a")
    definition = {"id": "a", "command": ["/bin/sleep", "infinity"], "limits": {"tasks_max": 33, "cpu_weight": 50}}
    before = pids(service)
    assert service.rpc.call("plan_runner", definition)["action"] == "change"
    service.rpc.call("update_runner", definition)
    unit = status(service)["unit"]
    assert (service.show("TasksMax", unit), service.show("CPUWeight", unit)) == ("33", "50")
    assert pids(service) == before
    service.rpc.call("update_runner", definition | {"command": ["/bin/sleep", "99999"]})
    assert pids(service) != before
    assert service.show("TasksMax", unit) == "33"


def test_an_update_that_does_not_start_goes_back(service: Service) -> None:
    service.add("a", instances=2)
    with pytest.raises(RpcError, match="/no/such/program does not exist"):
        service.rpc.call("update_runner", {"id": "a", "command": ["/no/such/program"], "instances": 2})
    assert {each["status"] for each in status(service)["instances"]} == {"running"}
    assert service.show("ExecStart", status(service)["unit"]).count("/bin/sleep") == 2


def test_a_readiness_probe_over_http_holds_the_start_until_it_answers(service: Service, port: int) -> None:
    server = f"sleep 1; exec python3 -m http.server {port} --bind 127.0.0.1"
    probe = {"http": {"port": port}, "interval_s": 0.2}
    began = time.monotonic()
    started = service.add("a", command=["/bin/sh", "-c", server], readiness_probe=probe)
    assert started["status"] == "running"
    assert time.monotonic() - began > 1


def test_a_probes_command_runs_as_the_runner_does(service: Service) -> None:
    script = "touch /etc/x 2>/dev/null && exit 9; test $HERO_RUNNER = a"
    probe = {"command": ["/bin/sh", "-c", script], "interval_s": 0.2}
    assert service.add("a", readiness_probe=probe)["status"] == "running"
    with pytest.raises(RpcError, match="its readiness probe fails: exit status 7"):
        service.add("b", readiness_probe={"command": ["/bin/sh", "-c", "exit 7"]}, start_timeout_s=1)


def test_an_instance_that_is_not_alive_is_replaced_and_its_exit_says_why(service: Service, tmp_path: Path) -> None:
    sick = tmp_path / "sick"
    probe = {"command": ["/bin/sh", "-c", f"! test -e {sick}"], "interval_s": 0.2, "failure_threshold": 2}
    service.add("a", liveness_probe=probe, backoff=BACKOFF, sandbox="trusted")
    (before,) = pids(service)
    sick.touch()
    eventually(lambda: status(service)["status"] == "backoff", timeout_s=10)
    sick.unlink()
    eventually(lambda: status(service)["status"] == "running", timeout_s=10)
    assert pids(service) != [before]
    eventually(lambda: reasons(service) == ["unhealthy"])


def test_an_instance_is_replaced_at_its_age_also_by_the_next_supervisor(service: Service) -> None:
    service.add("a", max_age_s=3)
    (before,) = pids(service)
    service.stop()
    service.start()
    assert pids(service) == [before]
    eventually(lambda: pids(service) not in ([before], [None]), timeout_s=10)
    eventually(lambda: reasons(service)[-1:] == ["max-age"])


def test_a_kill_ends_a_stop_that_waits(service: Service) -> None:
    service.add("a", command=["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"], stop_timeout_s=60)
    operation = service.rpc.call("operate_runners", {"verb": "stop", "runners": ["a"], "wait": False})
    eventually(lambda: status(service)["status"] == "stopping")
    service.rpc.call("kill_runner", ["a"])

    def is_done() -> bool:
        return bool(service.rpc.call("get_operation", [operation["id"]])["state"] == "done")

    eventually(is_done)
    assert status(service)["status"] == "stopped"


def test_a_drained_runner_finishes_its_job_and_stays_stopped(service: Service, tmp_path: Path) -> None:
    service.add("a", executor="shell", sandbox="trusted")
    service.rpc.call("queue_and_wait", {"runner": "a", "job": {"payload": "true"}})
    payload = f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo done"
    job = service.rpc.call("queue_job_to_runner", {"runner": "a", "job": {"payload": payload}})
    later = service.rpc.call("queue_job_to_runner", {"runner": "a", "job": {"payload": "echo later"}})
    eventually((tmp_path / "begun").exists)
    with pytest.raises(RpcError, match=r"it has not finished after 0\.5 s"):
        service.rpc.call("drain_runner", {"runner": "a", "timeout": 0.5})
    (tmp_path / "go").touch()
    assert service.rpc.call("drain_runner", ["a"])["status"] == "stopped"
    assert service.rpc.call("get_job_result", [job])["result"] == "done\n"
    assert service.rpc.call("get_job_status", [later]) == "dispatched"
    service.rpc.call("start_runner", ["a"])
    eventually(lambda: service.rpc.call("get_job_status", [later]) == "finished")


def test_a_runner_that_cannot_be_told_is_not_drained(service: Service) -> None:
    service.add("a")
    with pytest.raises(RpcError, match="it has no drain_signal"):
        service.rpc.call("drain_runner", ["a"])


def test_runners_come_up_in_the_order_of_after(service: Service, tmp_path: Path) -> None:
    log = tmp_path / "order"

    def command(id: str) -> list[str]:
        return ["/bin/sh", "-c", f"echo {id} >> {log}; exec sleep infinity"]

    for id, after in (("web", {"app": "ready"}), ("app", {"db": "started"}), ("db", {})):
        definition = {"id": id, "command": command(id), "after": after, "sandbox": "trusted"}
        service.rpc.call("add_runner", definition)
    service.rpc.call("operate_runners", {"verb": "start", "runners": ["*"]})
    eventually(lambda: log.read_text().split() == ["db", "app", "web"])


def test_a_unit_stopped_with_systemctl_stays_stopped(service: Service) -> None:
    unit = service.add("a")["unit"]
    systemctl("stop", unit)
    eventually(lambda: status(service)["desired"] == "ended")
    assert status(service)["status"] == "stopped"
    assert service.rpc.call("start_runner", ["a"])["desired"] == "running"


def test_a_hangup_applies_the_configuration_again(stopped_service: Service, tmp_path: Path) -> None:
    config, extra = tmp_path / "config.toml", tmp_path / "conf.d" / "b.toml"
    extra.parent.mkdir()

    def declare(file: Path, id: str, seconds: int, more: str = "") -> None:
        file.write_text(f'{more}\n[[runners]]\nid = "{id}"\ncommand = ["/bin/sleep", "{seconds}"]\n')

    service = stopped_service
    declare(config, "a", 1001)
    declare(extra, "b", 1002)
    service.start("--config", str(config))
    eventually(lambda: service.rpc.call("get_all_status")["counts"]["running"] == 2)
    kept, changed = pids(service, "a"), pids(service, "b")
    service.add("by-call")
    declare(extra, "b", 1003)
    declare(tmp_path / "conf.d" / "c.toml", "c", 1004)
    systemctl("kill", "--signal=HUP", "--kill-who=main", service.unit)
    eventually(lambda: service.rpc.call("get_all_status")["counts"]["running"] == 4)
    eventually(lambda: pids(service, "b") not in (changed, [None]))
    assert pids(service, "a") == kept
    declare(extra, "b", 1005, more="port = 1")
    systemctl("kill", "--signal=HUP", "--kill-who=main", service.unit)
    eventually(lambda: "can declare runners only, not port" in service.journal())
    assert service.rpc.call("get_all_status")["counts"]["running"] == 4


def test_a_reset_starts_at_once_what_waits_for_systemd(service: Service) -> None:
    service.add("a", command=["/bin/sh", "-c", "exit 1"], restart_delay_s=600)
    eventually(lambda: service.rpc.call("get_runner_status", ["a"])["status"] == "backoff")
    service.rpc.call("reset_runner", ["a"])
    eventually(lambda: len(service.rpc.call("get_runner_exits", ["a"])) == 2, timeout_s=10)
