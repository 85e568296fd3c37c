"""Arguments that several commands share, declared once.

typer reads a command's arguments from its signature, so commands with the same ones would each have to repeat them.
Here they are declared by a function of their own, which makes one value of them, and a command takes that value::

    def job_from(payload: Payload = None, *, file: File = None) -> dict[str, Any]: ...

    @app.command()
    @takes(job=job_from)
    def run(ctx: typer.Context, job: dict[str, Any], *, as_json: AsJson = False) -> None: ...

The command line has the function's arguments in place of the parameter ``job``.
"""

import inspect
from collections.abc import Callable
from typing import Any

Command = Callable[..., None]


def takes(**makers: Callable[..., Any]) -> Callable[[Command], Command]:
    """Replace parameters of a command by those of the functions that make them.

    Args:
        makers: The functions, by the names of the parameters; no two of them have an argument in common.
    """
    arguments = {name: _parameters_of(maker) for name, maker in makers.items()}

    def decorate(command: Command) -> Command:
        def run(**given: Any) -> None:
            made = {
                name: makers[name](**{each.name: given.pop(each.name) for each in own})
                for name, own in arguments.items()
            }
            command(**made, **given)

        shown: list[inspect.Parameter] = []
        for parameter in _parameters_of(command):
            shown += arguments.get(parameter.name, [parameter])
        # Both are what typer reads.
        run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # functions take any attribute
        run.__annotations__ = {each.name: each.annotation for each in shown}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    # By keyword, because defaults may come before what has none.
    own = inspect.signature(function, eval_str=True).parameters.values()
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
