"""``herosup runner``: add, look at, start, stop and remove runners, and read their logs."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from hero_supervisor.errors import HeroError
from hero_supervisor.rpc_client import ServiceUnreachable

from . import failure, inputs, output, why
from .session import AsJson, Session, complete_runner, session_of

app = typer.Typer(help="Add, start, stop and look at runners.", rich_markup_mode=None)

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a runner.", autocompletion=complete_runner)]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of runners.", autocompletion=complete_runner)]
OptionalIds = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Ids of runners.", autocompletion=complete_runner)
]
All = Annotated[bool, typer.Option("--all", help="All runners, in place of ids.")]

_TIME_HELP = "Only from this time on: 2026-07-02T10:00 (local, or with a zone), or -90s, -5m, -2h, -1d."
_PRIORITY_HELP = "Only this and more important: 0 to 7, or emerg, alert, crit, err, warning, notice, info, debug."
_GREP_HELP = "Only lines with this text, upper and lower case alike."


@app.command()
def add(
    ctx: typer.Context,
    id: Annotated[str | None, typer.Argument(metavar="ID", help="Its id; may also stand in FILE.")] = None,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="Program and arguments, after '--'.")
    ] = None,
    *,
    executor: Annotated[str | None, typer.Option(help="Use the bundled runner: python or shell.")] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Environment variable; repeatable.")] = None,
    cwd: Annotated[str | None, typer.Option(help="Directory it starts in.")] = None,
    user: Annotated[str | None, typer.Option(help="Account it runs under.")] = None,
    group: Annotated[str | None, typer.Option(help="Group it runs under.")] = None,
    description: Annotated[str | None, typer.Option(help="One line for people.")] = None,
    queue: Annotated[str | None, typer.Option(help="Redis list it takes jobs from.")] = None,
    readiness: Annotated[str | None, typer.Option(help="When it counts as started: exec or notify.")] = None,
    restart: Annotated[str | None, typer.Option(help="Restart it: always, on-failure or never.")] = None,
    restart_delay: Annotated[float | None, typer.Option(metavar="SECONDS", help="Pause before a restart.")] = None,
    start_timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Longest time to start.")] = None,
    stop_timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="From SIGTERM to SIGKILL.")] = None,
    sandbox: Annotated[str | None, typer.Option(help="How far it is shut in: strict, default or trusted.")] = None,
    file: Annotated[str | None, typer.Option(help="Definition in JSON or TOML; options override it.")] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a runner: a command of your own, or the bundled runner with --executor."""
    session = session_of(ctx, as_json=as_json)
    given = {
        "id": id,
        "command": command,
        "executor": executor,
        "working_directory": cwd,
        "user": user,
        "group": group,
        "description": description,
        "queue": queue,
        "readiness": readiness,
        "restart": restart,
        "restart_delay_s": restart_delay,
        "start_timeout_s": start_timeout,
        "stop_timeout_s": stop_timeout,
        "sandbox": sandbox,
    }
    definition = _definition(given, inputs.pairs_in(env or [], "variable"), file)
    status = session.record("add_runner", {"runner": definition})
    if start:
        status = session.record("start_runner", {"runner": definition["id"]})
    _show_outcome(session, status)


def _definition(given: dict[str, Any], env: dict[str, str], file: str | None) -> dict[str, Any]:
    """Merge a definition from a file with what the command line says. The service judges the rest."""
    definition = inputs.definition_in(file) if file else {}
    definition |= {name: value for name, value in given.items() if value not in (None, [])}
    if env:
        # What is no table is left for the service to refuse.
        table = definition.get("env", {})
        definition["env"] = table | env if isinstance(table, dict) else table
    if "id" not in definition:
        raise failure.WrongUsage("cannot add a runner without an id", hint="herosup runner add ID -- COMMAND")
    return definition


def _show_outcome(session: Session, status: dict[str, Any]) -> None:
    if session.as_json:
        output.write_json(status)
    else:
        output.write_line(f"{status.get('id')}: {status.get('status')}")


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
def start(ctx: typer.Context, ids: OptionalIds = None, *, all_: All = False, as_json: AsJson = False) -> None:
    """Start runners; wait until each is ready."""
    _change_some_or_all(session_of(ctx, as_json=as_json), "start", ids or [], everything=all_)


@app.command()
def stop(ctx: typer.Context, ids: OptionalIds = None, *, all_: All = False, as_json: AsJson = False) -> None:
    """Stop runners; wait until each has ended."""
    _change_some_or_all(session_of(ctx, as_json=as_json), "stop", ids or [], everything=all_)


@app.command()
def restart(ctx: typer.Context, ids: Ids, *, as_json: AsJson = False) -> None:
    """Stop runners and start them again."""
    _change(session_of(ctx, as_json=as_json), "restart", ids)


@app.command()
def remove(ctx: typer.Context, ids: Ids, *, as_json: AsJson = False) -> None:
    """Stop runners and forget them."""
    _change(session_of(ctx, as_json=as_json), "remove", ids)


def _change_some_or_all(session: Session, verb: str, ids: list[str], *, everything: bool) -> None:
    if bool(ids) == everything:
        raise failure.WrongUsage(f"cannot tell what to {verb}: give ids, or --all")
    if everything:
        _finish(session, verb, _shown_outcomes(session, verb, iter(session.records(f"{verb}_all"))))
    else:
        _change(session, verb, ids)


def _change(session: Session, verb: str, ids: list[str]) -> None:
    outcomes = _shown_outcomes(session, verb, _outcomes(session, verb, ids))
    _finish(session, verb, outcomes)


def _outcomes(session: Session, verb: str, ids: list[str]) -> Iterator[dict[str, Any]]:
    for id in ids:
        try:
            answer = session.call(f"{verb}_runner", {"runner": id})
        except HeroError as error:
            yield {"id": id, "status": None, "error": error.message, "kind": error.kind, "hint": error.hint}
            if isinstance(error, ServiceUnreachable):
                # It would say the same of all others, each after a timeout.
                return
        else:
            yield {"id": id, "status": answer.get("status") if isinstance(answer, dict) else None}


def _shown_outcomes(session: Session, verb: str, outcomes: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Show each outcome as it comes in, or all at once as JSON."""
    seen = []
    for outcome in outcomes:
        seen.append(outcome)
        if session.as_json:
            continue
        if outcome.get("error"):
            failure.show_fields(outcome, as_json=False)
        else:
            done = "removed" if verb == "remove" else outcome.get("status")
            output.write_line(f"{outcome.get('id')}: {done}")
    if session.as_json:
        output.write_json(seen)
    return seen


def _finish(session: Session, verb: str, outcomes: list[dict[str, Any]]) -> None:
    """Exit with the kind's code when one runner was asked for or nobody answered, with 1 when some of many failed."""
    failed = [outcome for outcome in outcomes if outcome.get("error")]
    if not failed:
        return
    if session.as_json:
        _show_failed(verb, failed, len(outcomes))
    kind = str(failed[-1].get("kind"))
    decisive = len(outcomes) == 1 or kind == ServiceUnreachable.kind
    raise typer.Exit(failure.exit_code_of(kind) if decisive else failure.FAILED)


def _show_failed(verb: str, failed: list[dict[str, Any]], total: int) -> None:
    if total == 1:
        failure.show_fields(failed[0], as_json=True)
    else:
        message = f"cannot {verb} {len(failed)} of {total} runners"
        failure.show_error(failure.SomeFailed(message, failed=failed), as_json=True)


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
    show: Callable[[list[dict[str, Any]]], None] = output.write_json if session.as_json else output.write_log
    show(records)


app.command()(why.exits)
