"""How far a runner is shut in, as a word. What each word means to systemd is the table in ``unit/sandbox.py``."""

from __future__ import annotations

from enum import StrEnum


class Sandbox(StrEnum):
    """How far a runner is shut in. See docs/runners.md."""

    #: Only what a program needs that computes, uses the network and keeps files of its own.
    STRICT = "strict"
    #: A user of its own, a file system it cannot change, no devices, no way to more rights.
    DEFAULT = "default"
    #: Nothing: it may do all that its user may, and that is root on the system manager.
    TRUSTED = "trusted"
