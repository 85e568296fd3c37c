"""``herosup job``: hand jobs to runners and look at how they ended."""

import sys
import uuid
from typing import Annotated, Any, Final

import typer

from hero_supervisor.rpc_client import RpcError

from . import failure, inputs, job_view, output
from .session import AsJson, Session, complete_runner, session_of
from .sharing import takes

app = typer.Typer(help="Run jobs and look at their results.", rich_markup_mode=None)

#: The service's own defaults, known here only to wait longer than it does.
_JOB_TIMEOUT_S: Final = 300
_WAIT_MARGIN_S: Final = 60

RunnerId = Annotated[
    str, typer.Argument(metavar="RUNNER", help="Id of the runner it goes to.", autocompletion=complete_runner)
]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of jobs.")]
Payload = Annotated[str | None, typer.Argument(metavar="PAYLOAD", help="The script; '-' reads it from standard input.")]
File = Annotated[str | None, typer.Option(help="Read the script from this file.")]
Executor = Annotated[str | None, typer.Option(help="What interprets the script; the runner's own if not given.")]
Timeout = Annotated[int | None, typer.Option(metavar="SECONDS", min=1, help="How long it may run (300).")]
Env = Annotated[list[str] | None, typer.Option(metavar="K=V", help="Environment variable; repeatable.")]
Caller = Annotated[str | None, typer.Option(help="Who asks for it; handed to the script.")]
Context = Annotated[str | None, typer.Option(help="What it belongs to; handed to the script.")]
Priority = Annotated[int | None, typer.Option(min=0, max=9, help="From 0, the last, to 9, the first (5).")]
Delay = Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="Not before so many seconds have passed.")]
At = Annotated[str | None, typer.Option(metavar="TIME", help="Not before this time, like 2026-07-02T10:00.")]
After = Annotated[list[str] | None, typer.Option(metavar="ID", help="Not before this job has ended well; repeatable.")]
Retries = Annotated[int | None, typer.Option(min=0, help="How often to try again after an error (0).")]
OwnId = Annotated[str | None, typer.Option(help="Its id, one of your own: the same job queued twice is queued once.")]
Key = Annotated[str | None, typer.Option(help="Idempotency key: a second job with it is the first one.")]
Label = Annotated[list[str] | None, typer.Option("-l", "--label", metavar="K=V", help="Label; repeatable.")]
Group = Annotated[str | None, typer.Option(help="What it can be awaited by together with others.")]
Wait = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", min=0.1, help="How long to wait for its end (--timeout and a minute)."),
]


def _queued(
    runner: RunnerId,
    payload: Payload = None,
    *,
    file: File = None,
    executor: Executor = None,
    timeout: Timeout = None,
    env: Env = None,
    caller: Caller = None,
    context: Context = None,
    priority: Priority = None,
    delay: Delay = None,
    at: At = None,
    after: After = None,
    retries: Retries = None,
    id: OwnId = None,
    key: Key = None,
    label: Label = None,
    group: Group = None,
) -> dict[str, Any]:
    """Return what both methods that queue a job take: the runner and the job."""
    given = {
        "executor": executor,
        "timeout": timeout,
        "caller_id": caller,
        "context_id": context,
        "env_vars": inputs.pairs_in(env or [], "variable") or None,
        "priority": priority,
        "delay_s": delay,
        "run_at": None if at is None else inputs.time_from(at),
        "prerequisites": after or None,
        "max_retries": retries,
        "idempotency_key": key,
        "labels": inputs.pairs_in(label or [], "label") or None,
        "group": group,
    }
    # The id is chosen here, so it is known even if waiting ends without an answer.
    job = {"id": id or str(uuid.uuid4()), "payload": inputs.payload_from(payload, file)}
    return {"runner": runner, "job": job | {name: value for name, value in given.items() if value is not None}}


@app.command()
@takes(params=_queued)
def run(ctx: typer.Context, params: dict[str, Any], *, wait: Wait = None, as_json: AsJson = False) -> None:
    """Run a script on a runner, wait for its end and print what it printed."""
    session = session_of(ctx, as_json=as_json)
    if wait:
        params["timeout"] = wait
    longest_wait_s = wait or params["job"].get("timeout", _JOB_TIMEOUT_S) + _WAIT_MARGIN_S
    job_view.show_result(session, _queue_and_wait(session, params, longest_wait_s))


@app.command()
@takes(params=_queued)
def queue(ctx: typer.Context, params: dict[str, Any], *, as_json: AsJson = False) -> None:
    """Put a script into a runner's queue and print the job's id."""
    session = session_of(ctx, as_json=as_json)
    job_view.show_word(session, session.text("queue_job_to_runner", params))


def _queue_and_wait(session: Session, params: dict[str, Any], longest_wait_s: float) -> dict[str, Any]:
    id = params["job"]["id"]
    try:
        return session.record("queue_and_wait", params, extra_s=longest_wait_s)
    except RpcError as error:
        if error.kind == "timeout":
            error.hint = f"it may end later: herosup job result {id}"
        raise
    except KeyboardInterrupt:
        sys.stderr.write(f"hint: the job goes on: herosup job result {id}\n")
        raise


@app.command()
def wait(
    ctx: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of jobs.")] = None,
    *,
    group: Annotated[str | None, typer.Option(help="All jobs of this group.")] = None,
    first: Annotated[bool, typer.Option("--first", help="Until one of them has ended.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How long at most.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Wait until jobs have ended; exit 0 when all ended well, 1 when one did not, 3 when one has not ended."""
    session = session_of(ctx, as_json=as_json)
    if group and not ids:
        counts = session.record("wait_for_group", {"group": group, "timeout": timeout}, extra_s=timeout)
        job_view.show_counts(session, group, counts)
    elif ids and not group:
        params = {"job_ids": ids, "timeout": timeout, "first": first}
        job_view.show_results(session, session.records("wait_for_jobs", params, extra_s=timeout), is_first_enough=first)
    else:
        raise failure.WrongUsage("cannot tell which jobs are meant: give ids, or --group")


@app.command()
def cancel(ctx: typer.Context, ids: JobIds, *, as_json: AsJson = False) -> None:
    """Cancel jobs: at once if they only wait; what executes one is told, and killed if need be."""
    session = session_of(ctx, as_json=as_json)
    results = [session.record("cancel_job", {"job_id": id}) for id in ids]
    if session.as_json:
        output.write_json(results)
    else:
        output.write_table(("ID", "STATUS"), [(result.get("job_id"), result.get("status")) for result in results])


@app.command()
def retry(ctx: typer.Context, ids: JobIds, *, as_json: AsJson = False) -> None:
    """Queue jobs that have ended once more."""
    session = session_of(ctx, as_json=as_json)
    for id in ids:
        session.call("retry_job", {"job_id": id})


@app.command()
def delete(ctx: typer.Context, ids: JobIds, *, as_json: AsJson = False) -> None:
    """Forget jobs that nobody executes; jobs that wait for them are cancelled."""
    session = session_of(ctx, as_json=as_json)
    for id in ids:
        session.call("delete_job", {"job_id": id})


app.command()(job_view.status)
app.command()(job_view.show)
app.command()(job_view.result)
app.command()(job_view.logs)
app.command("list")(job_view.list_)
