"""The service's settings: what they are, and how a file, the environment and flags become one valid value.

Reading the file is the only outside contact. The field docstrings below are the texts of ``--help``.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from . import schema
from .definition.sandbox import Sandbox
from .errors import Fault, InvalidInput, InvalidSettings
from .runner import Runner, runners_from
from .scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Read when ``--config`` is not given; need not exist.
DEFAULT_CONFIG_PATH: Final = Path("/etc/hero-supervisor/config.toml")
#: Directory beside the configuration file; its files ``*.toml`` declare further runners.
CONFIG_DIRECTORY: Final = "conf.d"
#: A setting ``port`` is also read from the environment variable ``HERO_SUPERVISOR_PORT``.
ENV_PREFIX: Final = "HERO_SUPERVISOR_"

#: No dash: in the name of a slice it would mean nesting, and stopping one namespace would stop another.
Namespace = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,30}$(?!\n)")]
Secret = Annotated[str, Meta(min_length=1, max_length=512)]
#: As browsers send it: no path, no wildcard.
Origin = Annotated[str, Meta(pattern=r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$(?!\n)", max_length=256)]
HostName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$(?!\n)", max_length=253)]

#: Where the system's service has its socket; a user's is in the directory of this name in ``$XDG_RUNTIME_DIR``.
RUNTIME_DIRECTORY: Final = Path("/run/hero-supervisor")


class Manager(StrEnum):
    """Which systemd manager runs the units."""

    #: The one of the machine; needs root.
    SYSTEM = "system"
    #: The one of the user who runs the supervisor; needs no rights.
    USER = "user"

    @classmethod
    def default(cls) -> Manager:
        """Return the manager that fits the rights of this process."""
        return cls.SYSTEM if os.geteuid() == 0 else cls.USER


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """The original's three lists of shared secrets."""

    admin: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    register: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.admin or self.user or self.register)

    def __repr__(self) -> str:
        return "Secrets(…)"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. Names are the original's where it has the setting."""

    redis_url: Annotated[
        str | None,
        Meta(description="Redis server, as redis://, rediss:// or unix:// URL. Not set: a private one is run."),
    ] = None
    namespace: Annotated[
        Namespace, Meta(description="First part of all Redis keys and unit names; [a-z][a-z0-9_]*, at most 31.")
    ] = "hero"
    bind_address: Annotated[str, Meta(description="IP address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")] = 3030
    state_dir: Annotated[
        str | None,
        Meta(
            description="Directory for runner definitions and the private Redis's data. Default: "
            "/var/lib/hero-supervisor, or hero-supervisor in $XDG_STATE_HOME for a user manager."
        ),
    ] = None
    manager: Annotated[
        Manager, Meta(description="systemd manager that runs the units: system (root's default) or user.")
    ] = msgspec.field(default_factory=Manager.default)
    bus_address: Annotated[
        str | None, Meta(description="D-Bus address of that manager's bus, if it is not the usual one.")
    ] = None
    admin_secrets: Annotated[tuple[Secret, ...], Meta(description="Secrets that allow everything.")] = ()
    user_secrets: Annotated[tuple[Secret, ...], Meta(description="Secrets that allow job operations.")] = ()
    register_secrets: Annotated[
        tuple[Secret, ...], Meta(description="Secrets that allow job operations and adding runners.")
    ] = ()
    anonymous_scope: Annotated[
        Scope,
        Meta(description="What callers over TCP may do who show no secret: none, read, user, register or admin."),
    ] = Scope.READ
    audit_scope: Annotated[
        Scope,
        Meta(description="Lowest scope whose methods are in the audit log: user (all changes), register or admin."),
    ] = Scope.USER
    socket_path: Annotated[
        str | None,
        Meta(
            description="Unix socket to listen on, where root, this user and the group hero-supervisor may do all; "
            "'' for none. Default: api.sock in /run/hero-supervisor, or in hero-supervisor in $XDG_RUNTIME_DIR for a "
            "user manager; api-NAMESPACE.sock when the namespace is not hero."
        ),
    ] = None
    tls_cert: Annotated[str | None, Meta(description="Certificate for TLS over TCP, and its chain; a PEM file.")] = None
    tls_key: Annotated[str | None, Meta(description="Private key of that certificate, a PEM file.")] = None
    tls_client_ca: Annotated[
        str | None, Meta(description="Only callers over TCP with a certificate that these sign are let in; a PEM file.")
    ] = None
    insecure_tcp: Annotated[
        bool, Meta(description="Whether to listen without TLS where other machines can connect: true or false.")
    ] = False
    cors_origins: Annotated[
        tuple[Origin, ...], Meta(description="Web pages that may call, by origin like https://ops.example.org.")
    ] = ()
    allowed_hosts: Annotated[
        tuple[HostName, ...], Meta(description="Names of this service besides localhost, as calls have them in Host.")
    ] = ()
    default_sandbox: Annotated[
        Sandbox, Meta(description="Sandbox of runners that name none: strict, default or trusted.")
    ] = Sandbox.DEFAULT
    runners: Annotated[
        tuple[Runner, ...], Meta(description="Runners that are added, and started, when the service starts.")
    ] = ()

    @property
    def secrets(self) -> Secrets:
        """The three lists of secrets as one value."""
        return Secrets(admin=self.admin_secrets, user=self.user_secrets, register=self.register_secrets)

    @property
    def state_path(self) -> Path:
        """The state directory, with its default worked out."""
        if self.state_dir is not None:
            return Path(self.state_dir)
        if self.manager is Manager.SYSTEM:
            return Path("/var/lib/hero-supervisor")
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
        return Path(base) / "hero-supervisor"

    @property
    def api_socket(self) -> Path | None:
        """The unix socket, with its default worked out; ``None`` when there is to be none."""
        if self.socket_path is not None:
            return Path(self.socket_path) if self.socket_path else None
        name = "api.sock" if self.namespace == "hero" else f"api-{self.namespace}.sock"
        directory = _runtime_directory(self.manager)
        return directory / name if directory else None


def _runtime_directory(manager: Manager) -> Path | None:
    # That of our unit, when it has RuntimeDirectory=. Source: systemd.exec(5).
    if own := os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return Path(own)
    if manager is Manager.SYSTEM:
        return RUNTIME_DIRECTORY
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / RUNTIME_DIRECTORY.name if base else None


def load_settings(
    path: Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> Settings:
    """Combine the settings of a file, the environment and flags, each stronger than the one before.

    Args:
        path: TOML file, which must exist; ``DEFAULT_CONFIG_PATH``, which need not, when ``None``.
        environ: Environment variables; ``HERO_SUPERVISOR_…`` are looked at. Lists are separated by commas.
        flags: Settings by name, as given on the command line.

    Raises:
        InvalidSettings: With every fault, and which source it came from.
    """
    merged = {**_read_files(path), **_read_environment(environ or {}), **(flags or {})}
    merged["runners"] = _runners(merged)
    merged.pop("actors", None)
    return schema.convert(merged, Settings, error=InvalidSettings, rules=faults_in)


def faults_in(settings: Settings) -> Iterable[Fault]:
    """Yield what is wrong with settings whose types are right."""
    yield from _address_faults(settings)
    if settings.state_dir is not None and not settings.state_dir.startswith("/"):
        yield Fault("state_dir", "must be an absolute path")
    if Scope.READ.includes(settings.audit_scope):
        yield Fault("audit_scope", "must be user, register or admin")
    yield from _file_faults(settings)
    for name in ("redis_url", "bus_address", "state_dir", "socket_path"):
        value = getattr(settings, name) or ""
        if any(ord(char) < 32 for char in value):
            yield Fault(name, "must not contain control characters")
    ids = [runner.id for runner in settings.runners]
    for repeated in sorted({id for id in ids if ids.count(id) > 1}):
        yield Fault("runners", f"has runner {repeated!r} more than once")


def _address_faults(settings: Settings) -> Iterable[Fault]:
    try:
        is_loopback = ipaddress.ip_address(settings.bind_address).is_loopback
    except ValueError:
        yield Fault("bind_address", f"must be an IP address, not {settings.bind_address!r}")
        return
    if is_loopback or settings.insecure_tcp:
        return
    if settings.tls_cert is None:
        text = "is reachable from other machines, which needs tls_cert and tls_key; or insecure_tcp, to do without TLS"
        yield Fault("bind_address", text)
    if not Scope.READ.includes(settings.anonymous_scope):
        yield Fault("anonymous_scope", "must be none or read where other machines can connect; or set insecure_tcp")


def _file_faults(settings: Settings) -> Iterable[Fault]:
    if settings.socket_path and not settings.socket_path.startswith("/"):
        yield Fault("socket_path", "must be an absolute path, or '' for none")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        missing, other = ("tls_key", "tls_cert") if settings.tls_key is None else ("tls_cert", "tls_key")
        yield Fault(missing, f"is needed as well when {other} is set")
    if settings.tls_client_ca is not None and settings.tls_cert is None:
        yield Fault("tls_client_ca", "needs tls_cert and tls_key")


def _read_files(path: Path | None) -> dict[str, Any]:
    """Return the settings of the file, with the runners that the files in ``conf.d`` beside it declare."""
    main = path or DEFAULT_CONFIG_PATH
    settings = _read_file(main) if path is not None or main.exists() else {}
    for extra in sorted((main.parent / CONFIG_DIRECTORY).glob("*.toml")):
        tables = _read_file(extra)
        if others := sorted(tables.keys() - {"runners", "actors"}):
            raise InvalidSettings([Fault(str(extra), f"can declare runners only, not {', '.join(others)}")])
        for table, entries in tables.items():
            if not isinstance(entries, list):
                raise InvalidSettings([Fault(f"{extra}: {table}", "must be an array of tables")])
            settings[table] = [*settings.get(table, ()), *entries]
    return settings


def _read_file(wanted: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(wanted.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise InvalidSettings([Fault(str(wanted), f"cannot be read as TOML: {exc}")]) from exc


def _read_environment(environ: Mapping[str, str]) -> dict[str, object]:
    known = {field.name: field for field in msgspec.structs.fields(Settings)}
    found: dict[str, object] = {}
    for variable, text in environ.items():
        name = variable.removeprefix(ENV_PREFIX).lower()
        if not variable.startswith(ENV_PREFIX):
            continue
        if name not in known or name == "runners":
            raise InvalidSettings([Fault(variable, "names no setting")])
        found[name] = parse_text(name, text)
    return found


def parse_text(name: str, text: str) -> object:
    """Return the value that a text from the environment or a flag stands for."""
    if name.endswith("_secrets") or name in {"cors_origins", "allowed_hosts"}:
        return [part for part in text.split(",") if part]
    if name == "port" and text.isdecimal():
        return int(text)
    if name == "insecure_tcp" and text in {"true", "false"}:
        return text == "true"
    return text


def _runners(merged: Mapping[str, Any]) -> list[Runner]:
    """Parse ``[[runners]]`` and the original's ``[[actors]]``, and report the faults of all of them."""
    runners: list[Runner] = []
    faults: list[Fault] = []
    for table in ("runners", "actors"):
        try:
            runners += runners_from(_meant_to_run(merged.get(table, [])), path=table)
        except InvalidInput as exc:
            faults += exc.faults
    if faults:
        raise InvalidSettings(faults)
    return runners


def _meant_to_run(entries: object) -> object:
    """Return definitions with ``autostart`` unless they say otherwise: who declares a runner means it to run."""
    if not isinstance(entries, list | tuple):
        return entries
    return [{"autostart": True, **entry} if isinstance(entry, Mapping) else entry for entry in entries]
