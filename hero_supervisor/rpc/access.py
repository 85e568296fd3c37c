"""Who may call what: from a connection and a secret to a caller with a scope, and from that to yes or no.

A caller may do what its connection allows or its secret, whichever is more. Over the unix socket root, the service's
own user and members of its group may do everything, all others what callers may who show no secret. A secret that is
shown has to be right, whatever the connection allows: who sends a wrong one believes to be somebody else. Only where
there is neither a secret nor a key to compare with it is of no account: clients of the original always send one.

Wrong secrets are counted by where they come from. After ``MAX_FAILURES`` within a minute, more of them are told so;
right ones and calls without are not held up, for others may come from the same address. So this ends the noise of a
caller gone wrong, and says in the log that it was there. What makes guessing hopeless is the length of the secret.
"""

from __future__ import annotations

import logging
import math
import os
from typing import TYPE_CHECKING, Final

from hero_supervisor.access_records import KeyCheck
from hero_supervisor.errors import PermissionDenied, TooManyTries, WrongSecret
from hero_supervisor.operations.access import secret_in
from hero_supervisor.runner import Runner
from hero_supervisor.scope import Scope, highest

from .caller import Caller, Peer
from .leases import Leases
from .throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hero_supervisor.api_keys import KeyStore
    from hero_supervisor.settings import Secrets
    from hero_supervisor.supervisor import Supervisor

__all__ = ["Access", "Scope", "authorise", "scope_with"]

logger = logging.getLogger(__name__)

#: Wrong secrets within a minute from one source that are answered like the first one.
MAX_FAILURES: Final = 10


class Access:
    """Tells who callers are, and what they may do."""

    def __init__(
        self,
        secrets: Secrets,
        keys: KeyStore,
        *,
        anonymous: Scope = Scope.READ,
        admin_gid: int | None = None,
        failures: Throttle | None = None,
    ) -> None:
        """Prepare.

        Args:
            secrets: Those of the settings.
            keys: Those that were made.
            anonymous: What callers may do who show no secret.
            admin_gid: The group whose members may do everything over the unix socket.
            failures: Counts wrong secrets.
        """
        self._secrets = secrets
        self._keys = keys
        self._anonymous = anonymous
        self._admin_gid = admin_gid
        self._failures = failures or Throttle()
        #: What callers keep open.
        self.leases = Leases(keys)

    @classmethod
    def to(cls, supervisor: Supervisor, *, admin_gid: int | None = None) -> Access:
        """Return the access to a supervisor, as it is set up."""
        return cls(supervisor.secrets, supervisor.keys, anonymous=supervisor.anonymous_scope, admin_gid=admin_gid)

    def caller(self, peer: Peer, secret: str | None = None) -> Caller:
        """Tell who calls.

        Args:
            peer: The other end of the connection.
            secret: What it showed.

        Raises:
            WrongSecret: The secret is not one of ours, or has expired.
            TooManyTries: The same, once too often.
        """
        by_peer = self._by_connection(peer)
        if secret is None or not (self._secrets or self._keys.listed()):
            return by_peer
        key = None
        if found := secret_in(self._secrets, secret):
            who, scope = found
        elif key := self._keys.check(secret):
            who, scope = f"key {key.name}", key.scope
        else:
            raise self._failed(peer)
        scope = highest(scope, by_peer.scope)
        return Caller(who, scope, peer, has_shown_secret=True, key_id=key.id if key else None)

    def with_secret(self, caller: Caller, secret: str | None) -> Caller:
        """Tell who calls when there is a secret in the params, too; that of the header is stronger. Raises as above."""
        return caller if secret is None or caller.has_shown_secret else self.caller(caller.peer, secret)

    def look_at(self, result: object, peer: Peer) -> None:
        """Count the answer to a question for a secret, if it is that and tells that the secret is wrong.

        Raises:
            TooManyTries: It was asked too often.
        """
        if isinstance(result, KeyCheck) and not result.is_valid:
            error = self._failed(peer)
            if isinstance(error, TooManyTries):
                raise error

    def _by_connection(self, peer: Peer) -> Caller:
        if peer.uid is None:
            return Caller("anonymous", self._anonymous, peer)
        is_trusted = peer.uid in {0, os.geteuid()} or self._admin_gid in {peer.gid, *peer.groups}
        return Caller(f"uid {peer.uid}", Scope.ADMIN if is_trusted else self._anonymous, peer)

    def _failed(self, peer: Peer) -> WrongSecret:
        number, left_s = self._failures.count(peer.source)
        if number == 1:
            where = peer if peer.source == str(peer) else f"{peer.source}, {peer}"
            logger.error("a wrong secret came from %s; more from there are not told of for a minute", where)
        if number > MAX_FAILURES:
            wait_s = math.ceil(left_s)
            hint = "find the program that sends it; right ones are accepted at any time"
            text = f"cannot accept this secret: too many wrong ones came from there; try again in {wait_s} s"
            return TooManyTries(text, hint=hint, retry_after_s=wait_s)
        hint = "ask `herosup key list` which keys there are, or make one: herosup key create NAME"
        return WrongSecret("cannot accept this secret: it is not known here, or has expired", hint=hint)


def authorise(caller: Caller, needed: Scope, method: str) -> None:
    """Check that a caller may call a method that needs a scope.

    Raises:
        PermissionDenied: It may not.
    """
    if caller.scope.includes(needed):
        return
    hint = "show a key: herosup --token KEY, or 'Authorization: Bearer KEY'"
    if not caller.has_shown_secret:
        hint += f"; as root make one with: herosup key create NAME --scope {needed}"
    text = f"cannot call {method}: it needs scope '{needed}', and {_has(caller)}"
    raise PermissionDenied(text, hint=hint, scope=needed, has=caller.scope)


def _has(caller: Caller) -> str:
    if caller.has_shown_secret:
        return f"this secret has '{caller.scope}'"
    return f"callers without a secret have '{caller.scope}'"


def scope_with(scope: Scope, arguments: Iterable[object]) -> Scope:
    """Return the scope that a call needs: its method's, or a higher one for what a runner among its arguments asks.

    Unit properties of one's own choice are for administrators. So is a runner that starts by itself, as
    ``start_runner`` is.
    """
    runners = [argument for argument in arguments if isinstance(argument, Runner)]
    is_special = any(runner.extra_properties or runner.autostart for runner in runners)
    return Scope.ADMIN if is_special else scope
