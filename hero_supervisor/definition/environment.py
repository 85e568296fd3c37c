"""What a process is given beside its arguments: environment variables and credentials, and what makes them valid.

Every local user can read the variables of a unit over D-Bus (and in /proc those of their own processes). So a variable
that looks like a secret is refused: a credential is a file that only the runner can read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from hero_supervisor import schema
from hero_supervisor.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Most bytes that all words of a command, or all entries of an environment, may take.
#: The kernel refuses a single word of 128 KiB (MAX_ARG_STRLEN, execve(2)).
MAX_COMMAND_BYTES: Final = 128 * 1024 - 1

#: Set by the supervisor for every runner, so not up to its definition. See docs/runners.md.
RESERVED_ENV: Final = frozenset({"HERO_RUNNER", "HERO_INSTANCE", "HERO_NAMESPACE", "HERO_QUEUE", "HERO_REDIS_URL"})

#: Whole words of a variable's name that tell of a secret; but a name that ends in FILE or the like says where one is.
_SECRET_NAME: Final = re.compile(
    r"(?:.*_)?(?:PASSWORDS?|PASSWD|PASSPHRASE|TOKEN|SECRETS?|CREDENTIALS?"
    r"|(?:API|PRIVATE|SECRET|SIGNING|ENCRYPTION)_?KEY)(?:_.*)?(?<!_FILE)(?<!_PATH)(?<!_DIR)",
    re.IGNORECASE,
)

CredentialName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$(?!\n)",
        description="Name of a credential: letters, digits, '_', '.' and '-'; at most 63.",
    ),
]
FilePath = Annotated[str, Meta(min_length=1, max_length=4095, description="Absolute path.")]
Credentials = Annotated[dict[CredentialName, FilePath], Meta(max_length=64)]


def env_faults(env: Mapping[str, str], allowed: Iterable[str]) -> Iterable[Fault]:
    """Yield what is wrong with environment variables.

    Args:
        env: The variables.
        allowed: Names that may look like secrets.
    """
    allowed = tuple(allowed)
    for name, value in env.items():
        yield from _variable_faults(f"env.{name[:80]}", name, value, may_be_secret=name in allowed)
    if size_of([*env, *env.values()]) > MAX_COMMAND_BYTES:
        yield Fault("env", f"must be at most {MAX_COMMAND_BYTES} bytes in all")
    for index, name in enumerate(allowed):
        if name not in env:
            yield Fault(f"allow_secret_env[{index}]", "names no variable of env")


def credential_faults(credentials: Mapping[str, str]) -> Iterable[Fault]:
    """Yield what is wrong with credentials: their paths must be absolute."""
    for name, path in credentials.items():
        yield from schema.path_faults(f"credentials.{name}", path)


def size_of(words: Iterable[str]) -> int:
    """Return the bytes that words take in a process: each ends with a NUL."""
    # Surrogates are reported elsewhere.
    return sum(len(word.encode(errors="replace")) + 1 for word in words)


def _variable_faults(path: str, name: str, value: str, *, may_be_secret: bool) -> Iterable[Fault]:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        yield Fault(path, "must be a variable name: letters, digits and '_'")
    if name in RESERVED_ENV:
        yield Fault(path, "is set by the supervisor")
    elif _SECRET_NAME.fullmatch(name) and not may_be_secret:
        yield Fault(
            path,
            "looks like a secret, and every local user can read it: give it as a file in credentials, "
            "or name the variable in allow_secret_env",
        )
    yield from schema.unit_text_faults(path, value)
