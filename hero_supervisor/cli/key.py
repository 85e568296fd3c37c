"""``herosup key``: who may call the service."""

import sys
from typing import Annotated, Any

import typer

from hero_supervisor.errors import HeroError

from . import failure, inputs, output
from .session import AsJson, session_of

app = typer.Typer(help="Give programs access, and take it away.", rich_markup_mode=None)

_COLUMNS = ("ID", "NAME", "SCOPE", "CREATED", "EXPIRES", "USED")
KeyRef = Annotated[str, typer.Argument(metavar="KEY", help="Name or id of a key.")]


class WrongKey(HeroError):
    """A key that was to be verified is not good."""

    kind = "wrong-secret"


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    *,
    scope: Annotated[str, typer.Option(help="What it allows: read, user (jobs), register, admin.")] = "user",
    expires_in: Annotated[
        int | None, typer.Option(metavar="SECONDS", min=1, help="For how long it works; without end if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once. Programs send it as 'Authorization: Bearer KEY'."""
    session = session_of(ctx, as_json=as_json)
    params: dict[str, Any] = {"name": name, "scope": scope}
    if expires_in is not None:
        params["expires_in_s"] = expires_in
    made = session.record("create_key", params)
    if session.as_json:
        output.write_json(made)
        return
    output.write_line(str(made.get("key")))
    if sys.stdout.isatty():
        sys.stderr.write("keep it now: it cannot be shown again\n")


@app.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List keys; not the secrets in the service's settings."""
    session = session_of(ctx, as_json=as_json)
    keys = session.records("list_keys")
    if session.as_json:
        output.write_json(keys)
        return
    output.write_table(_COLUMNS, [_row(key) for key in keys])


@app.command()
def remove(ctx: typer.Context, key: KeyRef, *, as_json: AsJson = False) -> None:
    """Forget a key: it works no more."""
    session = session_of(ctx, as_json=as_json)
    removed = session.record("remove_key", {"key": key})
    if session.as_json:
        output.write_json(removed)


@app.command()
def verify(
    ctx: typer.Context,
    secret: Annotated[str, typer.Argument(metavar="KEY", help="A key, or '-' to read it.")] = "-",  # noqa: S107
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a key is good for; exit status 6 when it is not good."""
    session = session_of(ctx, as_json=as_json)
    check = session.record("verify_key", {"key": inputs.payload_from(secret, None).strip()})
    if session.as_json:
        output.write_json(check)
    elif check.get("is_valid"):
        until = output.local_time(check["expires_at"]) if check.get("expires_at") else "it is removed"
        output.write_line(f"{check.get('name')}: {check.get('scope')}, until {until}")
    if not check.get("is_valid"):
        if session.as_json:
            raise typer.Exit(failure.exit_code_of(WrongKey.kind))
        raise WrongKey("cannot use this key: it is not known there, or has expired", hint="herosup key list")


def _row(key: dict[str, Any]) -> list[object]:
    expires = output.local_time(key["expires_at"]) if key.get("expires_at") else "never"
    words = [key.get(name) for name in ("id", "name", "scope")]
    used = output.age(key["last_used_at"]) if key.get("last_used_at") else "never"
    return [*words, output.age(key.get("created_at")), expires, used]
