"""``herosup runner``'s commands about definitions: add, update, scale, apply, render. The service judges them."""

import json
import shlex
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from hero_supervisor.errors import RunnerNotFound

from . import failure, inputs, operation, output
from .session import AsJson, Session, complete_runner, session_of
from .sharing import takes

#: Longest wait for a change of one runner. It restarts or stops instances one after the other, each within times that
#: only the service knows; --timeout is too short for that.
_LONGEST_CHANGE_S: Final = 3_600

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a runner.", autocompletion=complete_runner)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would change, and change nothing.")]


@dataclass(frozen=True)
class _Wanted:
    """What the command line says of a definition."""

    in_file: dict[str, Any] | None
    options: dict[str, Any]

    def over(self, definition: dict[str, Any]) -> dict[str, Any]:
        """Return a definition with what the options say in its place; what they say of tables is added to them."""
        merged = {**definition, **self.options}
        for name in ("env", "labels"):
            # What is no table is left for the service to refuse.
            if isinstance(table := definition.get(name, {}), dict) and name in self.options:
                merged[name] = table | self.options[name]
        for name, other in (("command", "executor"), ("executor", "command")):
            if name in self.options and other not in self.options:
                merged.pop(other, None)
        return merged


def _wanted(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="Its id; may also stand in FILE.")] = None,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="Program and arguments, after '--'.")
    ] = None,
    *,
    executor: Annotated[str | None, typer.Option(help="Use the bundled runner: python or shell.")] = None,
    external: Annotated[
        bool, typer.Option("--external", help="Others start its processes; only its jobs are ours.")
    ] = False,
    env: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Environment variable; repeatable.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("-l", "--label", metavar="K=V", help="What verbs select by; repeatable.")
    ] = None,
    instances: Annotated[int | None, typer.Option(metavar="N", help="How many processes of it run.")] = None,
    protocol: Annotated[str | None, typer.Option(help="How its jobs are executed: claim, list or unit.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Jobs that a process executes at a time.")
    ] = None,
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
    file: Annotated[str | None, typer.Option("-f", "--file", help="In JSON or TOML; options override it.")] = None,
) -> _Wanted:
    """Return what the command line says of a definition; the names on the left are the service's."""
    said = {
        "id": id,
        "command": command,
        "executor": executor,
        "external": external or None,
        "env": inputs.pairs_in(env or [], "variable"),
        "labels": inputs.pairs_in(label or [], "label"),
        "instances": instances,
        "protocol": protocol,
        "concurrency": concurrency,
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
    in_file = inputs.definition_in(file) if file else None
    if id is None and "id" not in (in_file or {}):
        raise failure.WrongUsage("cannot tell which runner is meant: it has no id", hint="give ID before COMMAND")
    return _Wanted(in_file, {name: value for name, value in said.items() if value not in (None, [], {})})


@takes(wanted=_wanted)
def add(
    ctx: typer.Context,
    wanted: _Wanted,
    *,
    start: Annotated[bool, typer.Option("--start", help="Start it, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a runner: a command of your own, the bundled runner with --executor, or one that is --external."""
    session = session_of(ctx, as_json=as_json)
    definition = wanted.over(wanted.in_file or {})
    status = session.record("add_runner", {"runner": definition})
    if start:
        status = session.record("start_runner", {"runner": definition["id"]}, extra_s=_LONGEST_CHANGE_S)
    _show_status(session, status)


@takes(wanted=_wanted)
def update(
    ctx: typer.Context,
    wanted: _Wanted,
    *,
    at_once: Annotated[int, typer.Option(metavar="N", min=1, help="Instances restarted at a time.")] = 1,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Change a runner: what the options say, or all by --file.

    Environment variables and labels are added to those it has. Instances are restarted only if they have to be; when
    one cannot be started, all go back.
    """
    session = session_of(ctx, as_json=as_json)
    in_file = wanted.in_file
    present = session.record("get_runner", {"runner": wanted.options["id"]}) if in_file is None else in_file
    definition = wanted.over(present)
    if dry_run:
        plan = session.record("plan_runner", {"runner": definition})
        if plan.get("action") == "add":
            raise RunnerNotFound(f"cannot update runner '{plan.get('id')}': there is none", hint="herosup runner add")
        _show_plans(session, plan, [plan])
        return
    params = {"runner": definition, "at_once": at_once}
    plan = session.record("update_runner", params, extra_s=_LONGEST_CHANGE_S)
    if session.as_json:
        output.write_json(plan)
    else:
        output.write_line(f"{plan.get('id')}: {'unchanged' if plan.get('action') == 'nothing' else 'updated'}")


def scale(
    ctx: typer.Context,
    id: Id,
    instances: Annotated[int, typer.Argument(metavar="N", help="How many instances it is to have.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Change how many instances a runner has."""
    session = session_of(ctx, as_json=as_json)
    params = {"runner": id, "instances": instances}
    _show_status(session, session.record("scale_runner", params, extra_s=_LONGEST_CHANGE_S))


def apply(
    ctx: typer.Context,
    *,
    file: Annotated[str, typer.Option("-f", "--file", help="JSON or TOML with [[runners]]; '-' for standard input.")],
    prune: Annotated[bool, typer.Option("--prune", help="Remove runners of earlier files that it has not.")] = False,
    dry_run: DryRun = False,
    no_wait: operation.NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Add and change runners as a file declares them."""
    session = session_of(ctx, as_json=as_json)
    params = {"runners": inputs.definitions_in(file), "prune": prune}
    if dry_run:
        plans = session.records("plan_runners", params)
        _show_plans(session, plans, plans)
    else:
        operation.run(session, "apply_runners", params, is_awaited=not no_wait)


def render(
    ctx: typer.Context,
    id: Annotated[str | None, typer.Argument(metavar="ID", autocompletion=complete_runner, help="Id of one.")] = None,
    *,
    file: Annotated[str | None, typer.Option("-f", "--file", help="Its definition, in JSON or TOML.")] = None,
    instance: Annotated[int, typer.Option(min=1, help="Which instance.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Print the systemd-run line that makes a runner's unit."""
    session = session_of(ctx, as_json=as_json)
    if (id is None) == (file is None):
        raise failure.WrongUsage("cannot tell which runner is meant: give ID, or --file FILE")
    definition = inputs.definition_in(file) if file else session.record("get_runner", {"runner": id})
    unit = session.record("render_runner", {"runner": definition, "instance": instance})
    if session.as_json:
        output.write_json(unit)
        return
    output.write_result(_in_lines(str(unit.get("command_line"))))
    for name, why in (("unsayable", "the line cannot say"), ("left_out", "this systemd does not know")):
        if properties := unit.get(name):
            sys.stderr.write(f"note: {why} {output.visible(', '.join(map(str, properties)))}\n")


def _in_lines(command: str) -> str:
    """Return a shell command with an option a line; what it executes is one line."""
    words = shlex.split(command)
    end = words.index("--")
    lines = [*(shlex.quote(word) for word in words[1:end]), f"-- {shlex.join(words[end + 1 :])}"]
    return " \\\n    ".join([words[0], *lines]) + "\n"


def _show_status(session: Session, status: dict[str, Any]) -> None:
    if session.as_json:
        output.write_json(status)
    else:
        output.write_line(f"{status.get('id')}: {status.get('status')}")


def _show_plans(session: Session, answer: object, plans: list[dict[str, Any]]) -> None:
    """Show what would be done about each runner, with the fields that would change."""
    if session.as_json:
        output.write_json(answer)
        return
    for plan in plans:
        output.write_line(f"{plan.get('id')}: {plan.get('action')}")
        if changes := plan.get("changes"):
            output.write_table(("FIELD", "BEFORE", "AFTER", "EFFECT"), [_change_row(each) for each in changes])


def _change_row(change: dict[str, Any]) -> list[object]:
    values = [_short(change.get(name)) for name in ("before", "after")]
    return [change.get("field"), *values, change.get("effect")]


def _short(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
