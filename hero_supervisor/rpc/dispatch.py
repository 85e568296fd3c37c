"""JSON-RPC 2.0: bytes in, bytes out. Source: jsonrpc.org/specification.

We read the envelope and split batches ourselves; jsonrpcserver looks the method up and carries its result. It is
entered below its own parser because that answers a batch with one bad element by a single error, and puts the text
of unexpected exceptions on the wire.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from inspect import Parameter as InspectParameter
from inspect import Signature
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec
from jsonrpcserver import JsonRpcError, Result, Success
from jsonrpcserver.async_dispatcher import dispatch_request
from jsonrpcserver.request import Request
from jsonrpcserver.sentinels import NOCONTEXT
from oslash.either import Left

from hero_supervisor.errors import HeroError, InvalidInput

from . import codes, params
from .access import authorise, scope_with
from .aliases import ALIASES
from .methods import METHODS, Method
from .openrpc import DISCOVER, discovery

if TYPE_CHECKING:
    from hero_supervisor.supervisor import Supervisor

    from .aliases import Shape

logger = logging.getLogger(__name__)

#: Most requests in one batch, and how many of them run at once.
MAX_BATCH: Final = 100
BATCH_CONCURRENCY: Final = 8

Response = dict[str, Any]
Handler = Callable[["_Request"], Awaitable[Result]]


class _Request(msgspec.Struct):
    """What a handler gets: the raw params, and the secret of the transport."""

    params: object
    secret: str | None


class Dispatcher:
    """Answers JSON-RPC requests by calling a supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        methods = {method.name: method for method in METHODS}
        self._handlers = {name: _handler(supervisor, method) for name, method in methods.items()}
        for alias in ALIASES:
            self._handlers[alias.name] = _handler(supervisor, methods[alias.method], shape=alias.shape)
        self._handlers[DISCOVER] = _discover

    def handler(self, method: Method, call: Callable[..., Awaitable[object]]) -> Handler:
        """Return what answers a method that a transport has for one of its connections; give it to ``answer``."""
        return _handler(self._supervisor, method, call=call)

    async def answer(
        self, body: bytes, *, secret: str | None = None, own: Mapping[str, Handler] = MappingProxyType({})
    ) -> bytes | None:
        """Answer the body of a request.

        Args:
            body: A request or a batch, as JSON in UTF-8.
            secret: What the transport says of the caller; a secret in the params is used when there is none.
            own: Methods that only this caller has.

        Returns:
            The response or batch of responses as JSON; ``None`` when only notifications were sent.
        """
        try:
            request = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            return _encode(_error(None, codes.PARSE_ERROR, f"cannot parse the request: {exc}"))
        if isinstance(request, list):
            responses = await self._batch(request, secret, own)
            return _encode(responses) if responses else None
        response = await self._one(request, secret, own)
        return None if response is None else _encode(response)

    async def _batch(
        self, requests: list[object], secret: str | None, own: Mapping[str, Handler]
    ) -> list[Response] | Response:
        if not requests:
            return _error(None, codes.INVALID_REQUEST, "cannot answer an empty batch")
        if len(requests) > MAX_BATCH:
            return _error(None, codes.INVALID_REQUEST, f"cannot answer a batch of more than {MAX_BATCH} requests")
        slots = asyncio.Semaphore(BATCH_CONCURRENCY)

        async def limited(request: object) -> Response | None:
            async with slots:
                return await self._one(request, secret, own)

        responses = await asyncio.gather(*map(limited, requests))
        return [response for response in responses if response is not None]

    async def _one(self, request: object, secret: str | None, own: Mapping[str, Handler]) -> Response | None:
        if fault := _fault_in(request):
            id = request.get("id") if isinstance(request, dict) else None
            return _error(id if _is_id(id) else None, codes.INVALID_REQUEST, f"cannot read the request: {fault}")
        assert isinstance(request, dict)  # noqa: S101  # _fault_in made sure
        arguments = [_Request(request.get("params"), secret)]
        handlers = {**self._handlers, **own} if request["method"] in own else self._handlers
        _, result = await dispatch_request(
            handlers, NOCONTEXT, Request(request["method"], arguments, request.get("id"))
        )
        if "id" not in request:
            return None
        if isinstance(result, Left):
            return _failure(request["id"], request["method"], result._error)  # noqa: SLF001  # it has no accessor
        return {"jsonrpc": "2.0", "result": result._value.result, "id": request["id"]}  # noqa: SLF001


def _handler(
    supervisor: Supervisor,
    method: Method,
    *,
    shape: Shape | None = None,
    call: Callable[..., Awaitable[Any]] | None = None,
) -> Handler:
    call = call or getattr(supervisor, method.name)
    parameters = params.parameters_of(call)

    async def handle(request: _Request) -> Result:
        try:
            asked = params.read(request.params, parameters)
            secret = request.secret or asked.secret
            authorise(supervisor.secrets, secret, method.scope, method.name)
            arguments = params.bind(asked.arguments, parameters)
            authorise(supervisor.secrets, secret, scope_with(method.scope, arguments.values()), method.name)
            result = await call(**arguments)
            return Success(result if shape is None else await shape(supervisor, result))
        except InvalidInput as exc:
            raise JsonRpcError(codes.INVALID_PARAMS, exc.message, exc.data()) from exc
        except HeroError as exc:
            raise JsonRpcError(codes.code_of(exc), exc.message, exc.data()) from exc
        except Exception as exc:
            error_id = uuid.uuid4().hex
            logger.exception("internal error %s in %s", error_id, method.name)
            data = {"kind": "internal-error", "error_id": error_id}
            message = f"cannot answer {method.name}: internal error {error_id} (see the service's log)"
            raise JsonRpcError(codes.INTERNAL_ERROR, message, data) from exc

    # jsonrpcserver binds the arguments to the signature at every call; a ready-made one makes that fast.
    handle.__signature__ = Signature(  # type: ignore[attr-defined]  # functions take any attribute
        [InspectParameter("request", InspectParameter.POSITIONAL_ONLY)]
    )
    return handle


async def _discover(request: _Request) -> Result:  # it takes no params, and minds none
    document = await asyncio.to_thread(discovery)  # the first time it takes a while
    return Success(msgspec.Raw(document.body))


def _fault_in(request: object) -> str | None:
    if not isinstance(request, dict):
        return "it is not an object"
    if request.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"'
    if not isinstance(request.get("method"), str):
        return "method must be a string"
    if not isinstance(request.get("params", {}), dict | list | None):
        return "params must be an object or an array"
    return None if _is_id(request.get("id")) else "id must be a string, a number or null"


def _is_id(id: object) -> bool:
    return id is None or (isinstance(id, str | int | float) and not isinstance(id, bool))


def _failure(id: object, method: str, error: Any) -> Response:
    if error.code == codes.METHOD_NOT_FOUND:
        return _error(id, error.code, f"cannot find method {method[:80]!r}", {"kind": "method-not-found"})
    return _error(id, error.code, error.message, error.data)


def _error(id: object, code: int, message: str, data: object = None) -> Response:
    error = {"code": code, "message": message, **({} if data is None else {"data": data})}
    return {"jsonrpc": "2.0", "error": error, "id": id}


def _encode(response: object) -> bytes:
    return msgspec.json.encode(response)
