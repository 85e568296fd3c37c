"""What makes a command valid: words that reach a process byte for byte, and a program that systemd can find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hero_supervisor import schema
from hero_supervisor.errors import Fault

from .environment import MAX_COMMAND_BYTES, size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def command_faults(path: str, command: Sequence[str]) -> Iterable[Fault]:
    """Yield what is wrong with a program and its arguments; no words at all are none.

    Args:
        path: Of the field that holds the command.
        command: The program and its arguments.
    """
    program = command[0] if command else "/"
    if not program or program in {".", ".."} or ("/" in program and not program.startswith("/")):
        yield Fault(f"{path}[0]", "must be an absolute path or a bare program name")
    for index, word in enumerate(command):
        yield from schema.unit_text_faults(f"{path}[{index}]", word)
    if size_of(command) > MAX_COMMAND_BYTES:
        yield Fault(path, f"must be at most {MAX_COMMAND_BYTES} bytes in all")
