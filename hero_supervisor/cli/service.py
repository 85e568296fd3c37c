"""``herosup status`` and ``herosup rpc``: the service as a whole, and any method of it."""

from typing import Annotated, Any

import typer

from . import inputs, output
from .session import AsJson, session_of

_COLUMNS = ("ID", "STATUS", "SINCE", "PID", "RESTARTS", "RESULT")


def status(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Show all runners, and how many are in each status."""
    session = session_of(ctx, as_json=as_json)
    summary = session.record("get_all_status")
    if session.as_json:
        output.write_json(summary)
        return
    output.write_table(_COLUMNS, [_row(record) for record in session.records("get_all_runner_status")])
    output.write_line(_counts_in(summary))


def _row(record: dict[str, Any]) -> list[object]:
    pid = record.get("main_pid")
    since = output.age(record.get("since"))
    words = [record.get("id"), record.get("status"), since, "-" if pid is None else pid]
    return [*words, record.get("restarts"), record.get("result")]


def _counts_in(summary: dict[str, Any]) -> str:
    counts = summary.get("counts")
    parts = [f"{count} {name}" for name, count in counts.items() if count] if isinstance(counts, dict) else []
    total = f"{summary.get('total')} runner{'' if summary.get('total') == 1 else 's'}"
    return f"{total}: {', '.join(parts)}" if parts else total


def rpc(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Name of the method.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="K=V", help="Parameters: values are JSON if they parse; or one [list] or {object}."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Call any method of the service and print its result as JSON."""
    session = session_of(ctx, as_json=as_json)
    output.write_json(session.call(method, inputs.params_from(words or [])))
