"""The unit that is shipped, installed as a package would, in a machine that is thrown away."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.rpc_client import RpcClient
from tests.conftest import missing
from tests.e2e.conftest import BIN, IS_ROOT, eventually, systemctl

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
UNIT = "hero-supervisor.service"
SOCKET = "unix:///run/hero-supervisor/api.sock"

pytestmark = pytest.mark.timeout(120)


def _is_throw_away_machine() -> bool:
    virt = subprocess.run(
        ["systemd-detect-virt", "--container"], capture_output=True, text=True, timeout=10, check=False
    )
    return IS_ROOT and virt.stdout.strip() == "systemd-nspawn"


@pytest.fixture(autouse=True)
def throw_away_machine() -> None:
    """What these tests install has its real names, so they need a machine of their own."""
    if not _is_throw_away_machine():
        missing("this is not a throw-away machine; as root, run: make e2e")


@pytest.fixture
def port() -> Iterator[int]:
    """The unit installed and started on a port that nothing else on the host's network has."""
    port = 13030
    unit = Path("/run/systemd/system") / UNIT
    drop_in = unit.with_name(f"{UNIT}.d") / "test.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    # The project may be below /tmp, of which the unit has its own.
    own = f'ExecStart=\nExecStart="{BIN}/hero-supervisor" --port {port}\nBindReadOnlyPaths="{PROJECT}"\n'
    drop_in.write_text(f"[Service]\n{own}")
    unit.write_text((PROJECT / "units" / UNIT).read_text())
    systemctl("daemon-reload")
    try:
        systemctl("start", UNIT)
        yield port
    finally:
        systemctl("stop", UNIT, "hero.slice", is_checked=False)
        drop_in.unlink()
        drop_in.parent.rmdir()
        unit.unlink()
        systemctl("daemon-reload")


def test_the_hardened_service_supervises_runs_jobs_and_reads_the_journal(port: int) -> None:
    call = RpcClient(SOCKET).call
    call("add_runner", {"id": "sh", "executor": "shell"})
    assert call("start_runner", ["sh"])["status"] == "running"
    result = call("queue_and_wait", {"runner": "sh", "job": {"payload": "echo from the shipped unit"}})
    assert result["result"] == "from the shipped unit\n"
    job_id = result["job_id"]
    eventually(lambda: call("get_runner_logs", {"runner": "sh", "job_id": job_id}))
    eventually(lambda: [each["result"] for each in call("get_audit_log", {"method": "start_runner"})] == ["ok"])
    assert systemctl("show", "--value", "--property=StatusText", UNIT) == f"listening on 127.0.0.1 port {port}"


def test_the_hardened_service_gives_its_socket_to_its_group(port: int) -> None:
    _ = port
    socket = Path(SOCKET.removeprefix("unix://"))
    assert socket.group() == "root"
    subprocess.run(["groupadd", "--system", "hero-supervisor"], check=True, timeout=20)
    try:
        systemctl("restart", UNIT)
        assert (socket.group(), socket.stat().st_mode & 0o777) == ("hero-supervisor", 0o660)
        assert socket.parent.stat().st_mode & 0o777 == 0o755
    finally:
        subprocess.run(["groupdel", "hero-supervisor"], check=True, timeout=20)


def test_the_watchdog_ends_a_service_that_hangs_and_runners_run_on(port: int) -> None:
    call = RpcClient(SOCKET).call
    call("add_runner", {"id": "a", "command": ["/bin/sleep", "infinity"]})
    before = call("start_runner", ["a"])
    pid = int(systemctl("show", "--value", "--property=MainPID", UNIT))
    assert systemctl("show", "--value", "--property=WatchdogUSec", UNIT) == "30s"
    os.kill(pid, 6)  # what the watchdog sends, without its half minute
    eventually(lambda: int(systemctl("show", "--value", "--property=MainPID", UNIT)) not in {0, pid}, timeout_s=15)
    eventually(lambda: systemctl("is-active", UNIT, is_checked=False) == "active", timeout_s=15)
    assert call("get_runner_status", ["a"]) == before


def test_a_user_without_rights_has_all_of_it_on_the_user_manager(tmp_path_factory: pytest.TempPathFactory) -> None:
    user, port = "hero-e2e", 13031
    subprocess.run(["useradd", "--create-home", user], check=True, timeout=20)
    subprocess.run(["loginctl", "enable-linger", user], check=True, timeout=20)
    uid = pwd.getpwnam(user).pw_uid
    eventually(lambda: Path(f"/run/user/{uid}/bus").exists(), timeout_s=15)
    run = ["systemd-run", f"--machine={user}@", "--user", "--quiet", "--unit=hero-supervisor", "--service-type=notify"]
    service = [str(BIN / "hero-supervisor"), "--port", str(port)]
    done = subprocess.run([*run, *service], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    call = RpcClient(f"unix:///run/user/{uid}/hero-supervisor/api.sock").call
    try:
        call("add_runner", {"id": "py", "executor": "python"})
        status = call("start_runner", ["py"])
        assert Path(f"/proc/{status['main_pid']}").stat().st_uid == uid
        job = {"payload": "import os; print(os.getuid())"}
        result = call("queue_and_wait", {"runner": "py", "job": job})
        assert result["result"] == f"{uid}\n"
        eventually(lambda: call("get_runner_logs", {"runner": "py", "job_id": result["job_id"]}))
        assert call("stop_runner", ["py"])["status"] == "stopped"
        # Root called; what was done is in the user's own journal.
        eventually(lambda: [each["who"] for each in call("get_audit_log", {"method": "stop_runner"})] == ["uid 0"])
    finally:
        subprocess.run(["loginctl", "disable-linger", user], check=True, timeout=20)
        subprocess.run(["loginctl", "terminate-user", user], check=False, timeout=20)
        eventually(lambda: not Path(f"/run/user/{uid}").exists(), timeout_s=15)
        subprocess.run(["userdel", "--remove", user], check=False, timeout=20)
