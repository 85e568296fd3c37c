"""The service's own log: the original's level directives, and lines that journald understands."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Final

from .errors import Fault, InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

TRACE: Final = 5
_LEVELS: Final = {
    "off": logging.CRITICAL + 10,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
#: syslog priorities, which journald reads from the beginning of a line (sd-daemon(3)).
_PRIORITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def directives_from(environ: Mapping[str, str]) -> str:
    """Return the log directives that the environment asks for: ``HERO_LOG``, or else ``RUST_LOG``."""
    return environ.get("HERO_LOG") or environ.get("RUST_LOG") or "error"


def parse_directives(text: str) -> dict[str, int]:
    """Return the log level of each module that ``text`` names; the empty name stands for all others.

    Args:
        text: Comma-separated directives, each a level or ``module=level``; a module alone means ``trace``.
            Levels are off, error, warn, info, debug, trace. ``a::b`` is accepted for ``a.b``.

    Raises:
        InvalidSettings: A directive names no level.

    >>> parse_directives("hero_supervisor.systemd=debug,info")
    {'': 20, 'hero_supervisor.systemd': 10}
    """
    levels = {"": logging.ERROR}
    for directive in filter(None, (part.strip() for part in text.split(","))):
        module, separator, level = directive.rpartition("=")
        if not separator and directive.lower() not in _LEVELS:
            module, level = directive, "trace"
        if level.lower() not in _LEVELS:
            known = ", ".join(_LEVELS)
            raise InvalidSettings([Fault("log", f"{level!r} is not a level; levels are {known}")])
        levels[module.replace("::", ".")] = _LEVELS[level.lower()]
    return levels


def configure(text: str) -> None:
    """Send log records at or above the levels in ``text`` to standard error.

    Raises:
        InvalidSettings: See ``parse_directives``.
    """
    levels = parse_directives(text)
    logging.addLevelName(TRACE, "TRACE")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JournalFormatter() if "JOURNAL_STREAM" in os.environ else _PlainFormatter())
    logging.basicConfig(handlers=[handler], force=True)
    for module, level in levels.items():
        logging.getLogger(module).setLevel(level)


class _PlainFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")


class _JournalFormatter(logging.Formatter):
    """One journal entry a record: each line starts with its priority; journald adds the time."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        priority = next((value for level, value in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
