"""The installed program in a booted system: a service of its own for each test, gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.rpc_client import RpcClient
from tests.conftest import missing
from tests.systemd_fixtures import forget_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BIN = Path(sys.executable).parent
IS_ROOT = os.geteuid() == 0
SCOPE = [] if IS_ROOT else ["--user"]


def systemctl(*arguments: str, is_checked: bool = True) -> str:
    """Run systemctl on the manager that the tests use, and return what it prints."""
    command = ["systemctl", *SCOPE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 or not is_checked, done.stderr
    return done.stdout.strip()


def eventually(is_so: Callable[[], object], *, timeout_s: float = 5) -> None:
    """Wait for something that no event tells of."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


class Service:
    """A hero-supervisor as a transient unit, with a namespace, port and state directory of its own."""

    def __init__(self, state_dir: Path) -> None:
        self.namespace = f"test{secrets.token_hex(4)}"
        self.unit = f"{self.namespace}-supervisor.service"
        self.state_dir = state_dir
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        runtime = Path("/run" if IS_ROOT else os.environ["XDG_RUNTIME_DIR"])
        #: Where everything is allowed to whoever runs the tests.
        self.socket = runtime / f"hero-supervisor/api-{self.namespace}.sock"
        self.rpc = RpcClient(self.url, timeout_s=60)

    def start(self, *flags: str) -> None:
        """Start a service where all may do everything, and wait until systemd calls it ready."""
        self.start_as_it_comes("--anonymous-scope", "admin", *flags)

    def start_as_it_comes(self, *flags: str) -> None:
        """Start the service without any setting of access."""
        own = ("--namespace", self.namespace, "--port", str(self.port), "--state-dir", str(self.state_dir))
        command = ["systemd-run", *SCOPE, "--quiet", "--collect", f"--unit={self.unit}", "--service-type=notify"]
        properties = ["--property=WatchdogSec=10", "--property=TimeoutStartSec=40", "--setenv=HERO_LOG=info"]
        path = f"--setenv=PATH={BIN}:{os.environ['PATH']}"
        program = [str(BIN / "hero-supervisor"), *own, *flags]
        done = subprocess.run([*command, *properties, path, "--", *program], timeout=60, check=False)
        assert done.returncode == 0, self.journal()

    def stop(self) -> None:
        """Stop the service; its runners and its Redis run on."""
        systemctl("stop", self.unit)

    def kill(self) -> None:
        """Kill the service so that it can do nothing about it, and wait until it is gone."""
        systemctl("kill", "--signal=KILL", self.unit)
        # Its name is free when systemd has collected it, a moment after its end.
        eventually(lambda: self.show("LoadState") == "not-found")

    def show(self, name: str, unit: str | None = None) -> str:
        """Return a property of the service's unit, or of another."""
        return systemctl("show", "--value", f"--property={name}", unit or self.unit)

    def journal(self) -> str:
        """Return what the service logged."""
        command = ["journalctl", *SCOPE, f"--unit={self.unit}", "--no-pager"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    def add(self, id: str, **definition: Any) -> dict[str, Any]:
        """Add a runner and start it; one that sleeps, unless the definition says what it is."""
        if not {"command", "executor"} & definition.keys():
            definition["command"] = ["/bin/sleep", "infinity"]
        self.rpc.call("add_runner", {"id": id, **definition})
        return dict(self.rpc.call("start_runner", {"runner": id}))

    def key(self, scope: str = "admin") -> str:
        """Make a key and return it."""
        made = RpcClient(f"unix://{self.socket}").call("create_key", {"name": secrets.token_hex(4), "scope": scope})
        return str(made["key"])

    def herosup(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command-line program against this service."""
        command = [str(BIN / "herosup"), "--url", self.url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)

    def remove(self) -> None:
        """Stop everything of this namespace and check that nothing is left."""
        systemctl("stop", self.unit, is_checked=False)
        systemctl("stop", f"{self.namespace}.slice", is_checked=False)
        systemctl("reset-failed", f"{self.namespace}-*", is_checked=False)
        left = systemctl("list-units", "--all", "--plain", "--no-legend", f"{self.namespace}-*.service")
        forget_state(self.namespace)
        self.socket.unlink(missing_ok=True)  # of a service that was killed
        assert not left, f"units left behind: {left}"


@pytest.fixture
def stopped_service(tmp_path: Path) -> Iterator[Service]:
    """A service that has not been started."""
    if not Path("/run/systemd/system").exists() or not shutil.which("systemd-run"):
        missing("this machine was not booted with systemd; run: make e2e")
    service = Service(tmp_path / "state")
    yield service
    service.remove()


@pytest.fixture
def service(stopped_service: Service) -> Service:
    """A service that is ready."""
    stopped_service.start()
    return stopped_service
