"""Values made from the schemas of the OpenRPC document, and values that only resemble them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypothesis.strategies import SearchStrategy

    Schema = Mapping[str, Any]

#: What a caller may send where something else is expected.
JUNK: SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["", "a", "*", "../x", "a" * 5000, "\0", "\ud800", "2026-07-02T10:00:00Z", "%n${x}\n[Service]"]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=10), part, max_size=3),
    max_leaves=5,
)


class Values:
    """Makes strategies for the schemas of one document."""

    def __init__(self, document: Schema, known: Mapping[str, list[str]], *, with_junk: bool) -> None:
        """Prepare.

        Args:
            document: The document.
            known: Names of things that exist, by the name of the parameter or field.
            with_junk: Whether some values do not fit.
        """
        self._junk = [JUNK] if with_junk else []
        self._schemas = document["components"]["schemas"]
        self._known = known

    def of(self, schema: Schema, name: str = "") -> SearchStrategy[Any]:
        """Return a strategy for values of a schema."""
        fitting = st.deferred(lambda: self._fitting(schema, name))
        known = [st.sampled_from(self._known[name])] * 3 if name in self._known else []
        return st.one_of(*known, fitting, fitting, *self._junk)

    def arguments(self, params: list[Schema]) -> SearchStrategy[dict[str, Any]]:
        """Return a strategy for the params of a method, by name; with junk there may be one too many."""
        required = {param["name"]: self.of(param["schema"], param["name"]) for param in params if param["required"]}
        optional = {param["name"]: self.of(param["schema"], param["name"]) for param in params if not param["required"]}
        named = st.fixed_dictionaries(required, optional=optional)
        return st.one_of(named, *(st.builds(dict, named, x=junk) for junk in self._junk))

    def _fitting(self, schema: Schema, name: str) -> SearchStrategy[Any]:
        if "$ref" in schema:
            return self._fitting(self._schemas[schema["$ref"].rpartition("/")[2]], name)
        if "anyOf" in schema:
            return st.one_of([self._fitting(each, name) for each in schema["anyOf"]])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        maker = getattr(self, f"_{schema.get('type', 'any')}")
        return maker(schema)  # type: ignore[no-any-return]  # each returns a strategy

    def _any(self, _: Schema) -> SearchStrategy[Any]:
        return JUNK

    def _null(self, _: Schema) -> SearchStrategy[None]:
        return st.none()

    def _boolean(self, _: Schema) -> SearchStrategy[bool]:
        return st.booleans()

    def _integer(self, schema: Schema) -> SearchStrategy[int]:
        return st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63))

    def _number(self, schema: Schema) -> SearchStrategy[float]:
        lowest = schema.get("minimum", schema.get("exclusiveMinimum"))
        return st.floats(lowest, schema.get("maximum"), allow_nan=False, allow_infinity=False)

    def _string(self, schema: Schema) -> SearchStrategy[str]:
        if schema.get("format") == "date-time":
            return st.datetimes().map(lambda moment: moment.isoformat() + "Z")
        if pattern := schema.get("pattern"):
            return st.from_regex(pattern.removesuffix("(?!\\n)"), fullmatch=True)
        return st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 50), 50))

    def _array(self, schema: Schema) -> SearchStrategy[list[Any]]:
        return st.lists(self.of(schema.get("items", {})), min_size=schema.get("minItems", 0), max_size=3)

    def _object(self, schema: Schema) -> SearchStrategy[dict[str, Any]]:
        fields = {name: self.of(value, name) for name, value in schema.get("properties", {}).items()}
        required = {name: fields.pop(name) for name in schema.get("required", [])}
        named = st.fixed_dictionaries(required, optional=fields)
        if not isinstance(extra := schema.get("additionalProperties"), dict):
            return named
        return st.builds(
            lambda one, other: {**other, **one}, named, st.dictionaries(self._key(schema), self.of(extra), max_size=3)
        )

    def _key(self, schema: Schema) -> SearchStrategy[Any]:
        return self._string({"type": "string", **schema.get("propertyNames", {})})
