"""Who may do what with a real service: by address, socket, key and secret; what is written down of it; TLS."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from hero_supervisor.rpc_client import RpcClient, RpcError
from tests.e2e.conftest import BIN, IS_ROOT, SCOPE, eventually
from tests.tls_fixtures import self_signed

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def service(stopped_service: Service) -> Service:
    """A service as it comes."""
    stopped_service.start_as_it_comes()
    return stopped_service


def denied(client: RpcClient, method: str, params: Any = None) -> RpcError:
    with pytest.raises(RpcError) as failed:
        client.call(method, params)
    return failed.value


def local(service: Service) -> RpcClient:
    return RpcClient(f"unix://{service.socket}", timeout_s=60)


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def audited(service: Service, **wanted: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = local(service).call("get_audit_log", wanted)
    return found


def test_over_tcp_one_may_read_and_is_told_what_to_do_for_more(service: Service) -> None:
    assert service.rpc.call("list_runners") == []
    error = denied(service.rpc, "start_runner", ["a"])
    assert (error.code, error.kind, error.facts["scope"]) == (-32030, "permission-denied", "admin")
    assert "it needs scope 'admin', and callers without a secret have 'read'" in error.message
    assert "herosup key create" in (error.hint or "")
    shown = service.herosup("runner", "start", "a")
    assert shown.returncode == 6
    assert "hint: show a key" in shown.stderr


def test_who_runs_the_service_may_do_everything_over_its_socket(service: Service) -> None:
    mode = service.socket.stat()
    assert (stat.S_IMODE(mode.st_mode), mode.st_uid) == (0o660, os.geteuid())
    local(service).call("add_runner", {"id": "a", "command": ["/bin/sleep", "infinity"]})
    assert local(service).call("start_runner", ["a"])["status"] == "running"
    done = run(str(BIN / "herosup"), "--url", f"unix:{service.socket}", "runner", "stop", "a")
    assert (done.returncode, done.stderr) == (0, "")
    curl = ("curl", "-sS", "--unix-socket", str(service.socket), "-H", "Content-Type: application/json")
    body = '{"jsonrpc": "2.0", "id": 1, "method": "remove_runner", "params": ["a"]}'
    assert json.loads(run(*curl, "-d", body, "http://any.name/").stdout) == {"jsonrpc": "2.0", "result": None, "id": 1}
    service.stop()
    assert not service.socket.exists()


def test_a_socket_that_a_killed_service_left_is_replaced(service: Service) -> None:
    service.kill()
    assert service.socket.exists()
    service.start_as_it_comes()
    assert local(service).call("list_keys") == []


@pytest.mark.skipif(not IS_ROOT, reason="only root may be somebody else")
def test_members_of_the_group_may_do_everything_over_the_socket_and_others_cannot_connect(
    stopped_service: Service,
) -> None:
    if run("systemd-detect-virt", "--container").stdout.strip() != "systemd-nspawn":
        pytest.skip("a group and users are made, which needs a throw-away machine")
    for command in (["groupadd", "--system", "hero-supervisor"], ["useradd", "hero-in", "-G", "hero-supervisor"]):
        subprocess.run(command, check=True, timeout=20)
    subprocess.run(["useradd", "hero-out"], check=True, timeout=20)
    try:
        stopped_service.start_as_it_comes()
        assert stopped_service.socket.group() == "hero-supervisor"
        body = '{"jsonrpc": "2.0", "id": 1, "method": "list_keys"}'
        curl = ["curl", "-sS", "--unix-socket", str(stopped_service.socket), "-H", "Content-Type: application/json"]
        member = run("setpriv", "--reuid=hero-in", "--regid=hero-in", "--init-groups", *curl, "-d", body, "http://x/")
        assert json.loads(member.stdout)["result"] == []
        as_other = ("setpriv", "--reuid=hero-out", "--regid=hero-out", "--init-groups")
        other = run(*as_other, *curl, "-d", body, "http://x/")
        assert (other.returncode, other.stdout) == (7, "")
        # Even if somebody opens it to all, it does not give them more than the address.
        stopped_service.socket.chmod(0o666)
        other = run(*as_other, *curl, "-d", body, "http://x/")
        assert json.loads(other.stdout)["error"]["code"] == -32030
    finally:
        for command in (["userdel", "hero-in"], ["userdel", "hero-out"], ["groupdel", "hero-supervisor"]):
            subprocess.run(command, check=False, timeout=20, capture_output=True)


def test_the_life_of_a_key(service: Service) -> None:
    root = [str(BIN / "herosup"), "--url", f"unix://{service.socket}"]
    made = run(*root, "key", "create", "ci", "--scope", "register")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    client = RpcClient(service.url, key, timeout_s=60)
    assert client.call("add_runner", {"id": "a", "command": ["/bin/sleep", "9"]})["status"] == "stopped"
    assert denied(client, "start_runner", ["a"]).facts == {"scope": "admin", "has": "register"}
    in_params = {"id": "b", "command": ["/bin/sleep", "9"], "secret": key}
    assert service.rpc.call("add_runner", in_params)["status"] == "stopped"
    checked = run(*root, "key", "verify", input=key)
    assert checked.stdout == "ci: register, until it is removed\n"
    assert service.rpc.call("auth.verify", {"key": key}) == {"valid": True, "name": "ci", "scope": "registrar"}
    (listed,) = json.loads(run(*root, "--json", "key", "list").stdout)
    assert listed["last_used_at"] is not None
    # It outlasts the service, whatever that dies of.
    service.kill()
    service.start_as_it_comes()
    assert client.call("list_runners") == ["a", "b"]
    keys_file = service.state_dir / "keys.json"
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600
    assert key not in keys_file.read_text()
    assert run(*root, "key", "create", "other").returncode == 0
    assert run(*root, "key", "remove", "ci").returncode == 0
    assert denied(client, "list_runners").kind == "wrong-secret"
    assert key[18:] not in service.journal()
    # The journal of others may be large, and not text.
    everything = f"journalctl {' '.join(SCOPE)} --output=export --since=-2min"
    found = run("sh", "-c", f"{everything} | grep --text --count --fixed-strings -e {key[18:]}")
    assert found.stdout == "0\n", found.stderr


def test_a_wrong_secret_is_told_by_http_and_held_up_while_others_are_not(service: Service) -> None:
    key = local(service).call("create_key", {"name": "ci", "scope": "admin"})["key"]
    wrong = "a-very-wrong-secret"
    curl = ["curl", "-sS", "-o", "/dev/stderr", "-w", "%{http_code}", "-H", "Content-Type: application/json"]
    curl += ["-d", '{"jsonrpc": "2.0", "id": 1, "method": "list_runners"}', service.url]
    first = run(*curl, "-H", f"Authorization: Bearer {wrong}")
    assert first.stdout == "401"
    assert json.loads(first.stderr)["error"]["data"]["kind"] == "wrong-secret"
    for _ in range(9):
        assert denied(RpcClient(service.url, wrong), "list_runners").code == -32031
    held_up = run(*curl, "-D", "/dev/stderr", "-H", f"Authorization: Bearer {wrong}")
    assert held_up.stdout == "429"
    assert "retry-after: " in held_up.stderr.lower()
    error = denied(RpcClient(service.url, wrong), "list_runners")
    assert (error.code, error.kind) == (-32032, "too-many-tries")
    assert denied(service.rpc, "verify_key", {"key": wrong}).kind == "too-many-tries"
    assert service.rpc.call("list_runners") == []
    assert RpcClient(service.url, key).call("stop_all") == []
    eventually(lambda: "wrong " + "secret came from 127.0.0.1" in service.journal())
    assert service.journal().count("secret came from") == 1
    assert wrong not in service.journal()


def test_what_was_done_can_be_read_again_by_the_method_and_in_the_journal(service: Service) -> None:
    client = local(service)
    key = client.call("create_key", {"name": "ci", "scope": "user"})["key"]
    client.call("add_runner", {"id": "a", "command": ["/bin/sleep", "9"], "env": {"PLAIN": "a-private-value"}})
    denied(service.rpc, "start_runner", {"runner": "a"})
    job = {"id": "job-1", "payload": "a-private-payload"}
    RpcClient(service.url, key).call("queue_job_to_runner", {"runner": "a", "job": job})
    denied(client, "stop_runner", ["nobody"])
    service.rpc.call("list_runners")
    eventually(lambda: len(audited(service)) >= 5)
    entries = audited(service)
    me = f"uid {os.geteuid()}"
    assert [(each["who"], each["method"], each["objects"], each["result"]) for each in entries[:5]] == [
        (me, "create_key", {"key": "ci"}, "ok"),
        (me, "add_runner", {"runner": "a"}, "ok"),
        ("anonymous", "start_runner", {"runner": "a"}, "permission-denied"),
        ("key ci", "queue_job_to_runner", {"runner": "a", "job": "job-1"}, "ok"),
        (me, "stop_runner", {"runner": "nobody"}, "runner-not-found"),
    ]
    assert [each["peer"] for each in entries[:4]] == [f"process {os.getpid()}"] * 2 + ["127.0.0.1"] * 2
    assert [each["method"] for each in audited(service, after_cursor=entries[1]["cursor"], limit=1)] == ["start_runner"]
    assert [each["method"] for each in audited(service, who="key ci")] == ["queue_job_to_runner"]
    assert audited(service, method="start_runner", since=entries[3]["at"]) == []
    command = ["journalctl", *SCOPE, "--output=json", f"HERO_AUDIT={service.namespace}", "HERO_AUDIT_WHO=key ci"]
    (line,) = run(*command).stdout.splitlines()
    assert json.loads(line)["MESSAGE"].endswith("called queue_job_to_runner on runner a, job job-1: ok")
    shown = run(str(BIN / "herosup"), "--url", f"unix://{service.socket}", "audit", "--who", "key ci")
    assert shown.stdout.splitlines()[1].split()[2:8] == [
        "key",
        "ci",
        "127.0.0.1",
        "queue_job_to_runner",
        "runner",
        "a,",
    ]
    journal = run("journalctl", *SCOPE, "--output=export", "--since=-5min", f"HERO_AUDIT={service.namespace}").stdout
    for private in ("a-private-value", "a-private-payload", key):
        assert private not in journal


def test_forged_entries_do_not_count(service: Service) -> None:
    forged = f"HERO_AUDIT={service.namespace}\nHERO_AUDIT_WHO=uid 0\nHERO_AUDIT_PEER=x\nHERO_AUDIT_METHOD=stop_all\n"
    forged += "HERO_AUDIT_OBJECTS={}\nHERO_AUDIT_RESULT=ok\nHERO_AUDIT_DURATION_USEC=1\nMESSAGE=forged\n"
    subprocess.run(["logger", "--journald"], input=forged, text=True, check=True, timeout=20)
    local(service).call("get_audit_log")
    eventually(lambda: audited(service, method="get_audit_log"))
    assert audited(service, method="stop_all") == []


def test_other_machines_are_not_let_in_by_accident(stopped_service: Service, tmp_path: Path) -> None:
    made = self_signed(tmp_path)
    program = [str(BIN / "hero-supervisor"), "--port", str(stopped_service.port), "--bind-address", "0.0.0.0"]  # noqa: S104
    program += ["--state-dir", str(stopped_service.state_dir), "--namespace", stopped_service.namespace]
    tls = ["--tls-cert", made.cert, "--tls-key", made.key]
    for flags, text in (
        ([], "bind_address: is reachable from other machines, which needs tls_cert and tls_key"),
        (tls, "bind_address: is reachable from other machines, which needs admin_secrets, or a key"),
        (["--insecure-tcp", "true"], "bind_address: is reachable from other machines, which needs admin_secrets"),
        ([*tls, "--anonymous-scope", "admin"], "anonymous_scope: must be none or read"),
        (["--tls-cert", made.cert], "tls_key: is needed as well"),
        (["--bind-address", "127.0.0.1", "--tls-cert", made.key, "--tls-key", made.key], "tls_cert: "),
    ):
        done = run(*program, *flags)
        assert done.returncode == 2, (flags, done.stderr)
        assert text in done.stderr
        assert "Traceback" not in done.stderr


def test_tls_with_a_key_made_beforehand(service: Service, tmp_path: Path) -> None:
    made = self_signed(tmp_path)
    key = local(service).call("create_key", {"name": "far", "scope": "admin"})["key"]
    service.stop()
    service.start_as_it_comes("--bind-address", "0.0.0.0", "--tls-cert", made.cert, "--tls-key", made.key)  # noqa: S104
    url = f"https://localhost:{service.port}"
    curl = ["curl", "-sS", "--cacert", made.cert, "-H", "Content-Type: application/json", url, "-d"]
    curl += ['{"jsonrpc": "2.0", "id": 1, "method": "list_keys"}']
    assert json.loads(run(*curl).stdout)["error"]["code"] == -32030
    found = json.loads(run(*curl, "-H", f"Authorization: Bearer {key}").stdout)
    assert [each["name"] for each in found["result"]] == ["far"]
    assert run(*[word.replace("https", "http") for word in curl]).returncode != 0
    herosup = [str(BIN / "herosup"), "--url", url, "--token", key, "key", "list"]
    assert "SSL_CERT_FILE" in run(*herosup).stderr
    assert "far" in run(*herosup, env={**os.environ, "SSL_CERT_FILE": made.cert}).stdout
    assert "far" in run(str(BIN / "herosup"), "--url", f"unix://{service.socket}", "key", "list").stdout


def test_herosup_finds_the_socket_by_itself(stopped_service: Service, tmp_path: Path) -> None:
    base = Path("/run" if IS_ROOT else os.environ["XDG_RUNTIME_DIR"])
    socket = base / "hero-supervisor/api.sock"
    if socket.exists():
        pytest.skip("a service of this machine has it")
    stopped_service.start_as_it_comes("--socket-path", str(socket))
    environ = {name: value for name, value in os.environ.items() if name not in {"HEROSUP_URL", "HEROSUP_TOKEN"}}
    done = run(str(BIN / "herosup"), "key", "create", "ci", env=environ)
    assert (done.returncode, done.stdout[:5]) == (0, "hero_"), done.stderr
    second = [
        str(BIN / "hero-supervisor"),
        "--port",
        "0",
        "--state-dir",
        str(tmp_path / "s"),
        "--namespace",
        "othertest",
    ]
    taken = run(*second, "--socket-path", str(socket))
    assert taken.returncode == 1
    assert f"cannot listen on {socket}: a service listens there already" in taken.stderr


def test_secrets_of_the_settings_are_nowhere_to_be_seen(stopped_service: Service, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('admin_secrets = ["the-admins-own-secret"]\nanonymous_scope = "none"\n')
    stopped_service.start_as_it_comes("--config", str(config))
    assert denied(stopped_service.rpc, "list_runners").facts == {"scope": "read", "has": "none"}
    admin = RpcClient(stopped_service.url, "the-admins-own-secret", timeout_s=60)
    admin.call("add_runner", {"id": "a", "executor": "shell"})
    admin.call("start_runner", ["a"])
    job = {"runner": "a", "job": {"payload": "env; cat /proc/self/environ"}}
    result = admin.call("queue_and_wait", job)["result"]
    denied(RpcClient(stopped_service.url), "stop_all", {"secret": "the-admins-own-secret-but-not"})
    eventually(lambda: len(audited(stopped_service)) >= 3)
    places = [result, stopped_service.journal(), json.dumps(audited(stopped_service))]
    places += [json.dumps(admin.call(method)) for method in ("get_health", "get_all_status", "rpc.discover")]
    assert not [place for place in places if "the-admins-own-secret" in place]
    assert [each["who"] for each in audited(stopped_service, method="start_runner")] == ["admin_secrets"]


@pytest.mark.parametrize("how", ["removed", "expired"])
def test_what_is_open_ends_with_the_key_by_which_it_was_opened(service: Service, how: str) -> None:
    admin = local(service)
    admin.call("create_key", ["other", "read"])  # where there is none, any is of no account
    wanted = {"name": "ci", "scope": "admin"} | ({"expires_in_s": 2} if how == "expired" else {})
    headers = {"Authorization": f"Bearer {admin.call('create_key', wanted)['key']}"}
    stream = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    stream.request("GET", "/events", headers=headers)
    events = stream.getresponse()
    assert events.status == 200
    with contextlib.closing(stream), connect(f"ws://127.0.0.1:{service.port}/ws", additional_headers=headers) as socket:
        request = '{"jsonrpc": "2.0", "id": 1, "method": "start_all"}'
        socket.send(request)
        assert '"result"' in str(socket.recv(timeout=20))
        if how == "removed":
            admin.call("remove_key", ["ci"])
            with contextlib.suppress(ConnectionClosed):
                socket.send(request)  # it is closed already, or this is not answered
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        assert events.read().startswith(b"retry: ")  # until its end
    assert (
        denied(RpcClient(service.url, headers["Authorization"].removeprefix("Bearer ")), "list_runners").code == -32031
    )
