"""``herosup job``: hand jobs to runners and look at how they ended."""

import sys
import uuid
from typing import Annotated, Any, Final

import typer

from hero_supervisor.rpc_client import RpcError

from . import failure, inputs, output
from .session import AsJson, Session, complete_runner, session_of
from .sharing import takes

app = typer.Typer(help="Run jobs and look at their results.", rich_markup_mode=None)

#: The service's own defaults, known here only to wait longer than it does.
_JOB_TIMEOUT_S: Final = 300
_WAIT_MARGIN_S: Final = 60

RunnerId = Annotated[
    str, typer.Argument(metavar="RUNNER", help="Id of the runner it goes to.", autocompletion=complete_runner)
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of a job.")]
Payload = Annotated[str | None, typer.Argument(metavar="PAYLOAD", help="The script; '-' reads it from standard input.")]
File = Annotated[str | None, typer.Option(help="Read the script from this file.")]
Executor = Annotated[str | None, typer.Option(help="What interprets the script; the runner's own if not given.")]
Timeout = Annotated[int | None, typer.Option(metavar="SECONDS", min=1, help="How long it may run (300).")]
Env = Annotated[list[str] | None, typer.Option(metavar="K=V", help="Environment variable; repeatable.")]
Caller = Annotated[str | None, typer.Option(help="Who asks for it; handed to the script.")]
Context = Annotated[str | None, typer.Option(help="What it belongs to; handed to the script.")]
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
) -> dict[str, Any]:
    """Return what both methods that queue a job take: the runner and the job."""
    given = {
        "executor": executor,
        "timeout": timeout,
        "caller_id": caller,
        "context_id": context,
        "env_vars": inputs.pairs_in(env or [], "variable") or None,
    }
    # The id is chosen here, so it is known even if waiting ends without an answer.
    job = {"id": str(uuid.uuid4()), "payload": inputs.payload_from(payload, file)}
    return {"runner": runner, "job": job | {name: value for name, value in given.items() if value is not None}}


@app.command()
@takes(params=_queued)
def run(ctx: typer.Context, params: dict[str, Any], *, wait: Wait = None, as_json: AsJson = False) -> None:
    """Run a script on a runner, wait for its end and print what it printed."""
    session = session_of(ctx, as_json=as_json)
    if wait:
        params["timeout"] = wait
    longest_wait_s = wait or params["job"].get("timeout", _JOB_TIMEOUT_S) + _WAIT_MARGIN_S
    _show_result(session, _queue_and_wait(session, params, longest_wait_s))


@app.command()
@takes(params=_queued)
def queue(ctx: typer.Context, params: dict[str, Any], *, as_json: AsJson = False) -> None:
    """Put a script into a runner's queue and print the job's id."""
    session = session_of(ctx, as_json=as_json)
    _show_word(session, session.text("queue_job_to_runner", params))


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
def status(ctx: typer.Context, id: JobId, *, as_json: AsJson = False) -> None:
    """Print a job's status: created, dispatched, started, finished or error."""
    session = session_of(ctx, as_json=as_json)
    _show_word(session, session.text("get_job_status", {"job_id": id}))


@app.command()
def result(ctx: typer.Context, id: JobId, *, as_json: AsJson = False) -> None:
    """Print a job's result; exit 0 when it finished, 1 when it ended with an error, 3 when it has not ended."""
    session = session_of(ctx, as_json=as_json)
    _show_result(session, session.record("get_job_result", {"job_id": id}))


def _show_word(session: Session, word: str) -> None:
    if session.as_json:
        output.write_json(word)
    else:
        output.write_line(word)


def _show_result(session: Session, result: dict[str, Any]) -> None:
    """Print a result, or raise what its status says."""
    id, status = result.get("job_id"), result.get("status")
    if session.as_json:
        output.write_json(result)
    if status not in {"finished", "error"}:
        raise failure.JobNotEnded(f"cannot show the result of job {id}: it is {status}", job_id=id, status=status)
    if status == "error":
        raise failure.JobFailed(str(result.get("error") or "the job gave no reason"), job_id=id)
    if not session.as_json:
        output.write_result(str(result.get("result") or ""))


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    runner: Annotated[str | None, typer.Option(help="Only of this runner.", autocompletion=complete_runner)] = None,
    status: Annotated[str | None, typer.Option(help="Only in this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List jobs, with their status."""
    session = session_of(ctx, as_json=as_json)
    wanted = {"runner": runner, "status": status, "limit": limit}
    jobs = session.records("list_jobs", {name: value for name, value in wanted.items() if value is not None})
    if session.as_json:
        output.write_json(jobs)
    else:
        output.write_table(("ID", "RUNNER", "EXECUTOR", "STATUS", "CREATED", "UPDATED"), [_row(job) for job in jobs])


def _row(job: dict[str, Any]) -> list[object]:
    # A job without a status is listed although its record cannot be read; --json says why.
    words = [job.get("id"), job.get("runner"), job.get("executor"), job.get("status") or "unreadable"]
    return [*words, output.age(job.get("created_at")), output.age(job.get("updated_at"))]
