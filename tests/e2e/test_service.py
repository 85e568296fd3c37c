"""The service from outside: start, calls, end, crash, and the outages of what it stands on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hero_supervisor.errors import HeroError
from hero_supervisor.rpc_client import RpcClient, RpcError
from tests.e2e.conftest import BIN, IS_ROOT, Service, eventually, systemctl

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(120)

PROGRAM = (str(BIN / "hero-supervisor"),)


def _error(service: Service, method: str, params: object) -> RpcError:
    with pytest.raises(RpcError) as caught:
        service.rpc.call(method, params)
    return caught.value


def test_the_originals_curl_line_is_answered(service: Service) -> None:
    command = ["curl", "-sS", "-X", "POST", "-H", "Content-Type: application/json"]
    body = '{"jsonrpc":"2.0","method":"list_runners","id":1}'
    done = subprocess.run([*command, "-d", body, service.url], capture_output=True, timeout=10, check=True)
    assert json.loads(done.stdout) == {"jsonrpc": "2.0", "result": [], "id": 1}


def test_a_runner_runs_in_its_unit_and_its_lines_are_in_the_journal(service: Service) -> None:
    status = service.add("a", command=["/bin/sh", "-c", "echo hello from $HERO_RUNNER; exec sleep infinity"])
    assert (status["status"], status["active_state"], status["sub_state"]) == ("running", "active", "running")
    assert status["main_pid"] == int(service.show("MainPID", status["unit"]))
    assert status["invocation_id"] == service.show("InvocationID", status["unit"])
    assert service.show("Slice", status["unit"]) == f"{service.namespace}-runners.slice"

    def messages() -> list[str]:
        return [record["message"] for record in service.rpc.call("get_runner_logs", {"runner": "a"})]

    eventually(lambda: "hello from a" in messages())


def test_the_twelve_methods_of_the_original_work_together(service: Service) -> None:
    call = service.rpc.call
    call("add_runner", {"id": "a", "executor": "shell"})
    call("add_runner", {"id": "b", "command": ["/bin/sleep", "infinity"]})
    assert call("list_runners") == ["a", "b"]
    assert call("start_runner", {"actor_id": "a"})["status"] == "running"
    assert call("get_runner_status", ["a"])["status"] == "running"
    assert [outcome["status"] for outcome in call("start_all")] == ["running", "running"]
    assert [status["id"] for status in call("get_all_runner_status")] == ["a", "b"]
    assert call("get_all_status")["counts"]["running"] == 2
    job_id = call("queue_job_to_runner", {"runner_name": "a", "job": {"payload": "echo 1"}})
    eventually(lambda: call("get_job_status", [job_id]) == "finished")
    assert call("get_runner_logs", {"runner": "a", "job_id": job_id})[0]["message"] == "1"
    assert call("stop_runner", {"id": "a"})["status"] == "stopped"
    assert [outcome["status"] for outcome in call("stop_all")] == ["stopped", "stopped"]
    assert call("get_all_status")["runners"] == {"a": "stopped", "b": "stopped"}
    call("remove_runner", {"name": "a"})
    assert call("list_runners") == ["b"]


def test_every_wrong_call_has_its_own_code(service: Service) -> None:
    service.rpc.call("add_runner", {"id": "a", "command": ["/no/such/program"]})
    found = {
        "unknown runner": _error(service, "start_runner", ["nobody"]),
        "duplicate runner": _error(service, "add_runner", {"id": "a", "command": ["/bin/true"]}),
        "bad definition": _error(service, "add_runner", {"id": "b", "command": ["x/y"], "env": {"A-": "1"}}),
        "missing command": _error(service, "start_runner", ["a"]),
    }
    assert {cause: error.code for cause, error in found.items()} == {
        "unknown runner": -32001,
        "duplicate runner": -32003,
        "bad definition": -32602,
        "missing command": -32012,
    }
    assert "'nobody'" in found["unknown runner"].message
    assert "'a'" in found["duplicate runner"].message
    assert "command[0]" in found["bad definition"].message
    assert "env.A-" in found["bad definition"].message
    assert "/no/such/program" in found["missing command"].message
    # It is not tried over and over.
    assert service.rpc.call("get_runner_status", ["a"])["status"] == "backoff"


HOSTILE = [
    "$HOME",
    "${HOME}",
    "$$",
    "%n",
    "%%",
    "a \"b\" 'c'",
    "line\nline",
    "tab\t",
    "",
    "ünï→😀",
    "\\x41",
    " x ",
    "-",
]


def test_hostile_arguments_and_variables_reach_the_process_byte_for_byte(service: Service) -> None:
    big = "x" * 100_000
    env = {f"V{number}": value for number, value in enumerate(HOSTILE)}
    status = service.add("a", command=["/bin/sh", "-c", "sleep inf; true", *HOSTILE, big], env=env)
    process = Path(f"/proc/{status['main_pid']}")
    words = (process / "cmdline").read_bytes().split(b"\0")[:-1]
    assert words[3:] == [*(word.encode() for word in HOSTILE), big.encode()]
    variables = (process / "environ").read_bytes().split(b"\0")
    for name, value in env.items():
        assert f"{name}={value}".encode() in variables


def test_runners_survive_sigterm_and_are_adopted(service: Service) -> None:
    before = service.add("a")
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < 5
    assert service.show("MainPID", before["unit"]) == str(before["main_pid"])
    service.start()
    assert service.rpc.call("get_runner_status", ["a"]) == before


def test_a_stop_does_not_wait_for_calls_in_flight(service: Service) -> None:
    service.add("a")
    params = {"runner": "a", "job": {"payload": "nobody takes this"}, "timeout": 600}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.rpc.call, "queue_and_wait", params)
        eventually(lambda: service.rpc.call("list_jobs"))
        began = time.monotonic()
        service.stop()
        assert time.monotonic() - began < 5
        assert isinstance(waiting.exception(), HeroError)


def test_twenty_runners_survive_kill_9_of_the_supervisor(service: Service) -> None:
    ids = [f"r{number}" for number in range(20)]
    for id in ids[:-1]:
        service.rpc.call("add_runner", {"id": id, "command": ["/bin/sh", "-c", "echo up; exec sleep infinity"]})
    service.rpc.call("add_runner", {"id": ids[-1], "executor": "shell"})
    service.rpc.call("start_all")
    before = service.rpc.call("get_all_runner_status")
    service.kill()
    service.start()
    after = service.rpc.call("get_all_runner_status")
    assert after == before
    assert {status["status"] for status in after} == {"running"}
    messages = [record["message"] for record in service.rpc.call("get_runner_logs", {"runner": "r3"})]
    assert "up" in messages
    result = service.rpc.call("queue_and_wait", {"runner": ids[-1], "job": {"payload": "echo still here"}})
    assert result["result"] == "still here\n"
    assert service.rpc.call("stop_runner", ["r0"])["status"] == "stopped"


def test_fifty_waiting_callers_get_their_own_results(service: Service) -> None:
    for id in ("a", "b"):
        service.add(id, executor="shell")

    def run(number: int) -> tuple[int, str]:
        params = {"runner": "ab"[number % 2], "job": {"payload": f"echo {number}"}}
        return number, RpcClient(service.url, timeout_s=60).call("queue_and_wait", params)["result"]

    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(run, range(50)))
    assert results == [(number, f"{number}\n") for number in range(50)]


def test_a_taken_port_is_named(stopped_service: Service) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*PROGRAM, "--port", str(port), "--state-dir", str(stopped_service.state_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_service_on_the_same_state_directory_is_refused(service: Service) -> None:
    command = [*PROGRAM, "--port", "0", "--state-dir", str(service.state_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert f"process id {service.show('MainPID')}" in done.stderr


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--port", "x"], "port: expected `int`"),
        (["--namespace", "A-B"], "namespace"),
        (["--redis-url", "mysql://localhost"], "redis_url"),
        (["--bind-address", "0.0.0.0"], "bind_address"),  # noqa: S104  # it is refused
        (["--config", "/no/such/file"], "/no/such/file"),
    ],
)
def test_wrong_settings_end_with_status_2_and_their_path(flags: list[str], text: str, tmp_path: Path) -> None:
    command = [*PROGRAM, "--state-dir", str(tmp_path), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_redis_that_stops_is_named_and_used_again_when_it_is_back(service: Service) -> None:
    service.add("a", executor="shell")
    redis = f"{service.namespace}-redis.service"
    pid = int(service.show("MainPID", redis))
    os.kill(pid, signal.SIGSTOP)
    error = _error(service, "queue_job_to_runner", {"runner": "a", "job": {"payload": "echo 1"}})
    assert (error.code, error.kind) == (-32021, "redis-unavailable")
    assert service.rpc.call("get_runner_status", ["a"])["status"] == "running"
    health = httpx.get(f"{service.url}/readyz", timeout=10)
    assert (health.status_code, health.json()["is_ready"], health.json()["systemd"]) == (503, False, None)
    assert "redis" in health.json()["redis"].lower() or "no answer" in health.json()["redis"]
    assert httpx.get(f"{service.url}/healthz").text == "ok\n"
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: service.show("MainPID", redis) not in {"0", str(pid)})

    def runs_a_job() -> bool:
        try:
            params = {"runner": "a", "job": {"payload": "echo back"}}
            return bool(service.rpc.call("queue_and_wait", params)["result"] == "back\n")
        except RpcError:
            return False

    eventually(runs_a_job, timeout_s=20)
    assert service.rpc.call("get_health") == {"is_ready": True, "systemd": None, "redis": None}
    assert httpx.get(f"{service.url}/readyz").status_code == 200


class Proxy:
    """A way to the bus that can be cut."""

    def __init__(self, path: Path, target: str) -> None:
        self.address = f"unix:path={path}"
        self._path = path
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._writers: list[asyncio.StreamWriter] = []
        self._run(self._open())

    def _run(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_unix_server(self._connect, self._path)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._target)
        self._writers += [writer, back]
        await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer), return_exceptions=True)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _cut(self) -> None:
        self._server.close()
        self._path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=5)

    def cut(self) -> None:
        """Close every connection and let nobody connect."""
        self._run(self._cut())

    def mend(self) -> None:
        """Let connections through again."""
        self._run(self._open())

    def close(self) -> None:
        """End the proxy."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    target = "/run/dbus/system_bus_socket" if IS_ROOT else f"{os.environ['XDG_RUNTIME_DIR']}/bus"
    proxy = Proxy(tmp_path / "bus", target)
    yield proxy
    proxy.close()


def test_a_lost_bus_is_named_and_used_again_when_it_is_back(stopped_service: Service, proxy: Proxy) -> None:
    stopped_service.start("--bus-address", proxy.address)
    before = stopped_service.add("a")
    proxy.cut()
    error = _error(stopped_service, "get_runner_status", ["a"])
    assert (error.code, error.kind) == (-32020, "systemd-unavailable")
    health = stopped_service.rpc.call("get_health")
    assert (health["is_ready"], health["redis"]) == (False, None)
    assert health["systemd"].startswith("cannot reach")
    assert stopped_service.rpc.call("list_runners") == ["a"]
    proxy.mend()

    def is_back() -> bool:
        try:
            return bool(stopped_service.rpc.call("get_runner_status", ["a"]) == before)
        except RpcError:
            return False

    eventually(is_back, timeout_s=15)
    assert stopped_service.rpc.call("stop_runner", ["a"])["status"] == "stopped"


def test_a_runner_that_exits_is_started_again_and_one_that_loops_is_given_up(service: Service) -> None:
    service.add("a", restart_delay_s=0)
    first = service.rpc.call("get_runner_status", ["a"])["main_pid"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: service.rpc.call("get_runner_status", ["a"])["main_pid"] not in {first, None})
    assert service.rpc.call("get_runner_status", ["a"])["restarts"] == 1
    # Not at once, or it might end before systemd calls it started.
    fails = ["/bin/sh", "-c", "sleep 0.2; exit 1"]
    backoff = {"fast_retries": 2, "delay_s": 0.5, "give_up_after": 1}
    service.add("b", command=fails, restart_delay_s=0.05, backoff=backoff)
    eventually(lambda: service.rpc.call("get_runner_status", ["b"])["next_start"])
    eventually(lambda: service.rpc.call("get_runner_status", ["b"])["status"] == "failed")
    status = service.rpc.call("get_runner_status", ["b"])
    assert (status["result"], status["exit_status"]) == ("exit-code", 1)
    service.add("c", command=fails, restart_delay_s=60)
    eventually(lambda: service.rpc.call("get_runner_status", ["c"])["status"] == "backoff")


def test_everything_of_a_runner_dies_with_it(service: Service) -> None:
    script = "setsid sh -c 'trap \"\" TERM; sleep 1000' & exec sleep infinity"
    status = service.add("a", command=["/bin/sh", "-c", script], stop_timeout_s=0.5)
    cgroup = Path("/sys/fs/cgroup") / service.show("ControlGroup", status["unit"]).lstrip("/")
    stopped = service.rpc.call("stop_runner", ["a"])
    assert stopped["status"] in {"stopped", "failed"}
    assert not cgroup.exists()


def test_secrets_close_what_they_should(stopped_service: Service, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('admin_secrets = ["root"]\nuser_secrets = ["joe"]\n')
    stopped_service.start_as_it_comes("--config", str(config))
    assert stopped_service.rpc.call("list_runners") == []
    assert _error(stopped_service, "stop_all", None).code == -32030
    assert RpcClient(stopped_service.url, token="root").call("stop_all") == []


def test_declared_runners_start_with_the_service(stopped_service: Service, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[[runners]]\nid = "a"\nexecutor = "shell"\n[[actors]]\nid = "b"\nbinary_path = "/bin/sleep"\n')
    stopped_service.start("--config", str(config))
    assert stopped_service.rpc.call("list_runners") == ["a", "b"]
    eventually(lambda: stopped_service.rpc.call("get_runner_status", ["a"])["status"] == "running")


def test_what_was_stopped_together_with_the_supervisor_runs_again_with_the_next(service: Service) -> None:
    ids = [f"a{number}" for number in range(20)]
    for id in ids:
        service.add(id)
    systemctl("stop", service.unit, f"{service.namespace}.slice")
    service.start()
    eventually(lambda: _running(service) == set(ids), timeout_s=20)


@pytest.mark.skipif(not IS_ROOT, reason="a user's manager does not log that a run ended well")
def test_what_ended_well_while_the_supervisor_was_away_is_not_started_again(service: Service, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    command = ["/bin/sh", "-c", f"read line < {gate}"]
    service.add("once", command=command, restart="on-failure", sandbox="trusted")
    unit = f"{service.namespace}-runner-once.service"
    service.kill()
    gate.write_text("go\n")
    eventually(lambda: service.show("ActiveState", unit) == "inactive")
    service.start()
    eventually(lambda: service.rpc.call("get_runner_status", ["once"])["desired"] == "ended", timeout_s=20)
    assert len(service.rpc.call("get_runner_exits", ["once"])) == 1
    assert service.rpc.call("start_runner", ["once"])["status"] == "running"


def _running(service: Service) -> set[str]:
    return {each["id"] for each in service.rpc.call("get_all_runner_status") if each["status"] == "running"}


@pytest.mark.skipif(not IS_ROOT, reason="only the system manager makes users")
def test_a_job_runs_under_a_user_of_its_runners_own(service: Service) -> None:
    status = service.add("py", executor="python")
    job = {"payload": "import os; print(os.getuid(), os.environ.get('HERO_REDIS_URL'))"}
    result = service.rpc.call("queue_and_wait", {"runner": "py", "job": job})["result"]
    owner = Path(f"/proc/{status['main_pid']}").stat().st_uid
    assert 61184 <= owner <= 65519
    assert result == f"{owner} None\n"


def test_the_sandbox_of_runners_that_name_none_is_a_setting(stopped_service: Service) -> None:
    stopped_service.start("--default-sandbox", "trusted")
    status = stopped_service.add("a")
    assert Path(f"/proc/{status['main_pid']}").stat().st_uid == os.getuid()
    assert stopped_service.show("ProtectSystem", status["unit"]) == "no"


def test_what_cannot_be_done_here_is_told_when_a_runner_is_added(service: Service, tmp_path: Path) -> None:
    error = _error(service, "add_runner", {"id": "a", "command": [f"{tmp_path}/program"]})
    assert error.code == -32602
    assert "command[0]" in error.message
    assert "sandbox" in error.message


@pytest.mark.skipif(not IS_ROOT, reason="only the system manager makes users")
def test_a_program_that_a_dynamic_user_cannot_reach_is_told_when_its_runner_is_added(service: Service) -> None:
    closed = Path("/opt") / service.namespace
    closed.mkdir(mode=0o700)
    try:
        shutil.copy("/bin/sleep", closed / "sleep")
        error = _error(service, "add_runner", {"id": "a", "command": [str(closed / "sleep"), "9"]})
        assert f"{closed} is closed to other users" in error.message
        added = service.rpc.call(
            "add_runner", {"id": "a", "command": [str(closed / "sleep"), "9"], "sandbox": "trusted"}
        )
        assert added["status"] == "stopped"
    finally:
        shutil.rmtree(closed)


def test_a_credential_reaches_its_runner_and_nobody_else(service: Service, tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    # Not by cat: a user's journal may lose the unit of a line whose process has ended.
    script = "read -r key <$CREDENTIALS_DIRECTORY/key; echo $key; exec sleep infinity"
    status = service.add("a", command=["/bin/sh", "-c", script], credentials={"key": str(secret)})

    def messages() -> list[str]:
        return [record["message"] for record in service.rpc.call("get_runner_logs", {"runner": "a"})]

    eventually(lambda: "s3cret" in messages())
    assert "s3cret" not in systemctl("show", status["unit"])
