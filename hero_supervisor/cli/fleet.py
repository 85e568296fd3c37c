"""``herosup runner``'s verbs on many runners at once: chosen by ids, globs and labels, or all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from . import failure, inputs, operation
from .confirming import confirm
from .session import AsJson, Session, complete_runner, session_of
from .sharing import takes

#: Verbs without arguments of their own, and what they do.
VERBS: Final = {
    "start": "Start runners; wait until each is ready.",
    "stop": "Stop runners; wait until each has ended.",
    "restart": "Stop runners and start them again.",
    "roll": "Restart instances one after the other, as each is ready.",
    "drain": "Let runners finish the jobs they have, and stop them.",
    "reset": "Forget failures; start at once what is meant to run.",
    "reload": "Make runners read their configuration again.",
    "kill": "Kill all processes at once; what is to run starts again.",
    "freeze": "Suspend every process of runners.",
    "thaw": "Let the processes of runners go on after a freeze.",
}


@dataclass(frozen=True)
class _Choice:
    """The runners that are meant."""

    patterns: list[str]
    labels: dict[str, str]

    def params(self) -> dict[str, Any]:
        return {"runners": self.patterns, **({"labels": self.labels} if self.labels else {})}

    def names_each(self) -> bool:
        """Whether every runner is named by its id."""
        return bool(self.patterns) and not any(char in pattern for pattern in self.patterns for char in "*?[")

    def __str__(self) -> str:
        labelled = ", ".join(f"{name}={value}" for name, value in self.labels.items())
        which = "all runners" if self.patterns in ([], ["*"]) else f"runners {' '.join(self.patterns)}"
        return which + (f" with the labels {labelled}" if labelled else "")


def _choice(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Ids of runners, or globs like 'web-*'.", autocompletion=complete_runner),
    ] = None,
    *,
    label: Annotated[
        list[str] | None, typer.Option("-l", "--label", metavar="K=V", help="Only with this label; repeatable.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All runners, in place of ids.")] = False,
) -> _Choice:
    labels = inputs.pairs_in(label or [], "label")
    if ids and all_:
        raise failure.WrongUsage("cannot tell which runners are meant: give ids, or --all")
    if not (ids or all_ or labels):
        raise failure.WrongUsage("cannot tell which runners are meant: give ids, --label or --all")
    return _Choice(["*"] if all_ else ids or [], labels)


def verb(name: str) -> Callable[..., None]:
    """Return the command for one of VERBS."""

    @takes(choice=_choice)
    def command(
        ctx: typer.Context, choice: _Choice, *, no_wait: operation.NoWait = False, as_json: AsJson = False
    ) -> None:
        _operate(session_of(ctx, as_json=as_json), {"verb": name, **choice.params()}, no_wait=no_wait)

    return command


@takes(choice=_choice)
def signal(
    ctx: typer.Context,
    signal: Annotated[str, typer.Argument(metavar="SIGNAL", help="Its name, like SIGUSR1 or usr1.")],
    choice: _Choice,
    *,
    no_wait: operation.NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Send a signal to the main processes of runners."""
    name = f"SIG{signal.upper().removeprefix('SIG')}"
    params = {"verb": "signal", "signal": name, **choice.params()}
    _operate(session_of(ctx, as_json=as_json), params, no_wait=no_wait)


@takes(choice=_choice)
def remove(
    ctx: typer.Context,
    choice: _Choice,
    *,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    no_wait: operation.NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Stop and forget runners; it asks unless each is named."""
    session = session_of(ctx, as_json=as_json)
    if not (yes or choice.names_each()):
        confirm(f"remove {choice}")
    _operate(session, {"verb": "remove", **choice.params()}, no_wait=no_wait)


def _operate(session: Session, params: dict[str, Any], *, no_wait: bool) -> None:
    operation.run(session, "operate_runners", params, is_awaited=not no_wait)
