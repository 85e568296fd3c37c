"""``hero-supervisor``, the service: flags, environment and file into settings, and the application's whole life."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from . import logs
from .builder import SupervisorBuilder
from .errors import HeroError, InvalidInput
from .settings import DEFAULT_CONFIG_PATH, ENV_PREFIX, Settings, load_settings, parse_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .web import TlsFiles

#: Not flags: secrets would be visible in the process list, runners are tables.
_FILE_ONLY: Final = ("admin_secrets", "user_secrets", "register_secrets", "runners")
_EPILOG: Final = f"""\
Settings come from the configuration file, then the environment (a setting port is {ENV_PREFIX}PORT), then flags;
the later wins. Log levels: HERO_LOG, or RUST_LOG when that is not set: error (default), warn, info, debug, trace,
or by module: hero_supervisor.systemd=debug,info.
Exit status: 0 stopped as asked, 1 cannot go on, 2 the settings are wrong.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the service; the process's exit status says how it ended."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the service and return its exit status."""
    flags = vars(_parser().parse_args(arguments))
    path = flags.pop("config")
    given = {name: parse_text(name, value) for name, value in flags.items() if value is not None}
    try:
        logs.configure(logs.directives_from(os.environ))
        _serve(partial(load_settings, Path(path) if path else None, os.environ, given))
    except InvalidInput as exc:
        _report(exc)
        return 2
    except HeroError as exc:
        _report(exc)
        return 1
    return 0


def _serve(load: Callable[[], Settings]) -> None:
    settings = load()
    try:
        from .app import SupervisorApp
    except ModuleNotFoundError as exc:
        raise HeroError(
            f"cannot serve: the package {exc.name!r} is not installed", hint="pip install 'hero-supervisor[server]'"
        ) from exc

    async def serve() -> None:
        app = SupervisorApp(
            await SupervisorBuilder.from_settings(settings).build(),
            bind_address=settings.bind_address,
            port=settings.port,
            socket_path=settings.api_socket,
            tls=_tls_files(settings),
            allowed_hosts=settings.allowed_hosts,
            cors_origins=settings.cors_origins,
            reload=lambda: load().runners,
        )
        await app.start()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve())


def _tls_files(settings: Settings) -> TlsFiles | None:
    from .web import TlsFiles

    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop when the extra ``fast`` is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.Loop


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hero-supervisor",
        description="Keeps runners alive as systemd units and never loses a job they were given.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("hero-supervisor"))
    parser.add_argument("--config", metavar="FILE", help=f"Configuration file, TOML. Default: {DEFAULT_CONFIG_PATH}.")
    schema = msgspec.json.schema(Settings)["$defs"]["Settings"]["properties"]
    for name in Settings.__struct_fields__:
        if name not in _FILE_ONLY:
            flag = f"--{name.replace('_', '-')}"
            parser.add_argument(flag, metavar=_metavar(name), help=schema[name]["description"].replace("%", "%%"))
    parser.add_argument(
        "--user", dest="manager", action="store_const", const="user", help="The same as --manager user."
    )
    return parser


def _metavar(name: str) -> str:
    if name == "insecure_tcp":
        return "true|false"
    return name.rpartition("_")[2].upper()


def _report(error: HeroError) -> None:
    print(f"error: {error.message}", file=sys.stderr)  # noqa: T201  # a person or the journal reads it
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
