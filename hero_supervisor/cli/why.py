"""``herosup why`` and ``herosup runner exits``: how runs ended, for a tired operator."""

from typing import Annotated, Any

import typer

from hero_supervisor.errors import HeroError

from . import output
from .session import AsJson, complete_runner, session_of

Id = Annotated[str, typer.Argument(metavar="RUNNER", help="Id of a runner.", autocompletion=complete_runner)]
Instance = Annotated[int | None, typer.Option(min=1, help="Only this instance of it.")]

_COLUMNS = ("ENDED", "AFTER", "REASON", "EXIT", "RESTART", "RUN", "WHY")


class NothingEnded(HeroError):
    """No run of a runner has ended yet."""

    kind = "nothing-ended"


def why(ctx: typer.Context, runner: Id, *, instance: Instance = None, as_json: AsJson = False) -> None:
    """Say why a runner's last run ended, and what happens next; exit 3 when none has ended yet."""
    session = session_of(ctx, as_json=as_json)
    records = session.records("get_runner_exits", _params(runner, instance, 1))
    status = session.record("get_runner_status", {"runner": runner})
    if not records:
        raise NothingEnded(f"cannot tell why: no run of '{runner}' has ended; it is {status.get('status')}")
    if session.as_json:
        output.write_json({"exit": records[0], "status": status})
        return
    for line in _story(records[0], status):
        output.write_line(line)


def exits(
    ctx: typer.Context,
    id: Id,
    *,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many of the latest runs.")] = 20,
    instance: Instance = None,
    as_json: AsJson = False,
) -> None:
    """List how the last runs of a runner ended, newest first."""
    session = session_of(ctx, as_json=as_json)
    records = session.records("get_runner_exits", _params(id, instance, limit))
    if session.as_json:
        output.write_json(records)
    else:
        output.write_table(_COLUMNS, [_row(record) for record in records])


def _params(runner: str, instance: int | None, limit: int) -> dict[str, Any]:
    return {"runner": runner, "limit": limit, **({"instance": instance} if instance else {})}


def _row(record: dict[str, Any]) -> list[object]:
    again = "yes" if record.get("will_restart") else "no"
    when = output.local_time(record.get("ended_at"))[:19]
    run = str(record.get("invocation_id"))[:8]
    return [when, _length(record), record.get("reason"), _status(record), again, run, record.get("explanation")]


def _status(record: dict[str, Any]) -> object:
    code = record.get("exit_code")
    return code if code is not None else record.get("signal") or "-"


def _story(record: dict[str, Any], status: dict[str, Any]) -> list[str]:
    """Return what happened, why, what comes next, the last words and where to read on."""
    ended, tail = record.get("ended_at"), record.get("log_tail")
    instance = f" (instance {record.get('instance')})" if record.get("instance") != 1 else ""
    when = f"{output.age(ended)}, at {output.local_time(ended)[:19]}, after {_length(record)}"
    lines = [
        f"{record.get('runner')}{instance} ended {when}.",
        f"Why:   {record.get('explanation')}.",
        f"Next:  {_next(record, status)}.",
    ]
    if used := _used(record):
        lines.append(f"Used:  {used}.")
    if isinstance(tail, list) and tail:
        lines += ["Its last words:", *(f"    {line}" for line in tail)]
    else:
        lines.append("It wrote nothing.")
    return [*lines, "All of that run:", f"    {_journalctl(record)}"]


def _length(record: dict[str, Any]) -> str:
    seconds = record.get("duration_s")
    if not isinstance(seconds, int | float):
        return "no time" if record.get("reason") == "not-started" else "an unknown time"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    # The two largest tell enough.
    return " ".join(f"{count} {unit}" for count, unit in [part for part in parts if part[0]][:2])


def _next(record: dict[str, Any], status: dict[str, Any]) -> str:
    """Return what became of the runner since, or what will."""
    now = _instance_of(record, status)
    state, next_start = now.get("status"), now.get("next_start")
    is_same_run = now.get("invocation_id") == record.get("invocation_id")
    if state in {"running", "starting"} and not is_same_run:
        return f"nothing to do: it was started again {output.age(now.get('since'))} and is {state}"
    if next_start:
        return f"the supervisor starts it again, at {output.local_time(next_start)[11:19]}"
    if state == "backoff":
        return "systemd starts it again, after its restart delay"
    if state == "failed":
        return f"it was given up; when the cause is mended: herosup runner start {record.get('runner')}"
    return f"it is {state}; to start it: herosup runner start {record.get('runner')}"


def _instance_of(record: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """Return the status of the instance that a record is about."""
    instances = status.get("instances")
    found = [each for each in instances if isinstance(each, dict)] if isinstance(instances, list) else []
    return next((each for each in found if each.get("instance") == record.get("instance")), status)


def _used(record: dict[str, Any]) -> str:
    cpu_s, memory = record.get("cpu_s"), record.get("memory_peak_bytes")
    cpu = [f"{cpu_s:.1f} s of CPU time"] if isinstance(cpu_s, int | float) else []
    peak = [f"at most {memory / 2**20:.1f} MiB of memory"] if isinstance(memory, int) else []
    return ", ".join(cpu + peak)


def _journalctl(record: dict[str, Any]) -> str:
    """Return the command that shows a run: its own lines, and systemd's of either manager about it."""
    run = record.get("invocation_id")
    return f"journalctl _SYSTEMD_INVOCATION_ID={run} + INVOCATION_ID={run} + USER_INVOCATION_ID={run}"
