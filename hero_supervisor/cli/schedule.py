"""``herosup schedule``: jobs that are queued again and again."""

from typing import Annotated, Any

import typer

from . import inputs, output
from .session import AsJson, Session, complete_runner, session_of

app = typer.Typer(help="Queue jobs again and again.", rich_markup_mode=None)

RunnerId = Annotated[str, typer.Argument(metavar="RUNNER", help="Id of a runner.", autocompletion=complete_runner)]
ScheduleId = Annotated[str, typer.Argument(metavar="ID", help="Id of a schedule of that runner.")]


@app.command("set")
def set_(
    ctx: typer.Context,
    runner: RunnerId,
    id: ScheduleId,
    cron: Annotated[str, typer.Argument(metavar="CRON", help="Five fields in quotes, or @hourly, @daily, ….")],
    payload: Annotated[str | None, typer.Argument(metavar="PAYLOAD", help="The script; '-' reads it.")] = None,
    *,
    file: Annotated[str | None, typer.Option(help="Read the script from this file.")] = None,
    zone: Annotated[str, typer.Option(help="Time zone of CRON, like Europe/Brussels.")] = "UTC",
    missed: Annotated[str, typer.Option(help="Runs that were missed: skip, last, all.")] = "last",
    timeout: Annotated[int | None, typer.Option(metavar="SECONDS", min=1, help="How long each may run (300).")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Make no runs for the time being.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a script at the times of CRON; a schedule with this id is replaced."""
    session = session_of(ctx, as_json=as_json)
    job: dict[str, Any] = {"payload": inputs.payload_from(payload, file)}
    if timeout:
        job["timeout"] = timeout
    schedule = {"id": id, "runner": runner, "cron": cron, "time_zone": zone, "job": job, "missed": missed}
    _show(session, [session.record("set_schedule", {"schedule": {**schedule, "is_paused": paused}})], is_one=True)


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    runner: Annotated[str | None, typer.Option(help="Only of this runner.", autocompletion=complete_runner)] = None,
    as_json: AsJson = False,
) -> None:
    """List schedules, with their next runs."""
    session = session_of(ctx, as_json=as_json)
    _show(session, session.records("list_schedules", {"runner": runner} if runner else None))


@app.command()
def remove(ctx: typer.Context, runner: RunnerId, id: ScheduleId, *, as_json: AsJson = False) -> None:
    """Forget a schedule; jobs that it has queued stay."""
    session_of(ctx, as_json=as_json).call("remove_schedule", {"runner": runner, "schedule": id})


def _show(session: Session, states: list[dict[str, Any]], *, is_one: bool = False) -> None:
    if session.as_json:
        output.write_json(states[0] if is_one else states)
        return
    output.write_table(("RUNNER", "ID", "CRON", "ZONE", "NEXT", "STATE"), [_row(state) for state in states])


def _row(state: dict[str, Any]) -> list[object]:
    schedule = state.get("schedule") or {}
    known = [schedule.get(name) for name in ("runner", "id", "cron", "time_zone")]
    next_at = output.local_time(state["next_at"]) if state.get("next_at") else "never"
    return [*known, next_at, "paused" if schedule.get("is_paused") else "on"]
