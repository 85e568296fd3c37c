"""The programs we compare with, supervisord and circusd, which keep processes as children of their own.

``packaging/dev/setup bench`` installs them. What is not installed, or does not run, is said in the report and left out.
"""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any
from xmlrpc import client as xmlrpc

import pytest

from tests.e2e.conftest import BIN, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.benchmarks.keep_alive import Http

#: startsecs=0: a process counts as started at once, and is started again without a pause.
#: minfds: the default is too little for 300 processes.
SUPERVISORD = """\
    [inet_http_server]
    port=127.0.0.1:{port}
    [rpcinterface:supervisor]
    supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
    [supervisord]
    nodaemon=true
    user={user}
    logfile={directory}/supervisord.log
    pidfile={directory}/supervisord.pid
    childlogdir={directory}
    minfds=8192
    [program:{program}]
    command={command}
    numprocs={count}
    process_name={program}-%(process_num)d
    startsecs=0
    autorestart=true
"""
CIRCUS = """\
    [circus]
    endpoint=tcp://127.0.0.1:{port}
    pubsub_endpoint=tcp://127.0.0.1:{port2}
    [watcher:{program}]
    cmd={command}
    copy_env=True
    max_retry=-1
"""


async def answer_of(http: Http, method: str, *arguments: Any) -> bytes:
    """Make a call of supervisord's XML-RPC and return the answer as it came."""
    body = xmlrpc.dumps(arguments, f"supervisor.{method}").encode()
    return await http.post("/RPC2", "text/xml", body)


def result_in(answer: bytes) -> Any:
    """Return the result in an answer of XML-RPC."""
    ((result,), _) = xmlrpc.loads(answer.decode())
    return result


class Peers:
    """Starts peers, which end with the test."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack, capsys: pytest.CaptureFixture[str]) -> None:
        self._directory = directory
        self._stack = stack
        self._capsys = capsys

    def supervisord(self, program: str, command: str, *, count: int = 1) -> int | None:
        """Start supervisord with a group of processes and return its port; ``None`` when it cannot be had."""
        port = _free_port()
        config = SUPERVISORD.format(
            port=port,
            user=getpass.getuser(),
            directory=self._directory,
            program=program,
            command=command,
            count=count,
        )
        return port if self._runs("supervisord", ["--configuration"], config, port) else None

    def has_circus(self, program: str, command: str) -> bool:
        """Start circusd with a process; whether it can be had."""
        port = _free_port()
        config = CIRCUS.format(port=port, port2=_free_port(), program=program, command=command)
        return self._runs("circusd", [], config, port)

    def _runs(self, name: str, flags: list[str], config: str, port: int) -> bool:
        program = shutil.which(name, path=BIN)
        if program is None:
            return self._say(f"{name} is not installed; run: packaging/dev/setup bench")
        file, output = self._directory / f"{name}.ini", self._directory / f"{name}.out"
        file.write_text(textwrap.dedent(config))
        log = self._stack.enter_context(output.open("wb"))
        process = subprocess.Popen([program, *flags, str(file)], stdout=log, stderr=log)
        self._stack.callback(_end, process)
        eventually(lambda: _is_listening(port) or process.poll() is not None, timeout_s=30)
        if process.poll() is not None:
            return self._say(f"{name} does not run: {output.read_text()[-500:]}")
        return True

    def _say(self, what: str) -> bool:
        with self._capsys.disabled():
            print(f"\nno figures of a peer, with Python {sys.version.split()[0]}: {what}")
        return False


@pytest.fixture
def peers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Peers]:
    with contextlib.ExitStack() as stack:
        yield Peers(tmp_path, stack, capsys)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a peer stop its processes and end."""
    process.terminate()
    process.wait(timeout=300)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
