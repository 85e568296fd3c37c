"""Real sockets under a real server: who is at the other end, rights, stale and taken names, TLS."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hero_supervisor.app import _Server, listen
from hero_supervisor.errors import AddressUnavailable, InvalidSettings
from hero_supervisor.rpc import Peer
from hero_supervisor.rpc_client import RpcClient, ServiceUnreachable
from hero_supervisor.web import TlsFiles
from hero_supervisor.web.local_socket import MODE, local_socket
from hero_supervisor.web.peers import PeerProtocol, peer_in, peer_of
from hero_supervisor.web.tls import tls_context
from tests.tls_fixtures import self_signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class H11PeerProtocol(PeerProtocol, H11Protocol):
    """The one without httptools, also where that is installed."""


def _loops() -> list[Any]:
    try:
        import uvloop
    except ModuleNotFoundError:
        return [asyncio.new_event_loop]
    return [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run/api.sock"


async def tell_peer(scope: Any, receive: Any, send: Any) -> None:
    """Answer any call with what is known of the caller."""
    request = json.loads((await receive())["body"])
    peer = peer_in(scope)
    result = {"uid": peer.uid, "gid": peer.gid, "pid": peer.pid, "address": peer.address, "groups": list(peer.groups)}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-scheme", scope["scheme"].encode())]})
    body = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(
    path: Path, *, tls: ssl.SSLContext | None = None, protocol: type[asyncio.Protocol] = PeerProtocol
) -> AsyncIterator[int]:
    """Serve on TCP and on a unix socket; yield the port."""
    config = uvicorn.Config(tell_peer, http=protocol, log_config=None, lifespan="off", proxy_headers=False)
    config.load()
    config.ssl = tls
    sock = listen("127.0.0.1", 0)
    with local_socket(path) as local:
        server = _Server(config, local)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        try:
            yield sock.getsockname()[1]
        finally:
            server.end()
            await task
            sock.close()


async def call(url: str) -> dict[str, Any]:
    return dict(await asyncio.to_thread(RpcClient(url, timeout_s=10).call, "who"))


@pytest.mark.parametrize("new_loop", _loops(), ids=lambda loop: loop.__module__)
@pytest.mark.parametrize("protocol", [PeerProtocol, H11PeerProtocol])
def test_the_other_end_is_known_on_each_socket(
    path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], protocol: type[asyncio.Protocol]
) -> None:
    async def both() -> None:
        async with serving(path, protocol=protocol) as port:
            local, remote = await call(f"unix://{path}"), await call(f"http://127.0.0.1:{port}")
        assert (local["uid"], local["gid"], local["pid"]) == (os.geteuid(), os.getegid(), os.getpid())
        assert local["groups"] == os.getgroups()
        assert remote == {"uid": None, "gid": None, "pid": None, "address": "127.0.0.1", "groups": []}

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(both())
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")
async def test_another_user_is_known_with_its_groups(path: Path) -> None:
    program = (
        "import os, sys; os.setgroups([4242, 4243]); os.setgid(4711); os.setuid(4711)\n"
        "from hero_supervisor.rpc_client import RpcClient\n"
        "import json; print(json.dumps(RpcClient(sys.argv[1]).call('who')))"
    )
    async with serving(path):
        path.chmod(0o666)
        for directory in [path.parent, *path.parent.parents[:3]]:
            directory.chmod(0o755)
        # The interpreter may be where that user may not read: it has begun before it becomes that user.
        command = [sys.executable, "-c", f"import hero_supervisor.rpc_client\n{program}", f"unix://{path}"]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["uid"], told["gid"], told["groups"]) == (4711, 4711, [4242, 4243])


def test_without_a_connection_the_peer_is_nobody() -> None:
    assert peer_of(None) == Peer()
    with socket.socket() as sock:
        assert peer_of(sock) == Peer()
    assert peer_in({"client": ("203.0.113.9", 1)}) == Peer(address="203.0.113.9")
    assert peer_in({"client": None, "state": {}}) == Peer()


# -- the name --------------------------------------------------------------------------------------------------------


def test_the_socket_has_its_rights_and_goes_away(path: Path) -> None:
    gid = os.getegid()
    umask = os.umask(0o077)
    try:
        with local_socket(path, gid=gid):
            mode = path.lstat()
            assert stat.S_ISSOCK(mode.st_mode)
            assert (stat.S_IMODE(mode.st_mode), mode.st_gid) == (MODE, gid)
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
            assert [each.name for each in path.parent.iterdir()] == [path.name]
    finally:
        os.umask(umask)
    assert not path.exists()


def test_a_stale_socket_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
    assert path.exists()
    with local_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_in_use_is_told_and_left(path: Path) -> None:
    with local_socket(path):
        with pytest.raises(AddressUnavailable, match=f"cannot listen on {path}: a service listens there already"):
            local_socket(path).__enter__()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@pytest.mark.parametrize("content", ["a file", None])
def test_what_is_no_socket_is_left_as_it_is(path: Path, content: str | None) -> None:
    path.parent.mkdir()
    path.mkdir() if content is None else path.write_text(content)
    with pytest.raises(AddressUnavailable, match="no socket"):
        local_socket(path).__enter__()
    assert path.exists()


def test_a_path_that_is_too_long_is_told(path: Path) -> None:
    long = path.parent / ("a" * 120)
    with pytest.raises(AddressUnavailable, match="too long") as failed:
        local_socket(long).__enter__()
    assert "--socket-path" in (failed.value.hint or "")
    assert list(path.parent.iterdir()) == []


def test_a_socket_that_another_service_has_put_there_since_is_not_removed(path: Path) -> None:
    with local_socket(path):
        path.unlink()
        path.write_text("somebody else's")
    assert path.exists()


# -- TLS -------------------------------------------------------------------------------------------------------------


async def test_tls_is_for_tcp_and_the_unix_socket_does_without(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = self_signed(tmp_path)
    async with serving(path, tls=tls_context(TlsFiles(made.cert, made.key))) as port:
        assert (await call(f"unix://{path}"))["uid"] == os.geteuid()
        with pytest.raises(ServiceUnreachable) as unknown:
            await call(f"https://localhost:{port}")
        assert "SSL_CERT_FILE" in (unknown.value.hint or "")
        monkeypatch.setenv("SSL_CERT_FILE", made.cert)
        assert (await call(f"https://localhost:{port}"))["address"] == "127.0.0.1"


async def test_callers_may_have_to_have_a_certificate(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, theirs = self_signed(tmp_path), self_signed(tmp_path, "client")
    monkeypatch.setenv("SSL_CERT_FILE", made.cert)
    async with serving(path, tls=tls_context(TlsFiles(made.cert, made.key, theirs.cert))) as port:
        with pytest.raises(ServiceUnreachable):
            await call(f"https://localhost:{port}")
        context = ssl.create_default_context(cafile=made.cert)
        context.load_cert_chain(theirs.cert, theirs.key)
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        writer.write(b'POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\n{"id": 1}')
        assert b'"address": "127.0.0.1"' in await reader.read()
        writer.close()
        await writer.wait_closed()


def test_files_that_are_no_good_for_tls_are_named(tmp_path: Path) -> None:
    good, other = self_signed(tmp_path), self_signed(tmp_path, "other")
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("nothing")
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", good.key, "-aes256", "-passout", "pass:x", "-out", str(locked)]
    subprocess.run(command, check=True, timeout=20, capture_output=True)
    cases = [
        (TlsFiles("/no/such", good.key), "tls_cert", "/no/such cannot be read: No such file"),
        (TlsFiles(good.cert, "/no/such"), "tls_key", "/no/such cannot be read"),
        (TlsFiles(good.cert, str(tmp_path)), "tls_key", "Is a directory"),
        (TlsFiles(good.cert, other.key), "tls_cert", "is not the certificate of the key"),
        (TlsFiles(str(no_pem), good.key), "tls_cert", "PEM"),
        (TlsFiles(good.cert, str(locked)), "tls_cert", "passphrase"),
        (TlsFiles(good.cert, good.key, str(no_pem)), "tls_client_ca", "no certificate"),
    ]
    for files, setting, text in cases:
        with pytest.raises(InvalidSettings, match=text) as failed:
            tls_context(files)
        assert [fault.path for fault in failed.value.faults] == [setting]
