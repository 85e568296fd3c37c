"""The examples of the OpenRPC document, called one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator

from hero_supervisor.rpc.openrpc import document, examples

if TYPE_CHECKING:
    from tests.e2e.conftest import Service

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("is_by_name", [True, False])
def test_every_example_runs_and_gives_what_it_says(service: Service, *, is_by_name: bool) -> None:
    content = document()
    schemas = {method["name"]: method["result"]["schema"] for method in content["methods"]}
    operations: dict[str, str] = {}  # made anew each time
    for method, example in examples().items():
        params: dict[str, Any] = {
            name: operations.get(value, value) if isinstance(value, str) else value
            for name, value in example["params"].items()
        }
        result = service.rpc.call(method, params if is_by_name else list(params.values()))
        Draft7Validator({**schemas[method], "components": content["components"]}).validate(result)
        assert type(result) is type(example["result"]), method
        if isinstance(result, dict):
            assert result.keys() == example["result"].keys(), method
        if method == "operate_runners":
            operations[example["result"]["id"]] = result["id"]
