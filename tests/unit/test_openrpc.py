"""The OpenRPC document: valid by its specification and by the rules that no schema can say, and true to the code."""

from __future__ import annotations

import copy
import json
import re
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from hero_supervisor.builder import SupervisorBuilder
from hero_supervisor.records import RunnerStatus
from hero_supervisor.rpc import Dispatcher
from hero_supervisor.rpc.docstring import docstring_of, field_comments
from hero_supervisor.rpc.openrpc import discovery, document, examples
from hero_supervisor.testing import InMemoryLogSource, InMemoryProcessManager
from hero_supervisor.web import http_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hero_supervisor.supervisor import Supervisor

ROOT = Path(__file__).parents[2]
#: From the package @open-rpc/spec 1.4.1, dist/1_3.
METASCHEMA = json.loads((Path(__file__).parent / "data/openrpc-1.3-schema.json").read_text())
#: Words of later dialects that validators of draft-07 pass over.
LATER = {"prefixItems", "$defs", "unevaluatedProperties", "dependentRequired", "dependentSchemas", "$dynamicRef"}


@pytest.fixture(scope="module")
def content() -> Any:
    return json.loads(discovery().body)


@pytest.fixture
async def supervisor(tmp_path: Path) -> Supervisor:
    builder = SupervisorBuilder().state_dir(tmp_path)
    return await builder.process_manager(InMemoryProcessManager()).log_source(InMemoryLogSource()).build()


def methods() -> list[Any]:
    return [pytest.param(method, id=method["name"]) for method in document()["methods"]]


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(part)


def references_in(value: Any) -> set[str]:
    return {part["$ref"].removeprefix("#/components/schemas/") for part in objects_in(value) if "$ref" in part}


# -- the specification ---------------------------------------------------------------------------------------------


def test_it_is_valid(content: dict[str, Any]) -> None:
    dialect = DRAFT7.create_resource(Draft7Validator.META_SCHEMA)
    registry: Registry[Any] = Registry().with_resource("https://meta.json-schema.tools", dialect)
    schema = copy.deepcopy(METASCHEMA)
    # These two are of a dialect of its own, which is not to be had without the network.
    del schema["$schema"]
    schema["definitions"]["referenceObject"]["properties"]["$ref"] = {"type": "string"}
    faults = [
        f"{fault.json_path}: {fault.message[:200]}"
        for fault in Draft7Validator(schema, registry=registry).iter_errors(content)
    ]
    assert faults == []


def test_schemas_are_of_its_dialect(content: dict[str, Any]) -> None:
    for schema in [
        *content["components"]["schemas"].values(),
        *(p["schema"] for m in content["methods"] for p in m["params"]),
    ]:
        Draft7Validator.check_schema(schema)
    assert [key for part in objects_in(content) for key in part if key in LATER] == []


def test_no_schema_leads_back_to_itself(content: dict[str, Any]) -> None:
    graph = {name: references_in(schema) for name, schema in content["components"]["schemas"].items()}
    while leaves := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert graph == {}


def test_what_is_referred_to_is_there(content: dict[str, Any]) -> None:
    for part in objects_in(content):
        if "$ref" in part:
            found: Any = content
            for step in part["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            assert found


def test_codes_of_errors_are_unique(content: dict[str, Any]) -> None:
    codes = [error["code"] for error in content["components"]["errors"].values()]
    assert len(codes) == len(set(codes))


# -- each method ---------------------------------------------------------------------------------------------------


def test_names_of_methods_are_unique(content: dict[str, Any]) -> None:
    names = [name for method in content["methods"] for name in (method["name"], *method.get("x-hero-aliases", []))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("method", methods())
def test_a_method_is_described(method: dict[str, Any]) -> None:
    assert re.fullmatch("[a-z][a-z_]*", method["name"])
    assert method["summary"]
    assert not method["summary"].endswith(".")
    assert [param["name"] for param in method["params"] if not param.get("description")] == []
    assert method["x-hero-scope"] in {"none", "read", "user", "register", "admin"}


@pytest.mark.parametrize("method", methods())
def test_what_is_required_comes_first(method: dict[str, Any]) -> None:
    required = [param["required"] for param in method["params"]]
    assert required == sorted(required, reverse=True)
    assert len({param["name"] for param in method["params"]}) == len(required)


@pytest.mark.parametrize("method", methods())
def test_usual_values_are_valid(method: dict[str, Any], content: dict[str, Any]) -> None:
    for param in method["params"]:
        if "default" in param["schema"]:
            Draft7Validator({**param["schema"], "components": content["components"]}).validate(
                param["schema"]["default"]
            )


@pytest.mark.parametrize("method", methods())
def test_an_example_is_valid(method: dict[str, Any], content: dict[str, Any]) -> None:
    for example in method.get("examples", []):
        given = {param["name"]: param["value"] for param in example["params"]}
        # By position they have to be the first ones.
        assert list(given) == [param["name"] for param in method["params"]][: len(given)]
        for param in method["params"]:
            assert param["name"] in given or not param["required"]
            if param["name"] in given:
                Draft7Validator({**param["schema"], "components": content["components"]}).validate(given[param["name"]])
        result = {**method["result"]["schema"], "components": content["components"]}
        Draft7Validator(result).validate(example["result"]["value"])


def test_each_method_has_an_example(content: dict[str, Any]) -> None:
    names = [method["name"] for method in content["methods"]]
    assert sorted(examples()) == sorted(names)


def test_the_subscription_is_described(content: dict[str, Any]) -> None:
    [subscription] = content["x-subscriptions"]
    assert subscription["subscribe"]["name"] == "events_subscribe"
    assert [param["name"] for param in subscription["subscribe"]["params"]] == ["topics", "runner", "job", "since"]
    assert subscription["unsubscribe"]["name"] == "events_unsubscribe"
    assert subscription["notification"]["method"] == "events_subscription"
    for param in (*subscription["subscribe"]["params"], *subscription["notification"]["params"]):
        assert param["description"]


def test_an_event_is_as_described(content: dict[str, Any]) -> None:
    result = content["x-subscriptions"][0]["notification"]["params"][1]["schema"]
    event = {"topic": "job", "cursor": "0f3a91bc-7", "at": "2026-07-02T10:00:00Z", "data": {"status": "started"}}
    validator = Draft7Validator({**result, "components": content["components"]})
    validator.validate(event)
    assert not validator.is_valid({**event, "topic": "exit"})


def test_the_parts_of_a_docstring_are_told_apart() -> None:
    def method() -> None:
        """Do a thing. It is ``odd``
        in a way.

        Really.

        Args:
            a, b: Both
                of them.
            c: One.

        Returns:
            What came
            of it.

        Raises:
            Odd, Even: It is.
        """

    parts = docstring_of(method)
    assert parts.summary == "Do a thing"
    assert parts.description == "It is `odd` in a way.\n\nReally."
    assert parts.arguments == {"a": "Both of them.", "b": "Both of them.", "c": "One."}
    assert parts.returns == "What came of it."
    assert parts.raises == {"Odd": "It is.", "Even": "It is."}


def test_what_is_said_of_a_field_is_said_of_those_right_after_it() -> None:
    comments = field_comments(RunnerStatus)
    assert comments["active_state"] == comments["sub_state"] == "systemd's words."
    assert comments["status"] == "How it is, in one word."
    assert comments["instances"] == "All instances, by number."  # its own; the others are inherited


def test_fields_are_described(content: dict[str, Any]) -> None:
    schemas = content["components"]["schemas"]
    assert schemas["Job"]["properties"]["payload"]["description"] == "The script."
    fields = [field for schema in schemas.values() for field in schema.get("properties", {}).values()]
    described = [field for field in fields if "description" in field]
    assert len(described) > 0.8 * len(fields)


# -- where it is to be had -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openrpc.json", "methods.md"])
def test_what_is_checked_in_is_what_the_code_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["describe.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "packaging/dev/describe.py"), run_name="__main__")
    assert (tmp_path / name).read_text() == (ROOT / "docs" / name).read_text(), "run: make docs"


@pytest.mark.parametrize("params", ["", ', "params": []', ', "params": {}'])
async def test_it_is_discovered(supervisor: Supervisor, content: dict[str, Any], params: str) -> None:
    request = f'{{"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"{params}}}'
    answer = json.loads(await Dispatcher(supervisor).answer(request.encode()) or b"")
    assert answer == {"jsonrpc": "2.0", "id": 1, "result": content}


async def test_it_is_fetched_once_until_it_changes(supervisor: Supervisor, content: dict[str, Any]) -> None:
    transport = httpx.ASGITransport(app=http_app(supervisor, is_loopback=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        first = await client.get("/openrpc.json")
        assert (first.status_code, first.headers["content-type"]) == (200, "application/json")
        assert first.json() == content
        again = await client.get("/openrpc.json", headers={"If-None-Match": f"W/{first.headers['etag']}"})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert (await client.get("/openrpc.json", headers={"If-None-Match": '"other"'})).status_code == 200
        assert (await client.get("/openrpc.json", headers={"Host": "evil.example"})).status_code == 403
        assert (await client.post("/openrpc.json")).status_code == 405
