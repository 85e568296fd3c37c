"""Scopes: which secret opens which method."""

from __future__ import annotations

from typing import Any

import pytest

from hero_supervisor.errors import PermissionDenied
from hero_supervisor.rpc.access import Scope, authorise, scope_with
from hero_supervisor.runner import Runner
from hero_supervisor.settings import Secrets

SECRETS = Secrets(admin=("root",), user=("joe", "jane"), register=("reg",))


@pytest.mark.parametrize(
    ("secret", "highest"),
    [("root", Scope.ADMIN), ("reg", Scope.REGISTER), ("jane", Scope.USER), ("wrong", Scope.READ), (None, Scope.READ)],
)
def test_a_secret_opens_its_scope_and_the_lower_ones(secret: str | None, highest: Scope) -> None:
    for needed in Scope:
        if needed <= highest:
            authorise(SECRETS, secret, needed, "method")
        else:
            with pytest.raises(PermissionDenied, match="cannot call method"):
                authorise(SECRETS, secret, needed, "method")


@pytest.mark.parametrize("secret", [None, "", "anything"])
def test_without_secrets_everything_is_open(secret: str | None) -> None:
    authorise(Secrets(), secret, Scope.ADMIN, "method")


@pytest.mark.parametrize("secret", ["", "ü", "\ud800", "root\0"])
def test_odd_secrets_are_refused_not_an_accident(secret: str) -> None:
    with pytest.raises(PermissionDenied):
        authorise(SECRETS, secret, Scope.ADMIN, "method")


@pytest.mark.parametrize(
    ("fields", "needed"),
    [({}, Scope.REGISTER), ({"extra_properties": {"Nice": 1}}, Scope.ADMIN), ({"autostart": True}, Scope.ADMIN)],
)
def test_only_an_administrator_adds_runners_that_start_or_set_properties(fields: dict[str, Any], needed: Scope) -> None:
    arguments = [Runner(id="a", command=("/bin/true",), **fields), 5]
    assert scope_with(Scope.REGISTER, arguments) is needed
