"""The documentation names what there is: fields of a runner, properties of a sandbox, extra properties."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hero_supervisor.definition.extra_properties import EXTRA_PROPERTIES
from hero_supervisor.definition.limits import Limits, LogRate
from hero_supervisor.definition.restart import Backoff
from hero_supervisor.definition.sandbox import Sandbox
from hero_supervisor.runner import Runner
from hero_supervisor.unit import Capabilities, Site
from hero_supervisor.unit.sandbox import sandbox_properties

RUNNERS = (Path(__file__).parents[2] / "docs/runners.md").read_text()

STRUCTS = ((Runner, ""), (Backoff, "backoff."), (Limits, "limits."), (LogRate, "log_rate."))
FIELDS = [prefix + field.name for struct, prefix in STRUCTS for field in msgspec.structs.fields(struct)]


@pytest.mark.parametrize("field", [field for field in FIELDS if field not in {"backoff", "limits", "log_rate"}])
def test_a_field_of_a_runner_has_a_row(field: str) -> None:
    assert any(f"`{field}`" in line.split("|")[1] for line in RUNNERS.splitlines() if line.startswith("| `"))


@pytest.mark.parametrize("is_user", [False, True])
def test_a_property_of_a_sandbox_is_named(*, is_user: bool) -> None:
    runner = Runner(id="a", command=("/bin/true",), sandbox=Sandbox.STRICT)
    table = RUNNERS.partition("## Sandbox")[2].partition("## Secrets")[0]
    for prop in sandbox_properties(runner, Site("hero", Path("/x")), Capabilities(is_user=is_user)):
        assert f"`{prop.name}`" in table


def test_extra_properties_are_named() -> None:
    assert [name for name in EXTRA_PROPERTIES if f"`{name}`" not in RUNNERS] == []
