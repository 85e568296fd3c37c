"""``herosup queue`` and ``herosup dead``: the queues of runners, and jobs that failed for good."""

from typing import Annotated, Any, Final

import typer

from . import failure, job_view, output
from .confirming import confirm
from .session import AsJson, Session, complete_runner, session_of

app = typer.Typer(help="Look at the queues of runners, pause and limit them.", rich_markup_mode=None)
dead = typer.Typer(help="Jobs that failed for good: list, retry, purge.", rich_markup_mode=None)

RunnerId = Annotated[str, typer.Argument(metavar="RUNNER", help="Id of a runner.", autocompletion=complete_runner)]
Limit = Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="How many at most, newest first.")]

#: Seconds for the check of some million jobs.
_LONGEST_CHECK_S: Final = 600
_COLUMNS = ("RUNNER", "STATE", "PENDING", "SCHEDULED", "WAITING", "TAKEN", "DEAD", "OLDEST", "DONE/S")


@app.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List the queues of all runners, with what is in them."""
    _show(session := session_of(ctx, as_json=as_json), session.records("get_all_queue_stats"))


@app.command()
def show(ctx: typer.Context, runner: RunnerId, *, as_json: AsJson = False) -> None:
    """Show the queue of a runner: what is in it, what it allows, what went through it."""
    session = session_of(ctx, as_json=as_json)
    stats = session.record("get_queue_stats", {"runner": runner})
    _show(session, [stats], is_one=True)


@app.command()
def pause(ctx: typer.Context, runner: RunnerId, *, as_json: AsJson = False) -> None:
    """Let no more jobs be taken; those that were taken go on."""
    session = session_of(ctx, as_json=as_json)
    _show(session, [session.record("pause_queue", {"runner": runner})], is_one=True)


@app.command()
def resume(ctx: typer.Context, runner: RunnerId, *, as_json: AsJson = False) -> None:
    """Let jobs be taken again."""
    session = session_of(ctx, as_json=as_json)
    _show(session, [session.record("resume_queue", {"runner": runner})], is_one=True)


@app.command()
def limit(
    ctx: typer.Context,
    runner: RunnerId,
    *,
    max_running: Annotated[int | None, typer.Option(min=1, help="Most jobs that are executed at a time.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Jobs that may be taken in a second, on average.")] = None,
    burst: Annotated[int | None, typer.Option(min=1, help="Jobs that may be taken at once after a while (1).")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Most jobs that wait.")] = None,
    max_ended: Annotated[int | None, typer.Option(min=0, help="Most ended jobs that are kept.")] = None,
    none: Annotated[bool, typer.Option("--none", help="No limits but the usual ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set what a queue allows, in place of what it allowed before."""
    given = {
        "max_running": max_running,
        "rate": rate,
        "burst": burst,
        "max_length": max_length,
        "max_ended": max_ended,
    }
    limits = {name: value for name, value in given.items() if value is not None}
    if bool(limits) == none:
        raise failure.WrongUsage("cannot tell which limits are meant: give some, or --none")
    session = session_of(ctx, as_json=as_json)
    stats = session.record("set_queue_limits", {"runner": runner, "limits": limits})
    _show(session, [stats], is_one=True)


@app.command()
def check(
    ctx: typer.Context,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is wrong; no job is dropped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Prove that every job is where it has to be; exit 1 when one is not and was not put right."""
    session = session_of(ctx, as_json=as_json)
    report = session.record("check_integrity", {"repair": repair}, extra_s=_LONGEST_CHECK_S)
    if session.as_json:
        output.write_json(report)
    else:
        for each in report.get("violations") or []:
            output.write_line(output.visible(f"{each.get('kind')}: {each.get('text')}"))
        word = "mended" if report.get("is_repaired") else "found"
        output.write_line(f"{report.get('jobs')} jobs, {report.get('found')} violations {word}")
    if report.get("found") and not report.get("is_repaired"):
        raise failure.NotSound(f"{report.get('found')} things are not as they have to be", hint="mend them: --repair")


@dead.command("list")
def list_dead(ctx: typer.Context, runner: RunnerId, *, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List the dead letters of a runner."""
    session = session_of(ctx, as_json=as_json)
    job_view.show_jobs(session, session.records("list_dead_jobs", {"runner": runner, "limit": limit}))


@dead.command("retry")
def retry_dead(ctx: typer.Context, runner: RunnerId, *, limit: Limit = 1000, as_json: AsJson = False) -> None:
    """Queue dead letters of a runner once more, and print how many."""
    _count(session_of(ctx, as_json=as_json), "retry_dead_jobs", runner, limit)


@dead.command("purge")
def purge_dead(
    ctx: typer.Context,
    runner: RunnerId,
    *,
    limit: Limit = 1000,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget dead letters of a runner, and print how many."""
    if not yes:
        confirm(f"forget up to {limit} dead letters of {runner}")
    _count(session_of(ctx, as_json=as_json), "purge_dead_jobs", runner, limit)


def _count(session: Session, method: str, runner: str, limit: int) -> None:
    number = session.call(method, {"runner": runner, "limit": limit})
    if session.as_json:
        output.write_json(number)
    else:
        output.write_line(str(number))


def _show(session: Session, stats: list[dict[str, Any]], *, is_one: bool = False) -> None:
    if session.as_json:
        output.write_json(stats[0] if is_one else stats)
        return
    output.write_table(_COLUMNS, [_row(each) for each in stats])
    for each in stats if is_one else []:
        limits = {name: value for name, value in (each.get("limits") or {}).items() if value is not None}
        for title, values in (("limits", limits), ("since the beginning", each.get("counts") or {})):
            if values:
                words = ", ".join(f"{name} {value}" for name, value in values.items())
                output.write_line(f"{title}: {output.visible(words)}")
        if each.get("scaling"):
            output.write_line(f"instances: {output.visible(each['scaling'])}")


def _row(stats: dict[str, Any]) -> list[object]:
    rates = stats.get("per_second") or {}
    done = sum(rates.get(name, 0) for name in ("finished", "error", "cancelled"))
    sizes = [stats.get(name) for name in ("pending", "scheduled", "waiting", "taken", "dead")]
    oldest = "" if stats.get("oldest_s") is None else output.duration(stats["oldest_s"])
    state = "paused" if stats.get("is_paused") else "open"
    return [stats.get("runner"), state, *sizes, oldest, f"{done:.1f}" if rates else ""]
