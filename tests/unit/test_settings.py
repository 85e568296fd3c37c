"""Settings: three sources in rising order, and faults that say where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hero_supervisor.errors import InvalidSettings
from hero_supervisor.runner import Executor
from hero_supervisor.scope import Scope
from hero_supervisor.settings import Manager, Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def _faults(config: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    config.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(config, environ)
    return [fault.path for fault in caught.value.faults]


def test_the_defaults_are_the_originals() -> None:
    settings = load_settings()
    assert (settings.namespace, settings.bind_address, settings.port) == ("hero", "127.0.0.1", 3030)
    assert settings.redis_url is None


def test_flags_win_over_the_environment_and_that_over_the_file(config: Path) -> None:
    config.write_text('namespace = "file"\nport = 1\nbind_address = "127.0.0.2"\n')
    environ = {"HERO_SUPERVISOR_NAMESPACE": "env", "HERO_SUPERVISOR_PORT": "2", "OTHER": "x"}
    settings = load_settings(config, environ, {"namespace": "flag"})
    assert (settings.namespace, settings.port, settings.bind_address) == ("flag", 2, "127.0.0.2")


def test_the_originals_sample_file_is_understood(config: Path) -> None:
    config.write_text(
        """
        redis_url = "redis://localhost:6379"
        namespace = "hero"
        bind_address = "127.0.0.1"
        port = 3030
        admin_secrets = ["admin"]
        user_secrets = ["user"]
        register_secrets = ["register"]

        [[actors]]
        id = "sal"
        name = "sal_actor"
        binary_path = "/usr/bin/sal"
        db_path = "/tmp/db"
        redis_url = "redis://localhost:6379"
        process_manager = "simple"

        [[runners]]
        id = "py"
        executor = "python"
        """
    )
    settings = load_settings(config)
    assert [runner.id for runner in settings.runners] == ["py", "sal"]
    assert settings.runners[0].executor is Executor.PYTHON
    assert settings.secrets.admin == ("admin",)


def test_secrets_come_from_the_environment_as_a_list() -> None:
    settings = load_settings(environ={"HERO_SUPERVISOR_ADMIN_SECRETS": "a,b"})
    assert settings.admin_secrets == ("a", "b")


def test_secrets_are_not_shown(config: Path) -> None:
    config.write_text('admin_secrets = ["hunter2"]')
    assert "hunter2" not in repr(load_settings(config).secrets)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("port = 70000", ["port"]),
        ('prot = 1\nnamespace = "A"', ["prot", "namespace"]),
        ('namespace = "a-b"', ["namespace"]),
        ('bind_address = "0.0.0.0"', ["bind_address"]),
        ('bind_address = "localhost"', ["bind_address"]),
        ('state_dir = "state"', ["state_dir"]),
        ("runners = 1", ["runners"]),
        (
            '[[runners]]\nid = "a"\n[[runners]]\nid = "B"\nexecutor = "x"',
            ["runners[0].command", "runners[1].id", "runners[1].executor"],
        ),
        ('[[runners]]\nid="a"\nexecutor="python"\n[[actors]]\nid="a"\nbinary_path="/x"', ["runners"]),
    ],
)
def test_every_fault_is_told_with_its_path(config: Path, text: str, paths: list[str]) -> None:
    assert _faults(config, text) == paths


def test_a_file_that_is_not_toml_is_named(config: Path) -> None:
    assert _faults(config, "port = ") == [str(config)]


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        load_settings(tmp_path / "none.toml")


def test_an_unknown_variable_of_ours_is_named(config: Path) -> None:
    assert _faults(config, "", {"HERO_SUPERVISOR_PROT": "1"}) == ["HERO_SUPERVISOR_PROT"]


@pytest.mark.parametrize(
    ("lines", "faulty"),
    [
        ("", {"bind_address"}),
        ('admin_secrets = ["x"]', {"bind_address"}),
        ('tls_cert = "/c"\ntls_key = "/k"', set()),
        ("insecure_tcp = true", set()),
        ('anonymous_scope = "none"\ntls_cert = "/c"\ntls_key = "/k"', set()),
        ('anonymous_scope = "admin"\ntls_cert = "/c"\ntls_key = "/k"', {"anonymous_scope"}),
        ('anonymous_scope = "user"', {"bind_address", "anonymous_scope"}),
        ('anonymous_scope = "admin"\ninsecure_tcp = true', set()),
    ],
)
def test_other_machines_are_let_in_with_tls_or_on_ones_own_head(config: Path, lines: str, faulty: set[str]) -> None:
    config.write_text(f'bind_address = "0.0.0.0"\n{lines}')
    assert _paths_at_fault(config) == faulty


@pytest.mark.parametrize(
    ("lines", "faulty"),
    [
        ('tls_cert = "/c"', {"tls_key"}),
        ('tls_key = "/k"', {"tls_cert"}),
        ('tls_client_ca = "/ca"', {"tls_client_ca"}),
        ('socket_path = "here"', {"socket_path"}),
        ('socket_path = ""', set()),
        ('anonymous_scope = "root"', {"anonymous_scope"}),
        ('audit_scope = "register"', set()),
        ('audit_scope = "read"', {"audit_scope"}),
        ('cors_origins = ["https://ops.example.org", "http://localhost:8080"]', set()),
        ('cors_origins = ["*"]', {"cors_origins"}),
        ('cors_origins = ["https://ops.example.org/"]', {"cors_origins"}),
        ('allowed_hosts = ["ops.example.org"]', set()),
        ('allowed_hosts = ["ops.example.org:3030"]', {"allowed_hosts"}),
        ('insecure_tcp = "yes"', {"insecure_tcp"}),
    ],
)
def test_settings_of_access_are_checked(config: Path, lines: str, faulty: set[str]) -> None:
    config.write_text(lines)
    assert {path.partition("[")[0] for path in _paths_at_fault(config)} == faulty


def _paths_at_fault(config: Path) -> set[str]:
    try:
        load_settings(config)
    except InvalidSettings as exc:
        return {fault.path for fault in exc.faults}
    return set()


def test_settings_of_access_may_come_from_the_environment() -> None:
    environ = {"INSECURE_TCP": "true", "ALLOWED_HOSTS": "a.example,b.example", "ANONYMOUS_SCOPE": "none"}
    settings = load_settings(environ={f"HERO_SUPERVISOR_{name}": value for name, value in environ.items()})
    assert (settings.insecure_tcp, settings.allowed_hosts) == (True, ("a.example", "b.example"))
    assert settings.anonymous_scope is Scope.NONE


@pytest.mark.parametrize(
    ("fields", "environ", "path"),
    [
        ({}, {}, "/run/hero-supervisor/api.sock"),
        ({"namespace": "other"}, {}, "/run/hero-supervisor/api-other.sock"),
        ({"manager": Manager.USER}, {"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/hero-supervisor/api.sock"),
        ({"manager": Manager.USER}, {}, "None"),
        ({}, {"RUNTIME_DIRECTORY": "/run/own:/run/other"}, "/run/own/api.sock"),
        ({"socket_path": "/srv/api"}, {"RUNTIME_DIRECTORY": "/run/own"}, "/srv/api"),
        ({"socket_path": ""}, {}, "None"),
    ],
)
def test_the_socket_depends_on_manager_namespace_and_unit(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], environ: dict[str, str], path: str
) -> None:
    for name in ("XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert str(Settings(**{"manager": Manager.SYSTEM, **fields}).api_socket) == path


def test_the_state_directory_depends_on_the_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/home/a/.state")
    assert str(Settings(manager=Manager.SYSTEM).state_path) == "/var/lib/hero-supervisor"
    assert str(Settings(manager=Manager.USER).state_path) == "/home/a/.state/hero-supervisor"
