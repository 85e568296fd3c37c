"""The face of the library."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hero_supervisor
from hero_supervisor import rpc_client


@pytest.mark.parametrize("name", hero_supervisor.__all__)
def test_every_exported_name_can_be_imported(name: str) -> None:
    assert getattr(hero_supervisor, name).__name__ == name


def test_the_lists_of_names_agree() -> None:
    assert sorted(hero_supervisor._HOMES) == hero_supervisor.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'nonsense'"):
        _ = hero_supervisor.nonsense
    with pytest.raises(AttributeError, match="'nonsense'"):
        _ = rpc_client.nonsense


@pytest.mark.parametrize("name", rpc_client.__all__)
def test_every_name_of_the_clients_can_be_imported(name: str) -> None:
    assert getattr(rpc_client, name) is not None
    assert name in rpc_client._HOMES


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("hero_supervisor", {"redis", "dbus_next", "dbus_fast", "msgspec", "starlette"}),
        ("hero_supervisor.cli.app", {"redis", "dbus_next", "dbus_fast", "starlette", "uvicorn", "jsonrpcserver"}),
        ("hero_supervisor.rpc_client", {"redis", "dbus_next", "dbus_fast", "starlette", "typer", "msgspec", "asyncio"}),
        (
            "hero_supervisor.rpc_client.client",
            {"redis", "dbus_next", "dbus_fast", "starlette", "typer", "jsonrpcserver"},
        ),
        ("hero_supervisor.worker.__main__", {"dbus_next", "dbus_fast", "starlette", "uvicorn", "typer"}),
        ("hero_supervisor.builder", {"starlette", "uvicorn", "jsonrpcserver", "typer"}),
    ],
)
def test_a_module_loads_only_what_it_needs(module: str, unwanted: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert not unwanted & set(done.stdout.split())
