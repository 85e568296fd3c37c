"""``herosup events``: what happens, as it happens."""

import json
import sys
from typing import Annotated, Any

import typer

from hero_supervisor.event_client import EventClient
from hero_supervisor.rpc_client import default_url

from . import failure, output
from .session import AsJson, complete_runner, session_of

_TOPICS_HELP = "runner, exit, job, operation or log; all but the last when none is given. May be repeated."
_RUNNER_HELP = "Only events of this runner. May be repeated."


def events(
    ctx: typer.Context,
    *,
    topic: Annotated[list[str] | None, typer.Option("-t", "--topic", help=_TOPICS_HELP)] = None,
    runner: Annotated[
        list[str] | None, typer.Option("-r", "--runner", help=_RUNNER_HELP, autocompletion=complete_runner)
    ] = None,
    job: Annotated[str | None, typer.Option(help="Only events of this job.")] = None,
    since: Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on after this event.")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow what happens to runners and jobs, until interrupted; with --json one object a line."""
    session = session_of(ctx, as_json=as_json)
    client = EventClient(session.url or default_url(), session.token)
    try:
        for event in client.follow(topics=topic or (), runners=runner or (), job=job, since=since):
            output.write(json.dumps(event) + "\n" if session.as_json else f"{output.visible(_line_of(event))}\n")
            sys.stdout.flush()
    except KeyboardInterrupt:
        raise typer.Exit(failure.INTERRUPTED) from None


def _line_of(event: dict[str, Any]) -> str:
    """Return an event as a line for people."""
    topic, data = event.get("topic"), event.get("data")
    said = _SAYING.get(str(topic), _unknown)(data if isinstance(data, dict) else {})
    about = [_runner_of(event), event.get("job_id")]
    return "  ".join(str(word) for word in (output.local_time(event.get("at")), topic, *about, said) if word)


def _runner_of(event: dict[str, Any]) -> str:
    instance = event.get("instance")
    return f"{event.get('runner') or ''}{f'@{instance}' if instance not in {None, 1} else ''}"


def _of_runner(data: dict[str, Any]) -> str:
    if data.get("change") != "state":
        return str(data.get("change"))
    previous, pid = data.get("previous"), data.get("main_pid")
    notes = [f"was {previous}" if previous else "", f"process {pid}" if pid else ""]
    return _with_notes(data.get("status"), notes)


def _of_exit(data: dict[str, Any]) -> str:
    return f"{data.get('reason')}: {data.get('explanation')}"


def _of_job(data: dict[str, Any]) -> str:
    attempt, progress = data.get("attempt"), data.get("progress")
    notes = [
        str(data.get("reason") or ""),
        f"attempt {attempt}" if isinstance(attempt, int) and attempt > 1 else "",
        f"progress {json.dumps(progress)}" if progress is not None else "",
    ]
    return _with_notes(data.get("status") or "deleted", notes)


def _of_operation(data: dict[str, Any]) -> str:
    state, failed = data.get("state"), data.get("failed")
    word = "begins" if state == "running" else state
    count = data.get("runners")
    notes = [f"{count} runner{'' if count == 1 else 's'}", f"{failed} failed" if failed else "", str(data.get("id"))]
    return _with_notes(f"{data.get('verb')} {word}", notes)


def _of_log(data: dict[str, Any]) -> str:
    return str(data.get("message"))


def _of_gap(data: dict[str, Any]) -> str:
    topics = ", ".join(map(str, data.get("topics") or ()))
    return _with_notes(f"events are missing: {topics}", [str(data.get("cause")), f"{data.get('lost') or 'some'} lost"])


def _unknown(data: dict[str, Any]) -> str:
    return json.dumps(data)


def _with_notes(text: object, notes: list[str]) -> str:
    said = ", ".join(note for note in notes if note)
    return f"{text} ({said})" if said else str(text)


_SAYING = {
    "runner": _of_runner,
    "exit": _of_exit,
    "job": _of_job,
    "operation": _of_operation,
    "log": _of_log,
    "gap": _of_gap,
}
