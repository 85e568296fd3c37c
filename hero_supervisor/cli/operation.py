"""``herosup operation``, and what all commands that work on many runners share: an operation is begun, then followed.

It is followed by asking again and again, not by one long call: its outcomes are shown as they come, and a stop may take
longer than any answer. It goes on when this program ends. The pauses grow: most operations are over at once, some take
minutes.
"""

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from hero_supervisor.rpc_client import ServiceUnreachable

from . import failure, output
from .session import AsJson, Session, session_of

app = typer.Typer(help="Look at operations on many runners, and cancel them.", rich_markup_mode=None)

NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the operation's id, and do not wait for its end.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of an operation.")]

#: Seconds between two looks at an operation: at first, and at most.
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 1.0

#: What became of a runner, where its status does not say it.
_DONE: Final = {
    "apply": "removed",
    "freeze": "frozen",
    "kill": "killed",
    "reload": "reloaded",
    "remove": "removed",
    "signal": "signalled",
    "thaw": "thawed",
}


def run(session: Session, method: str, params: dict[str, Any], *, is_awaited: bool) -> None:
    """Begin an operation and show its outcomes, or without waiting its id.

    Args:
        session: Where the service is, and how the answer is wanted.
        method: A method that begins an operation.
        params: Its parameters.
        is_awaited: Whether to follow the operation to its end.

    Raises:
        HeroError: It could not be begun, or it cannot be followed any more.
        Exit: A runner failed: with the code of its kind when it was the only one, with 1 otherwise.
    """
    begun = session.record(method, {**params, "wait": False})
    if is_awaited:
        _finish(session, _follow(session, begun))
    elif session.as_json:
        output.write_json(begun)
    else:
        output.write_line(str(begun.get("id")))


def _follow(session: Session, begun: dict[str, Any]) -> dict[str, Any]:
    """Show each outcome when it is there, and return the operation when it has ended."""
    id = begun.get("id")
    hint = f"it goes on: herosup operation show {id}"
    shown: set[object] = set()
    try:
        for operation in _looks_at(session, begun):
            if not session.as_json:
                _show_new(operation, shown)
    except KeyboardInterrupt:
        sys.stderr.write(f"hint: {output.visible(hint)}\n")
        raise
    except ServiceUnreachable as error:
        error.hint = f"when it answers again: herosup operation show {id}"
        raise
    return operation


def _looks_at(session: Session, operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an operation again and again until it has ended."""
    pause_s = _FIRST_PAUSE_S
    while operation.get("state") == "running":
        yield operation
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        operation = session.record("get_operation", {"operation_id": operation.get("id")})
    yield operation


def _show_new(operation: dict[str, Any], shown: set[object]) -> None:
    for outcome in _outcomes_of(operation):
        if not outcome.get("is_done") or outcome.get("id") in shown:
            continue
        shown.add(outcome.get("id"))
        if outcome.get("error"):
            failure.show_fields(outcome, as_json=False)
        else:
            output.write_line(f"{outcome.get('id')}: {_word_for(operation, outcome)}")
            # Where it is no terminal, too, each line comes at once, and in order with those on standard error.
            sys.stdout.flush()


def _word_for(operation: dict[str, Any], outcome: dict[str, Any]) -> object:
    return outcome.get("status") or _DONE.get(str(operation.get("verb")), "done")


def _finish(session: Session, operation: dict[str, Any]) -> None:
    """Exit as the outcomes say."""
    if session.as_json:
        output.write_json(operation)
    outcomes = _outcomes_of(operation)
    failed = [outcome for outcome in outcomes if outcome.get("error")]
    if operation.get("state") != "done":
        left = sum(not outcome.get("is_done") for outcome in outcomes)
        raise failure.Cancelled(
            f"cannot finish: the operation was cancelled with {left} of {len(outcomes)} runners left"
        )
    if not failed:
        return
    if session.as_json:
        _show_failed(operation, failed)
    only = len(outcomes) == 1
    raise typer.Exit(failure.exit_code_of(str(failed[0].get("kind"))) if only else failure.FAILED)


def _show_failed(operation: dict[str, Any], failed: list[dict[str, Any]]) -> None:
    total = len(_outcomes_of(operation))
    if total == 1:
        failure.show_fields(failed[0], as_json=True)
    else:
        message = f"cannot {operation.get('verb')} {len(failed)} of {total} runners"
        failure.show_error(failure.SomeFailed(message, failed=failed), as_json=True)


def _outcomes_of(operation: dict[str, Any]) -> list[dict[str, Any]]:
    outcomes = operation.get("outcomes")
    return [each for each in outcomes if isinstance(each, dict)] if isinstance(outcomes, list) else []


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many of the latest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest operations, under way or ended, newest first."""
    session = session_of(ctx, as_json=as_json)
    operations = session.records("list_operations")[:limit]
    if session.as_json:
        output.write_json(operations)
    else:
        output.write_table(("ID", "VERB", "STATE", "BEGUN", "RUNNERS", "DONE", "FAILED"), [*map(_row, operations)])


def _row(operation: dict[str, Any]) -> list[object]:
    outcomes = _outcomes_of(operation)
    words = [operation.get(name) for name in ("id", "verb", "state")]
    done = sum(bool(outcome.get("is_done")) for outcome in outcomes)
    failed = sum(bool(outcome.get("error")) for outcome in outcomes)
    return [*words, output.age(operation.get("started_at")), len(outcomes), done, failed]


@app.command()
def show(ctx: typer.Context, id: Id, *, as_json: AsJson = False) -> None:
    """Show an operation as it stands, with what became of each runner."""
    session = session_of(ctx, as_json=as_json)
    _show(session, session.record("get_operation", {"operation_id": id}))


@app.command()
def cancel(ctx: typer.Context, id: Id, *, as_json: AsJson = False) -> None:
    """Stop an operation from going on, and show it; what systemd was asked to do goes on there."""
    session = session_of(ctx, as_json=as_json)
    _show(session, session.record("cancel_operation", {"operation_id": id}))


def _show(session: Session, operation: dict[str, Any]) -> None:
    if session.as_json:
        output.write_json(operation)
        return
    ended = f", ended {output.age(operation['ended_at'])}" if operation.get("ended_at") else ""
    begun = output.age(operation.get("started_at"))
    output.write_line(f"{operation.get('verb')}: {operation.get('state')}, begun {begun}{ended}")
    output.write_table(("ID", "OUTCOME", "ERROR"), [_outcome_row(operation, each) for each in _outcomes_of(operation)])


def _outcome_row(operation: dict[str, Any], outcome: dict[str, Any]) -> list[object]:
    if not outcome.get("is_done"):
        return [outcome.get("id"), "-", ""]
    error = outcome.get("error")
    return [outcome.get("id"), "failed" if error else _word_for(operation, outcome), error]
