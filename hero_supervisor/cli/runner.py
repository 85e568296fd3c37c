"""``herosup runner``: look at runners and read their logs; beside it, verbs (``fleet``) and definitions."""

from typing import Annotated, Any

import typer

from . import definition, failure, fleet, inputs, output, why
from .session import AsJson, complete_runner, session_of

app = typer.Typer(help="Add, start, stop and look at runners.", rich_markup_mode=None)

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a runner.", autocompletion=complete_runner)]
OptionalIds = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Ids of runners.", autocompletion=complete_runner)
]

_TIME_HELP = "Only from this time on: 2026-07-02T10:00 (local, or with a zone), or -90s, -5m, -2h, -1d."
_PRIORITY_HELP = "Only this and more important: 0 to 7, or emerg, alert, crit, err, warning, notice, info, debug."
_GREP_HELP = "Only lines with this text, upper and lower case alike."


@app.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List all runners with their status."""
    session = session_of(ctx, as_json=as_json)
    statuses = session.records("get_all_runner_status")
    if session.as_json:
        output.write_json(statuses)
    else:
        output.write_table(("ID", "STATUS"), [(each.get("id"), each.get("status")) for each in statuses])


@app.command()
def status(ctx: typer.Context, id: Id, *, as_json: AsJson = False) -> None:
    """Show one runner; exit 0 when it is running and 3 when it is not."""
    session = session_of(ctx, as_json=as_json)
    record = session.record("get_runner_status", {"runner": id})
    if session.as_json:
        output.write_json(record)
    else:
        for name, value in record.items():
            output.write_line(f"{name + ':':<15}{_shown(name, value)}")
    if record.get("status") != "running":
        raise typer.Exit(failure.NOT_THERE_YET)


def _shown(name: str, value: object) -> object:
    return output.age(value) if name == "since" and value else _or_dash(value)


@app.command()
def stats(ctx: typer.Context, ids: OptionalIds = None, *, as_json: AsJson = False) -> None:
    """Show what runners use; all of them when no ID is given."""
    session = session_of(ctx, as_json=as_json)
    if ids:
        records = [session.record("get_runner_stats", {"runner": id}) for id in ids]
    else:
        records = session.records("get_all_runner_stats")
    if session.as_json:
        output.write_json(records)
    else:
        output.write_table(_STATS_COLUMNS, [_stats_row(each) for each in records])


_STATS_COLUMNS = ("ID", "CPU%", "CPU", "MEMORY", "PEAK", "PROCS", "TASKS", "READ", "WRITTEN", "UPTIME", "RESTARTS")


def _stats_row(stats: dict[str, Any]) -> tuple[object, ...]:
    return (
        stats.get("id"),
        _or_dash(stats.get("cpu_percent")),
        output.duration(stats.get("cpu_s")),
        output.size(stats.get("memory_bytes")),
        output.size(stats.get("memory_peak_bytes")),
        _or_dash(stats.get("processes")),
        _or_dash(stats.get("tasks")),
        output.size(stats.get("io_read_bytes")),
        output.size(stats.get("io_write_bytes")),
        output.duration(stats.get("uptime_s")),
        _or_dash(stats.get("restarts")),
    )


def _or_dash(value: object) -> object:
    return "-" if value is None else value


@app.command()
def logs(
    ctx: typer.Context,
    id: Id,
    *,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many of the latest lines.")] = 100,
    since: Annotated[str | None, typer.Option("-S", "--since", metavar="TIME", help=_TIME_HELP)] = None,
    until: Annotated[str | None, typer.Option("-U", "--until", metavar="TIME", help="The same, for the end.")] = None,
    priority: Annotated[str | None, typer.Option("-p", "--priority", help=_PRIORITY_HELP)] = None,
    grep: Annotated[str | None, typer.Option("-g", "--grep", metavar="TEXT", help=_GREP_HELP)] = None,
    instance: Annotated[int | None, typer.Option(min=1, help="Only this instance, from 1 up.")] = None,
    run: Annotated[str | None, typer.Option(metavar="INVOCATION", help="Only this run of the unit.")] = None,
    job: Annotated[str | None, typer.Option(help="Only what this job wrote.")] = None,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Only what came after this record.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the log of a runner."""
    session = session_of(ctx, as_json=as_json)
    selection = {
        "after_cursor": after,
        "job_id": job,
        "since": None if since is None else inputs.time_from(since),
        "until": None if until is None else inputs.time_from(until),
        "priority": int(priority) if priority and priority.isdecimal() else priority,
        "grep": grep,
        "instance": instance,
        "invocation_id": run,
    }
    params = {"runner": id, "lines": lines, **{name: value for name, value in selection.items() if value is not None}}
    records = session.records("get_runner_logs", params)
    if session.as_json:
        output.write_json(records)
    else:
        output.write_log(records)


app.command()(why.exits)
app.command()(definition.add)
app.command()(definition.update)
app.command()(definition.scale)
app.command()(definition.apply)
app.command()(definition.render)
for name, help in fleet.VERBS.items():
    app.command(name, help=help)(fleet.verb(name))
app.command()(fleet.signal)
app.command()(fleet.remove)
