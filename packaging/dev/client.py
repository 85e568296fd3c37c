#!/usr/bin/env python3
"""Write the methods of the clients, which are made from the table of methods: hero_supervisor/rpc_client/*.py.

usage: packaging/dev/client.py DIRECTORY
"""

from __future__ import annotations

import inspect
import sys
from enum import Enum
from pathlib import Path
from textwrap import indent
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from hero_supervisor.rpc.methods import METHODS
from hero_supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WIDTH = 120
#: What the rules say of parameters that are as the service has them.
PARAMETER_RULES = "FBT001, FBT002"

HEAD = '''"""The methods of the service as methods of {client}. Made from the code by `make docs`."""

# ruff: noqa: {rules}  # the parameters are the service's

from __future__ import annotations

{imports}


class {name}({base}):
    """One method for each method of the service; see docs/methods.md."""
'''

IDEMPOTENT = '''"""Names of methods that change nothing further when repeated. Made from the code by `make docs`."""

from typing import Final

IDEMPOTENT: Final = frozenset(
    {{
{names}
    }}
)
'''


class Kind(NamedTuple):
    """One of the two clients."""

    file: str
    name: str
    base: str
    client: str
    define: str
    ask: str
    rules: str


KINDS = (
    Kind("methods.py", "Methods", "Asker", "``RpcClient``", "def", "self._ask", PARAMETER_RULES),
    Kind(
        *("async_methods.py", "AsyncMethods", "AsyncAsker", "``AsyncRpcClient``", "async def", "await self._ask"),
        f"ASYNC109, {PARAMETER_RULES}",
    ),
)


class Method(NamedTuple):
    """What an operation looks like from outside."""

    name: str
    parameters: tuple[inspect.Parameter, ...]
    hints: dict[str, Any]
    docstring: str

    @classmethod
    def named(cls, name: str) -> Method:
        """Read the operation of this name."""
        function = getattr(Supervisor, name)
        parameters = tuple(inspect.signature(function).parameters.values())[1:]
        return cls(name, parameters, get_type_hints(function), inspect.getdoc(function) or "")

    def written(self, kind: Kind) -> str:
        """Return the method of a client."""
        given = ["self", *self._parameters()]
        define = fitted(f"    {kind.define} {self.name}(", given, f") -> {text_of(self.hints['return'])}:")
        result = self.hints["return"]
        names = [f"{each.name}={each.name}" for each in self.parameters]
        arguments = [f'"{self.name}"', text_of(result, is_value=True), *names]
        back = "" if result is NoneType else "return "
        call = fitted(f"        {back}{kind.ask}(", arguments, ")")
        end = "\n" if "\n" in self.docstring else ""
        docstring = indent(f'"""{self.docstring}{end}"""', " " * 8)
        return f"{define}\n{docstring}\n{call}\n"

    def _parameters(self) -> Iterator[str]:
        is_by_name = False
        for each in self.parameters:
            if each.kind is each.KEYWORD_ONLY and not is_by_name:
                is_by_name = True
                yield "*"
            yield f"{each.name}: {text_of(self.hints[each.name])}{default_of(each)}"


def default_of(parameter: inspect.Parameter) -> str:
    """Return a default as code. None is never sent, so it has to be the default where it is allowed."""
    if parameter.default is parameter.empty:
        return ""
    value = parameter.default
    return f" = {type(value).__name__}.{value.name}" if isinstance(value, Enum) else f" = {value!r}"


def text_of(type_: Any, *, is_value: bool = False) -> str:
    """Return a type as code: as an annotation, or as a value."""
    if type_ is NoneType:
        return "NoneType" if is_value else "None"
    if get_origin(type_) in {Union, UnionType}:
        return " | ".join(map(text_of, get_args(type_)))
    if arguments := get_args(type_):
        inner = ", ".join("..." if each is Ellipsis else text_of(each) for each in arguments)
        return f"{get_origin(type_).__name__}[{inner}]"
    return str(type_.__name__)


def classes_in(type_: Any) -> Iterator[type]:
    """Yield the classes in a type."""
    if arguments := get_args(type_):
        for each in arguments:
            yield from classes_in(each)
    elif isinstance(type_, type):
        yield type_


def fitted(head: str, items: list[str], tail: str) -> str:
    """Return a list of items on one line if they fit, else on a line of their own, or on one each, as ruff has it."""
    deeper = " " * (len(head) - len(head.lstrip()) + 4)
    flat = ", ".join(items)
    if len(head + flat + tail) <= WIDTH:
        return head + flat + tail
    if len(deeper + flat) <= WIDTH:
        return f"{head}\n{deeper}{flat}\n{deeper[4:]}{tail}"
    return "\n".join([head, *(f"{deeper}{item}," for item in items), deeper[4:] + tail])


def imports_for(kind: Kind, methods: Iterable[Method]) -> str:
    """Return the imports of a module: what results are made into now, what is only an annotation for type checkers."""
    results, others = set[type](), set[type]()
    for method in methods:
        results |= set(classes_in(method.hints["return"]))
        others |= {each for name, hint in method.hints.items() if name != "return" for each in classes_in(hint)}
    now = import_lines(results, first={"types": {"NoneType"}})
    typed = f"from .typed import {kind.base}"
    only = indent(import_lines(others - results), "    ")
    checked = f"if TYPE_CHECKING:\n{only}"
    return f"{now}\n\n{typed}\n\n{checked}"


def import_lines(classes: Iterable[type], first: dict[str, set[str]] | None = None) -> str:
    """Return imports, the standard library's before ours."""
    names: dict[str, set[str]] = dict(first or {})
    if first:
        names["typing"] = {"TYPE_CHECKING"}
    for each in classes:
        if each.__module__ != "builtins" and each is not NoneType:
            names.setdefault(each.__module__, set()).add(each.__name__)
    groups: tuple[list[str], list[str]] = ([], [])
    for module in sorted(names):
        found = sorted(names[module], key=str.lower)
        line = f"from {module} import {', '.join(found)}"
        if len(line) > WIDTH:
            line = f"from {module} import (\n" + "".join(f"    {name},\n" for name in found) + ")"
        groups[module.startswith("hero_supervisor")].append(line)
    return "\n\n".join("\n".join(group) for group in groups if group)


def module_for(kind: Kind, methods: list[Method]) -> str:
    """Return the module of a client's methods."""
    imports = imports_for(kind, methods)
    head = HEAD.format(imports=imports, **{key: value for key, value in kind._asdict().items() if key != "ask"})
    return "\n".join([head, *(method.written(kind) for method in methods)])


def main() -> None:
    """Write all files."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = Path(sys.argv[1])
    methods = [Method.named(method.name) for method in METHODS]
    for kind in KINDS:
        (directory / kind.file).write_text(module_for(kind, methods))
    names = sorted(method.name for method in METHODS if method.is_idempotent)
    (directory / "idempotent.py").write_text(IDEMPOTENT.format(names="\n".join(f'        "{name}",' for name in names)))


if __name__ == "__main__":
    main()
