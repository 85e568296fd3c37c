"""Puts the commands together, and turns everything that can go wrong into a message and an exit code."""

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hero_supervisor.errors import HeroError
from hero_supervisor.rpc_client import DEFAULT_TIMEOUT_S

from . import audit, events, failure, job, key, operation, queue, runner, schedule, service, why
from .session import AsJson, Session, session_of


class Herosup(TyperGroup):
    """The command, with errors shown as ours: ``error:`` and ``hint:``, or one JSON object."""

    def main(self, args: Any = None, *positional: Any, **named: Any) -> Any:
        """Run, and exit."""
        words = list(sys.argv[1:] if args is None else args)
        session = Session()
        named |= {"standalone_mode": False, "obj": session}
        try:
            code = super().main(words, *positional, **named)
        except Exception as error:
            code = _code_for(error, session, words)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; end quietly when nobody reads on."""
        try:
            super().invoke(ctx)
            # Here and not at the interpreter's end, which would complain of a closed pipe.
            sys.stdout.flush()
        except BrokenPipeError:
            # What is still buffered goes nowhere. Source: Python's documentation, "Note on SIGPIPE".
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(failure.BROKEN_PIPE) from None


def _code_for(error: Exception, session: Session, words: list[str]) -> int:
    if session.debug:
        traceback.print_exception(error)
    if isinstance(error, typer.Abort):
        return failure.INTERRUPTED
    ours = error if isinstance(error, HeroError) else _translated(error)
    # Wrong usage is found before the session has learnt of a --json further right.
    as_json = session.as_json or (isinstance(ours, failure.WrongUsage) and "--json" in _before_dashes(words))
    if ours.message:
        failure.show_error(ours, as_json=as_json)
    return failure.exit_code_of(ours.kind)


def _translated(error: Exception) -> HeroError:
    """Return an error of typer's or an unforeseen one as ours."""
    if not hasattr(error, "format_message"):
        return HeroError(f"cannot go on: {type(error).__name__}: {error}", hint="run it again with --debug")
    ctx = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{ctx.get_help() if ctx else ''}\n")
        return failure.WrongUsage("")
    text = " ".join(error.format_message().split())
    hint = f"{ctx.command_path if ctx else 'herosup'} --help"
    return failure.WrongUsage(text[:1].lower() + text[1:].rstrip("."), hint=hint)


def _before_dashes(words: list[str]) -> list[str]:
    return words[: words.index("--")] if "--" in words else words


app = typer.Typer(
    name="herosup",
    cls=Herosup,
    help="Drive a running hero-supervisor.",
    epilog=failure.EPILOG,
    no_args_is_help=True,
    # Plain help: the same on every terminal, and it starts in less than half the time.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:  # noqa: FBT001 # typer passes it by position
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"herosup {version('hero-supervisor')}\n")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    *,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="HEROSUP_URL",
            help="Where the service is: unix:/PATH, http:// or https://. Its socket, or else http://127.0.0.1:3030.",
        ),
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="HEROSUP_TOKEN", help="Key or secret to show.")] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=86_400, help="Longest wait for an answer.")
    ] = DEFAULT_TIMEOUT_S,
    as_json: AsJson = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[  # its callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Drive a running hero-supervisor."""
    session = session_of(ctx, as_json=as_json)
    session.url, session.token, session.timeout_s, session.debug = url, token, timeout, debug


app.command()(service.status)
app.command()(why.why)
app.command()(events.events)
app.add_typer(runner.app, name="runner", no_args_is_help=True)
app.add_typer(operation.app, name="operation", no_args_is_help=True)
app.add_typer(job.app, name="job", no_args_is_help=True)
app.add_typer(queue.app, name="queue", no_args_is_help=True)
app.add_typer(queue.dead, name="dead", no_args_is_help=True)
app.add_typer(schedule.app, name="schedule", no_args_is_help=True)
app.add_typer(key.app, name="key", no_args_is_help=True)
app.command()(audit.audit)
app.command()(service.rpc)


def run() -> None:
    """Run ``herosup`` and exit."""
    app(prog_name="herosup")
