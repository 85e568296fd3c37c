"""``herosup job``'s commands that only look: how jobs stand, what they gave, what they logged."""

from typing import Annotated, Any

import typer

from . import failure, inputs, output
from .session import AsJson, Session, complete_runner, session_of

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of a job.")]


def status(ctx: typer.Context, id: JobId, *, as_json: AsJson = False) -> None:
    """Print a job's status in a word."""
    session = session_of(ctx, as_json=as_json)
    show_word(session, session.text("get_job_status", {"job_id": id}))


def result(ctx: typer.Context, id: JobId, *, as_json: AsJson = False) -> None:
    """Print a job's result; exit 0 when it finished, 1 when it ended with an error, 3 when it has not ended."""
    session = session_of(ctx, as_json=as_json)
    show_result(session, session.record("get_job_result", {"job_id": id}))


def show_word(session: Session, word: str) -> None:
    """Print one word of an answer."""
    if session.as_json:
        output.write_json(word)
    else:
        output.write_line(word)


def show_result(session: Session, result: dict[str, Any]) -> None:
    """Print a result, or raise what its status says."""
    id, status = result.get("job_id"), result.get("status")
    if session.as_json:
        output.write_json(result)
    if status not in {"finished", "error", "cancelled"}:
        raise failure.JobNotEnded(f"cannot show the result of job {id}: it is {status}", job_id=id, status=status)
    if status == "error":
        raise failure.JobFailed(str(result.get("error") or "the job gave no reason"), job_id=id)
    if status == "cancelled":
        raise failure.JobFailed(str(result.get("error") or f"job {id} was cancelled"), job_id=id)
    if not session.as_json:
        output.write_result(str(result.get("result") or ""))


def show(ctx: typer.Context, id: JobId, *, as_json: AsJson = False) -> None:
    """Show what a job is, where it is, how it got there, and what is next."""
    session = session_of(ctx, as_json=as_json)
    state = session.record("get_job_state", {"job_id": id})
    job = session.record("get_job", {"job_id": id})
    if session.as_json:
        output.write_json({**state, "job": job})
        return
    for name, value in (state | {name: job.get(name) for name in _OF_JOB}).items():
        if value not in ("", 0, None, [], {}):
            shown = output.local_time(value) if name.endswith("_at") else _in_a_line(value)
            output.write_line(f"{name.replace('_', ' '):15}  {shown}")


#: What of a job itself is shown, behind how it stands.
_OF_JOB = (
    *("executor", "priority", "timeout", "max_retries", "caller_id", "context_id", "labels", "group"),
    *("prerequisites", "idempotency_key", "created_at", "payload"),
)


def _in_a_line(value: object) -> str:
    if isinstance(value, dict):
        value = " ".join(f"{name}={each}" for name, each in value.items())
    elif isinstance(value, list):
        value = " ".join(map(str, value))
    first, *others = str(value).splitlines() or [""]
    return output.visible(first) + (f" ({len(others) + 1} lines)" if others else "")


def logs(
    ctx: typer.Context,
    id: JobId,
    *,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, max=10_000, help="How many of the newest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Print what a job logged, in all its attempts."""
    session = session_of(ctx, as_json=as_json)
    records = session.records("get_job_logs", {"job_id": id, "lines": lines})
    if session.as_json:
        output.write_json(records)
    else:
        output.write_log(records)


def show_results(session: Session, results: list[dict[str, Any]], *, is_first_enough: bool) -> None:
    """Print how jobs stand, or raise what that means."""
    if session.as_json:
        output.write_json(results)
    else:
        rows = [(each.get("job_id"), each.get("status"), _first_line(each)) for each in results]
        output.write_table(("ID", "STATUS", "RESULT"), rows)
    states = [str(each.get("status")) for each in results]
    _raise_for({state: states.count(state) for state in states}, is_first_enough=is_first_enough)


def show_counts(session: Session, group: str, counts: dict[str, Any]) -> None:
    """Print how many jobs of a group are in which state, or raise what that means."""
    if session.as_json:
        output.write_json(counts)
    else:
        columns = ("open", "finished", "error", "cancelled")
        row = [group, *(counts.get(name, 0) for name in columns)]
        output.write_table(("GROUP", *(name.upper() for name in columns)), [row])
    _raise_for({"started" if name == "open" else name: count for name, count in counts.items()})


def _raise_for(counts: dict[str, int], *, is_first_enough: bool = False) -> None:
    ended = {name: counts.get(name, 0) for name in ("finished", "error", "cancelled")}
    open_ = sum(counts.values()) - sum(ended.values())
    if open_ and not (is_first_enough and any(ended.values())):
        raise failure.JobNotEnded(f"cannot wait longer: {open_} jobs have not ended")
    if bad := ended["error"] + ended["cancelled"]:
        raise failure.JobFailed(f"{bad} jobs did not end well")


def _first_line(result: dict[str, Any]) -> str:
    text = str(result.get("result") or result.get("error") or "")
    return text.strip().partition("\n")[0][:60]


def list_(
    ctx: typer.Context,
    *,
    runner: Annotated[str | None, typer.Option(help="Only of this runner.", autocompletion=complete_runner)] = None,
    status: Annotated[str | None, typer.Option(help="Only in this status.")] = None,
    caller: Annotated[str | None, typer.Option(help="Only of this caller.")] = None,
    context: Annotated[str | None, typer.Option(help="Only of this context.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("-l", "--label", metavar="K=V", help="Only with this label.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only from then on; -5m is 5 minutes ago.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only from before.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many at most.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Go on after this cursor of a job (--json shows it).")] = None,
    as_json: AsJson = False,
) -> None:
    """List jobs with their status, newest first."""
    session = session_of(ctx, as_json=as_json)
    wanted = {
        "runner": runner,
        "status": status,
        "limit": limit,
        "caller_id": caller,
        "context_id": context,
        "labels": inputs.pairs_in(label or [], "label") or None,
        "since": None if since is None else inputs.time_from(since),
        "until": None if until is None else inputs.time_from(until),
        "after_cursor": cursor,
    }
    jobs = session.records("list_jobs", {name: value for name, value in wanted.items() if value is not None})
    show_jobs(session, jobs)


def show_jobs(session: Session, jobs: list[dict[str, Any]]) -> None:
    """Print a list of jobs."""
    if session.as_json:
        output.write_json(jobs)
    else:
        output.write_table(("ID", "RUNNER", "EXECUTOR", "STATUS", "CREATED", "UPDATED"), [_row(job) for job in jobs])


def _row(job: dict[str, Any]) -> list[object]:
    # A job without a status is listed although its record cannot be read; --json says why.
    words = [job.get("id"), job.get("runner"), job.get("executor"), job.get("status") or "unreadable"]
    return [*words, output.age(job.get("created_at")), output.age(job.get("updated_at"))]
