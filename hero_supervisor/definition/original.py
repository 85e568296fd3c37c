"""The original's runner definition, translated into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from hero_supervisor.errors import Fault, InvalidRunner

_FIELDS: Final = ("name", "binary_path", "db_path", "redis_url", "process_manager")


def is_original(data: object) -> bool:
    """Whether decoded JSON or TOML is a definition in the original's form."""
    return isinstance(data, Mapping) and "binary_path" in data


def from_original(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Translate the original's runner definition; fields of ours beside its own are kept.

    It names ``id``, ``name``, ``binary_path``, ``db_path``, ``redis_url`` and ``process_manager``. Its binaries take
    their id as first argument and the two addresses as options. Its two process managers are both systemd here.

    Raises:
        InvalidRunner: One of its own fields is not right.
    """
    rest = {key: value for key, value in data.items() if key not in _FIELDS}
    faults = [Fault(key, "must be a string") for key in _FIELDS if not isinstance(data.get(key, ""), str)]
    if not re.fullmatch("simple|tmux(:.+)?|", str(data.get("process_manager", ""))):
        faults.append(Fault("process_manager", "must be 'simple' or 'tmux:<session>'"))
    if faults:
        raise InvalidRunner(faults)
    options = [("--db-path", data.get("db_path")), ("--redis-url", data.get("redis_url"))]
    words = [word for option, value in options if value for word in (option, value)]
    command = [data["binary_path"], str(data.get("id", "")), *words]
    return {"description": data.get("name", ""), "command": command, **rest}
