"""Redis over TLS: the server is checked, and jobs go through it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hero_supervisor.client import JobClient
from hero_supervisor.errors import RedisUnavailable
from hero_supervisor.job import Job, JobStatus
from tests.conftest import missing
from tests.redis_fixtures import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A server's certificate for localhost and 127.0.0.1, its key, and who signed it. They are for this test alone.
TLS = Path(__file__).parent / "data/tls"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A redis-server that speaks TLS only."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    program = shutil.which("redis-server") or missing("there is no program redis-server")
    words = [
        "--port",
        "0",
        "--tls-port",
        str(port),
        "--bind",
        "127.0.0.1 127.0.0.2",
        "--dir",
        str(tmp_path),
        "--save",
        "",
    ]
    words += ["--tls-cert-file", str(TLS / "server.pem"), "--tls-key-file", str(TLS / "server.key")]
    words += ["--tls-ca-cert-file", str(TLS / "ca.pem"), "--tls-auth-clients", "no"]
    server = subprocess.Popen([program, *words], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if "Ready to accept connections" in line:
            break
        if "Failed to configure TLS" in line or "Bad directive" in line:
            missing("this redis-server cannot speak TLS")
    yield port
    server.kill()
    server.wait()
    server.stdout.close()


async def test_jobs_go_through_an_encrypted_connection(port: int) -> None:
    url = f"rediss://localhost:{port}?ssl_ca_certs={TLS / 'ca.pem'}"
    async with JobClient.connect(url) as client:
        await client.enqueue(Job(id="j", payload="x", runner="r"))
        await client.set_job_result("j", "done")

        async def has_ended() -> bool:
            return (await client.wait_for_result("j", timeout_s=5)).status is JobStatus.FINISHED

        await eventually(has_ended)


@pytest.mark.parametrize("options", ["", "?ssl_ca_certs=/etc/ssl/certs/ca-certificates.crt"])
async def test_a_server_that_nobody_vouches_for_is_refused(port: int, options: str) -> None:
    if options and not Path("/etc/ssl/certs/ca-certificates.crt").exists():
        missing("there are no certificates of authorities")
    async with JobClient.connect(f"rediss://localhost:{port}{options}") as client:
        with pytest.raises(RedisUnavailable, match="certificate verify failed"):
            await client.ping()


async def test_a_server_of_another_name_is_refused(port: int) -> None:
    url = f"rediss://127.0.0.2:{port}?ssl_ca_certs={TLS / 'ca.pem'}"
    async with JobClient.connect(url) as client:
        with pytest.raises(RedisUnavailable, match="certificate verify failed"):
            await client.ping()
