"""``herosup audit``: who did what through the service."""

from typing import Annotated, Any

import typer

from . import inputs, output
from .session import AsJson, session_of

_COLUMNS = ("TIME", "WHO", "FROM", "METHOD", "ON", "RESULT", "TOOK")


def audit(
    ctx: typer.Context,
    *,
    method: Annotated[str | None, typer.Option(help="Only calls of this method.")] = None,
    who: Annotated[
        str | None, typer.Option(help="Only calls of this caller: 'key NAME', admin_secrets, 'uid N', anonymous.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only calls from then on; -5m is 5 minutes ago.")
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1_000, help="How many, the newest.")] = 50,
    after_cursor: Annotated[str | None, typer.Option(metavar="CURSOR", help="Only calls after this entry.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, newest last, refused calls included."""
    session = session_of(ctx, as_json=as_json)
    begin = None if since is None else inputs.time_from(since)
    given = {"method": method, "who": who, "since": begin, "limit": limit, "after_cursor": after_cursor}
    entries = session.records("get_audit_log", {name: value for name, value in given.items() if value is not None})
    if session.as_json:
        output.write_json(entries)
        return
    output.write_table(_COLUMNS, [_row(entry) for entry in entries])


def _row(entry: dict[str, Any]) -> list[object]:
    objects = entry.get("objects")
    on = ", ".join(f"{kind} {id}" for kind, id in objects.items()) if isinstance(objects, dict) else ""
    words = [entry.get(name) for name in ("who", "peer", "method")]
    return [output.local_time(entry.get("at")), *words, on, entry.get("result"), _took(entry.get("duration_s"))]


def _took(duration_s: object) -> str:
    is_short = isinstance(duration_s, int | float) and duration_s < 1
    return f"{float(duration_s) * 1000:.0f} ms" if is_short else output.duration(duration_s)  # type: ignore[arg-type]
