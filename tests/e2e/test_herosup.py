"""The command-line program against a real service: what operators type, and the exit status they get."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import eventually, systemctl

if TYPE_CHECKING:
    from pathlib import Path

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


def test_many_runners_at_once(service: Service) -> None:
    for id in ("web-1", "web-2", "db"):
        tier = id.partition("-")[0]
        service.herosup("runner", "add", id, "--start", "-l", f"tier={tier}", "--", "/bin/sleep", "infinity")
    before = {status["id"]: status["main_pid"] for status in service.rpc.call("get_all_runner_status")}
    rolled = service.herosup("runner", "roll", "-l", "tier=web")
    assert (rolled.returncode, sorted(rolled.stdout.splitlines())) == (0, ["web-1: running", "web-2: running"])
    after = {status["id"]: status["main_pid"] for status in service.rpc.call("get_all_runner_status")}
    assert {id for id in before if before[id] != after[id]} == {"web-1", "web-2"}
    nothing = service.herosup("runner", "stop", "db", "x-*")
    assert (nothing.returncode, service.rpc.call("get_runner_status", ["db"])["status"]) == (4, "running")
    id = service.herosup("runner", "stop", "web-*", "--no-wait").stdout.strip()
    eventually(lambda: "stop: done" in service.herosup("operation", "show", id).stdout)
    assert id in service.herosup("operation", "list").stdout
    unit = json.loads(service.herosup("runner", "render", "db", "--json").stdout)
    assert unit["name"] == service.show("Id", unit["name"])
    assert service.herosup("runner", "remove", "web-*", input="").returncode == 2
    removed = service.herosup("runner", "remove", "web-*", "--yes").stdout.splitlines()
    assert sorted(removed) == ["web-1: removed", "web-2: removed"]


def test_definitions_are_changed_and_declared(service: Service, tmp_path: Path) -> None:
    declared = tmp_path / "runners.toml"
    declared.write_text('[[runners]]\nid = "a"\ncommand = ["/bin/sleep", "infinity"]\nautostart = true\n')
    assert service.herosup("runner", "apply", "-f", str(declared), "--dry-run").stdout == "a: add\n"
    assert service.herosup("runner", "apply", "-f", str(declared)).stdout == "a: running\n"
    planned = service.herosup("runner", "update", "a", "--env", "X=1", "--dry-run").stdout
    assert planned.splitlines()[0] == "a: restart"
    assert planned.splitlines()[2].split() == ["env", "{}", '{"X":', '"1"}', "restart"]
    assert service.herosup("runner", "update", "a", "--env", "X=1").stdout == "a: updated\n"
    assert service.herosup("runner", "scale", "a", "2").stdout == "a: running\n"
    definition = service.rpc.call("get_runner", ["a"])
    assert (definition["env"], definition["instances"]) == ({"X": "1"}, 2)
    declared.write_text("runners = []\n")
    assert service.herosup("runner", "apply", "-f", str(declared), "--prune").stdout == "a: removed\n"


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
