"""Who may call what: the original's shared secrets, as scopes."""

from __future__ import annotations

import hmac
from enum import IntEnum
from typing import TYPE_CHECKING

from hero_supervisor.errors import PermissionDenied
from hero_supervisor.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hero_supervisor.settings import Secrets


class Scope(IntEnum):
    """What a caller may do; a higher one includes the lower ones."""

    READ = 0
    USER = 1
    REGISTER = 2
    ADMIN = 3


def authorise(secrets: Secrets, secret: str | None, needed: Scope, method: str) -> None:
    """Check that a caller who shows ``secret`` may call a method that needs a scope.

    With no secrets configured everything is allowed: the service then listens on the loopback address only.

    Raises:
        PermissionDenied: The secret is missing, unknown, or of too low a scope.
    """
    if not secrets or needed <= scope_of(secrets, secret):
        return
    reason = "a secret is needed" if secret is None else "this secret does not allow it"
    raise PermissionDenied(
        f"cannot call {method}: {reason}",
        hint="send it as 'Authorization: Bearer SECRET', or as the parameter 'secret'",
        scope=needed.name.lower(),
    )


def scope_with(scope: Scope, arguments: Iterable[object]) -> Scope:
    """Return the scope that a call needs: its method's, or a higher one for what a runner among its arguments asks.

    Unit properties of one's own choice are for administrators. So is a runner that starts by itself, as
    ``start_runner`` is.
    """
    runners = [argument for argument in arguments if isinstance(argument, Runner)]
    is_special = any(runner.extra_properties or runner.autostart for runner in runners)
    return Scope.ADMIN if is_special else scope


def scope_of(secrets: Secrets, secret: str | None) -> Scope:
    """Return the highest scope that a secret gives."""
    lists = ((Scope.ADMIN, secrets.admin), (Scope.REGISTER, secrets.register), (Scope.USER, secrets.user))
    found = [scope for scope, known in lists if secret is not None and _is_among(secret, known)]
    return max(found, default=Scope.READ)


def _is_among(secret: str, known: Iterable[str]) -> bool:
    # Every entry is compared, in constant time, so that timing tells nothing.
    return any(hmac.compare_digest(secret.encode(errors="replace"), entry.encode()) for entry in known)
