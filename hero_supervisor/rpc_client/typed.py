"""Between the types of the library and the plain data that goes over the wire; what all typed methods call."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from hero_supervisor.job import Job

from .blocking import RawClient
from .failures import UnexpectedAnswer
from .nonblocking import AsyncRawClient

ResultT = TypeVar("ResultT")

#: Seconds that the service allows for the end of a job beside the job's own timeout.
_WAIT_MARGIN_S: Final = 60


class Asker(RawClient):
    """A client whose methods say what they return."""

    def _ask(self, method: str, result: type[ResultT], /, **arguments: object) -> ResultT:
        timeout_s = self._timeout_s + allowance_s(arguments)
        return decoded(method, result, self.call(method, plain(arguments), timeout_s=timeout_s))


class AsyncAsker(AsyncRawClient):
    """A client whose methods say what they return."""

    async def _ask(self, method: str, result: type[ResultT], /, **arguments: object) -> ResultT:
        timeout_s = self._timeout_s + allowance_s(arguments)
        return decoded(method, result, await self.call(method, plain(arguments), timeout_s=timeout_s))


def plain(arguments: dict[str, object]) -> dict[str, Any]:
    """Return arguments as they are sent. None is what every argument that may be None is when it is not sent."""
    return {name: _plain(value) for name, value in arguments.items() if value is not None}


def _plain(value: object) -> Any:
    """Return a value as JSON has it, without fields that say the usual: earlier services know fewer of them."""
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    said = msgspec.to_builtins(value)
    if isinstance(value, msgspec.Struct):
        usual = _usual(type(value))
        return {name: each for name, each in said.items() if name not in usual or each != usual[name]}
    return said


@cache
def _usual(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the fields that are the same in all values that do not say otherwise."""
    fields = msgspec.structs.fields(struct)
    usual = {field.name: field.default for field in fields if field.default is not msgspec.NODEFAULT}
    empty = {field.name: field.default_factory() for field in fields if field.default_factory in {dict, list}}
    known: dict[str, Any] = msgspec.to_builtins(usual | empty)
    return known


def decoded(method: str, type_: type[ResultT], result: object) -> ResultT:
    """Return a result as the type that its method promises.

    Raises:
        UnexpectedAnswer: It is something else.
    """
    try:
        return msgspec.convert(result, type_)
    except msgspec.ValidationError as exc:
        hint = "do this program and the service have the same version?"
        text = str(exc)[:1].lower() + str(exc)[1:300]
        raise UnexpectedAnswer(f"cannot use the answer of {method}: {text}", hint=hint, method=method) from exc


def allowance_s(arguments: dict[str, object]) -> float:
    """Return how many seconds longer than others a call may take, because it asks the service to wait so long."""
    timeout, job = arguments.get("timeout"), arguments.get("job")
    if isinstance(timeout, int | float):
        return timeout
    return job.timeout + _WAIT_MARGIN_S if isinstance(job, Job) and "timeout" in arguments else 0.0
