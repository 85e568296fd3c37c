"""The command-line program against a real service: what operators type, and the exit status they get."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import eventually, systemctl

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(120)


def test_a_runners_whole_life(service: Service) -> None:
    added = service.herosup("runner", "add", "web", "--start", "--", "/bin/sh", "-c", "echo up; exec sleep infinity")
    assert added.returncode == 0, added.stderr
    assert service.herosup("runner", "status", "web").returncode == 0
    assert "web" in service.herosup("runner", "list").stdout
    (stats,) = json.loads(service.herosup("runner", "stats", "web", "--json").stdout)
    assert stats["processes"] == 1
    assert stats["cpu_s"] >= 0
    eventually(lambda: "up" in service.herosup("runner", "logs", "web").stdout)
    assert service.herosup("runner", "restart", "web").returncode == 0
    assert service.herosup("runner", "stop", "web").returncode == 0
    assert service.herosup("runner", "status", "web").returncode == 3
    assert service.herosup("runner", "start", "--all").returncode == 0
    assert service.herosup("runner", "remove", "web").returncode == 0
    assert service.herosup("runner", "status", "web").returncode == 4


def test_jobs_from_the_command_line(service: Service) -> None:
    service.herosup("runner", "add", "sh", "--executor", "shell", "--start")
    done = service.herosup("job", "run", "sh", "echo $WHO", "--env", "WHO=me")
    assert (done.returncode, done.stdout) == (0, "me\n")
    failed = service.herosup("job", "run", "sh", "echo no >&2; exit 7")
    assert failed.returncode == 1
    assert "no" in failed.stderr
    piped = service.herosup("job", "run", "sh", "-", input="echo piped")
    assert piped.stdout == "piped\n"
    job_id = service.herosup("job", "queue", "sh", "echo later").stdout.strip()
    eventually(lambda: service.herosup("job", "result", job_id).returncode == 0)
    assert service.herosup("job", "status", job_id).stdout.strip() == "finished"
    listed = json.loads(service.herosup("--json", "job", "list", "--runner", "sh").stdout)
    assert next(job["id"] for job in listed) == job_id


def test_why_a_runner_ended(service: Service) -> None:
    service.herosup("runner", "add", "web", "--start", "--", "/bin/sleep", "infinity")
    nothing = service.herosup("why", "web")
    assert (nothing.returncode, "no run of 'web' has ended" in nothing.stderr) == (3, True)
    crash = ("/bin/sh", "-c", "echo going down; sleep 0.2; exit 3")
    service.herosup("runner", "add", "bad", "--restart-delay", "60", "--start", "--", *crash)
    eventually(lambda: service.herosup("why", "bad").returncode == 0)
    told = service.herosup("why", "bad").stdout
    assert "Why:   its program ended by itself with exit status 3." in told
    assert "Next:  systemd starts it again, after its restart delay." in told
    assert "    going down" in told
    command = told.splitlines()[-1].split()
    assert "going down" in subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    service.kill()
    systemctl("stop", f"{service.namespace}-runner-web.service")
    service.start()
    (record,) = json.loads(service.herosup("runner", "exits", "web", "--json").stdout)
    assert record["reason"] == "operator"
    assert json.loads(service.herosup("--json", "why", "bad").stdout)["exit"]["exit_code"] == 3
    assert "exit status 3" in service.herosup("runner", "exits", "bad").stdout
    service.stop()
    assert "cannot take note of exits" not in service.journal()


def test_errors_have_a_hint_and_a_status(service: Service) -> None:
    unknown = service.herosup("runner", "start", "nobody")
    assert unknown.returncode == 4
    assert "error: cannot find runner 'nobody'" in unknown.stderr
    assert "hint: " in unknown.stderr
    bad = service.herosup("runner", "add", "A", "--", "/bin/true")
    assert bad.returncode == 2
    missing = service.herosup("runner", "add", "gone", "--start", "--", "/no/such/program")
    assert missing.returncode == 1
    assert "/no/such/program" in missing.stderr
    as_json = service.herosup("runner", "start", "nobody", "--json")
    assert json.loads(as_json.stderr)["kind"] == "runner-not-found"


def test_a_raw_call(service: Service) -> None:
    assert json.loads(service.herosup("rpc", "list_runners").stdout) == []
    service.herosup("rpc", "add_runner", "id=a", 'command=["/bin/sleep", "infinity"]')
    assert json.loads(service.herosup("rpc", "get_runner_status", "runner=a").stdout)["status"] == "stopped"


def test_a_service_that_is_not_there_has_its_own_status(stopped_service: Service) -> None:
    done = stopped_service.herosup("status")
    assert done.returncode == 5
    assert stopped_service.url in done.stderr
