"""Asking before something is done that cannot be undone."""

import sys

import typer

from . import failure, output


def confirm(question: str) -> None:
    """Ask whether to do something, as in ``remove runner a``.

    Raises:
        WrongUsage: There is nobody to ask.
        NotConfirmed: The answer was not yes.
    """
    if not sys.stdin.isatty():
        raise failure.WrongUsage(f"cannot {question}: there is nobody to confirm it", hint="say it with --yes")
    if not typer.confirm(output.visible(f"{question}?"), err=True):
        raise failure.NotConfirmed(f"cannot {question}: it was not confirmed")
