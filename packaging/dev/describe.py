#!/usr/bin/env python3
"""Write what is made from the code: DIRECTORY/openrpc.json, and DIRECTORY/methods.md for people.

usage: packaging/dev/describe DIRECTORY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hero_supervisor.rpc.openrpc import document

if TYPE_CHECKING:
    from collections.abc import Iterator

    Schema = dict[str, Any]

HEAD = """# Methods

Made from the code by `make docs`, as is [openrpc.json](openrpc.json). [api.md](api.md) tells how calls are made, how
arguments may be given, and what results mean.

| method | parameters | scope |
|---|---|---|
"""


def type_of(schema: Schema) -> str:
    """Return a schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(type_of(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {type_of(schema['items'])}" if schema.get("items") else "array"
    if isinstance(extra := schema.get("additionalProperties"), dict):
        return f"object of {type_of(extra)}"
    return "time" if schema.get("format") == "date-time" else str(schema.get("type", "any value"))


def limits_of(schema: Schema) -> str:
    """Return the bounds of a value, as far as its schema has any."""
    words = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most", "maxLength": "at most"}
    units = {"maxLength": " characters"}
    return ", ".join(f"{word} {schema[key]}{units.get(key, '')}" for key, word in words.items() if key in schema)


def usual(schema: Schema) -> str:
    """Return what a value is when it is not given, if that is known."""
    return f"`{json.dumps(schema['default'])}`" if "default" in schema else ""


def row(*cells: object) -> str:
    """Return a row of a table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def overview(method: Schema) -> str:
    """Return a method's row of the first table."""
    names = [f"`{each['name']}`" + ("" if each.get("required") else "?") for each in method["params"]]
    return row(f"[`{method['name']}`](#{method['name'].replace('.', '')})", ", ".join(names), method["x-hero-scope"])


def described(method: Schema) -> Iterator[str]:
    """Yield the paragraphs about a method."""
    yield f"### {method['name']}\n\n{method['summary']}."
    if "description" in method:
        yield method["description"]
    if method["params"]:
        rows = (
            row(f"`{each['name']}`", type_of(each["schema"]), usual(each["schema"]), each.get("description", ""))
            for each in method["params"]
        )
        yield "\n".join(["| parameter | type | usual | |", "|---|---|---|---|", *rows])
    result = type_of(method["result"]["schema"])
    yield f"Result: {result}. {method['result'].get('description', '')}".rstrip()
    errors = [each["$ref"].rpartition("/")[2] for each in method.get("errors", [])]
    idempotent = "may be repeated" if method["x-hero-idempotent"] else "not to be repeated blindly"
    if method["x-hero-idempotency-key"] and not method["x-hero-idempotent"]:
        idempotent += " without an `idempotency_key`"
    aliases = ", ".join(f"`{name}`" for name in method.get("x-hero-aliases", []))
    facts = [f"Scope `{method['x-hero-scope']}`", idempotent, f"also called {aliases}" if aliases else ""]
    yield "; ".join(fact for fact in facts if fact) + "."
    for example in method.get("examples", []):
        given = {each["name"]: each["value"] for each in example["params"]}
        yield f"```json\n{json.dumps({'method': method['name'], 'params': given}, ensure_ascii=False)}\n```"
    if errors:
        yield f"[Errors](#errors): {', '.join(errors)}."


def subscription(described_: Schema) -> Iterator[str]:
    """Yield the paragraphs about a subscription."""
    yield f"{described_['summary']}: [events.md](events.md)."
    yield from described(described_["subscribe"])
    yield from described(described_["unsubscribe"])
    notification = described_["notification"]
    yield f"### {notification['method']}\n\nThe notification."
    rows = (row(f"`{each['name']}`", type_of(each["schema"]), each["description"]) for each in notification["params"])
    yield "\n".join(["| parameter | type | |", "|---|---|---|", *rows])


def type_section(name: str, schema: Schema) -> Iterator[str]:
    """Yield the paragraphs about a type."""
    yield f"### {name}\n\n{schema.get('description', '')}".rstrip()
    if "enum" in schema:
        yield type_of(schema)
    if fields := schema.get("properties"):
        required = schema.get("required", [])
        rows = (
            row(
                f"`{field}`" + (" (required)" if field in required else ""),
                type_of(value),
                usual(value),
                "; ".join(text.removesuffix(".") for text in (value.get("description", ""), limits_of(value)) if text),
            )
            for field, value in fields.items()
        )
        yield "\n".join(["| field | type | usual | |", "|---|---|---|---|", *rows])


def reference(content: Schema) -> Iterator[str]:
    """Yield the paragraphs of methods.md."""
    methods, components = content["methods"], content["components"]
    yield HEAD + "\n".join(map(overview, methods))
    for tag in dict.fromkeys(method["tags"][0]["name"] for method in methods):
        yield f"## {tag.replace('_', ' ').capitalize()}"
        for method in methods:
            if method["tags"][0]["name"] == tag:
                yield from described(method)
    yield "## Subscriptions"
    for each in content["x-subscriptions"]:
        yield from subscription(each)
    yield "## Errors"
    rows = (
        row(name, each["code"], f"`{each['data']['kind']}`", each["message"])
        for name, each in components["errors"].items()
    )
    yield "\n".join(["| error | code | kind | |", "|---|---|---|---|", *rows])
    yield "## Types"
    for name, schema in components["schemas"].items():
        yield from type_section(name, schema)


def main() -> None:
    """Write both files."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory, content = Path(sys.argv[1]), document()
    (directory / "openrpc.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    (directory / "methods.md").write_text("\n\n".join(reference(content)) + "\n")


if __name__ == "__main__":
    main()
