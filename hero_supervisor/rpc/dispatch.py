"""JSON-RPC 2.0: bytes in, bytes out. Source: jsonrpc.org/specification.

We read the envelope and split batches ourselves (``envelope.py``); jsonrpcserver looks the method up and carries its
result. It is entered below its own parser because that answers a batch with one bad element by a single error, and puts
the text of unexpected exceptions on the wire; and below its look at each method's signature, which takes as long as all
the rest of a small call.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec
from jsonrpcserver import JsonRpcError, Result, Success
from jsonrpcserver.async_dispatcher import call
from jsonrpcserver.dispatcher import get_method
from jsonrpcserver.request import Request
from jsonrpcserver.sentinels import NOCONTEXT
from msgspec import UNSET
from oslash.either import Left

from hero_supervisor.errors import HeroError, InvalidInput

from . import codes, params
from .access import Access, Scope, authorise, scope_with
from .aliases import ALIASES
from .audit import Trail
from .caller import Caller, Peer
from .envelope import Envelope, Malformed, Unparsable, requests_in
from .methods import METHODS, Method
from .openrpc import DISCOVER, discovery
from .repeats import Repeats
from .tally import UNKNOWN, Tally

if TYPE_CHECKING:
    from hero_supervisor.supervisor import Supervisor

logger = logging.getLogger(__name__)

#: Most requests in one batch, and how many of them run at once.
MAX_BATCH: Final = 100
BATCH_CONCURRENCY: Final = 25

Response = dict[str, Any]
Handler = Callable[["_Request"], Awaitable[Result]]
_Work = Callable[["_Request"], Awaitable[object]]
_Shape = Callable[[Any], Awaitable[Any]]


class _Request(msgspec.Struct):
    """What a handler gets: the raw params, and the caller as the transport tells it; then what it makes of them."""

    params: object
    caller: Caller
    #: ``None`` as long as the params could not be read.
    arguments: dict[str, Any] | None = None


class Dispatcher:
    """Answers JSON-RPC requests by calling a supervisor."""

    def __init__(self, supervisor: Supervisor, access: Access | None = None) -> None:
        """Args: what is called; and who may call it, which the supervisor's settings say when not given."""
        self._access = access or Access.to(supervisor)
        self._repeats = Repeats()
        self._trail = Trail(supervisor.audit, supervisor.audit_scope)
        methods = {method.name: method for method in METHODS}
        self._handlers = {name: self.handler(method, getattr(supervisor, name)) for name, method in methods.items()}
        for alias in ALIASES:
            shape = partial(alias.shape, supervisor) if alias.shape else None
            self._handlers[alias.name] = self.handler(
                methods[alias.method], getattr(supervisor, alias.method), shape=shape
            )
        self._handlers[DISCOVER] = _discover
        #: What came, in numbers.
        self.tally = Tally()
        self._names = {name: name for name in (*methods, DISCOVER)} | {each.name: each.method for each in ALIASES}

    def handler(self, method: Method, call: Callable[..., Awaitable[Any]], *, shape: _Shape | None = None) -> Handler:
        """Return what answers calls of a method; ``answer`` takes those that a transport has for one connection.

        Args:
            method: Its name, and who may call it.
            call: What it calls.
            shape: What its answer is made into.
        """
        carry_out = _carrying_out(self._access, self._repeats, method, call, shape)
        return _handler(_audited(carry_out, self._trail, method.name) if self._trail.has(method) else carry_out, method)

    async def answer(
        self, body: bytes, *, caller: Caller | None = None, own: Mapping[str, Handler] = MappingProxyType({})
    ) -> bytes | None:
        """Answer the body of a request.

        Args:
            body: A request or a batch, as JSON in UTF-8.
            caller: What the transport says of the caller; a secret in the params counts when that has shown none.
                Nobody knows who it is when not given.
            own: Methods that only this caller has.

        Returns:
            The response or batch of responses as JSON; ``None`` when only notifications were sent.
        """
        caller = caller or self._access.caller(Peer())
        try:
            request = requests_in(body)
        except Unparsable as exc:
            return _encode(_error(None, codes.PARSE_ERROR, f"cannot parse the request: {exc}"))
        if isinstance(request, list):
            responses = await self._batch(request, caller, own)
            return _encode(responses) if responses else None
        response = await self._one(request, caller, own)
        return None if response is None else _encode(response)

    async def _batch(
        self, requests: list[Envelope | Malformed], caller: Caller, own: Mapping[str, Handler]
    ) -> list[Response] | Response:
        if not requests:
            return _error(None, codes.INVALID_REQUEST, "cannot answer an empty batch")
        if len(requests) > MAX_BATCH:
            return _error(None, codes.INVALID_REQUEST, f"cannot answer a batch of more than {MAX_BATCH} requests")
        responses: list[Response | None] = [None] * len(requests)
        left = iter(enumerate(requests))

        async def work() -> None:
            for number, request in left:
                responses[number] = await self._one(request, caller, own)

        await asyncio.gather(*(work() for _ in range(BATCH_CONCURRENCY)))
        return [response for response in responses if response is not None]

    async def _one(self, request: Envelope | Malformed, caller: Caller, own: Mapping[str, Handler]) -> Response | None:
        if isinstance(request, Malformed):
            return _error(request.id, codes.INVALID_REQUEST, f"cannot read the request: {request.fault}")
        handlers = {request.method: own[request.method]} if request.method in own else self._handlers
        asked = Request(request.method, [_Request(request.params, caller)], request.id)
        began = time.perf_counter()
        found = get_method(handlers, request.method)
        result = found if isinstance(found, Left) else await call(asked, NOCONTEXT, found._value)  # noqa: SLF001
        error = result._error if isinstance(result, Left) else None  # noqa: SLF001  # it has no accessor
        self.tally.count(self._names.get(request.method, UNKNOWN), error, time.perf_counter() - began)
        if request.id is UNSET:
            return None
        if error is not None:
            return _failure(request.id, request.method, error)
        return {"jsonrpc": "2.0", "result": result._value.result, "id": request.id}  # noqa: SLF001


def _handler(work: _Work, method: Method) -> Handler:
    async def handle(request: _Request) -> Result:
        try:
            return Success(await work(request))
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

    return handle


def _carrying_out(
    access: Access,
    repeats: Repeats,
    method: Method,
    operation: Callable[..., Awaitable[Any]],
    shape: _Shape | None,
) -> _Work:
    """Return what does the work of a method for those who may have it done."""
    parameters = params.parameters_of(operation)
    takes_key = method.changes_something and not params.has_jobs(parameters)
    has_runners = params.has_runners(parameters)

    async def carry_out(request: _Request) -> object:
        asked = params.read(request.params, parameters, takes_key=takes_key) if request.params else params.NOTHING
        request.arguments = asked.arguments
        if asked.secret is not None:
            request.caller = access.with_secret(request.caller, asked.secret)
        caller = request.caller
        authorise(caller, method.scope, method.name)
        arguments = request.arguments = params.bind(asked.arguments, parameters)
        if has_runners:
            authorise(caller, scope_with(method.scope, arguments.values()), method.name)
        if asked.idempotency_key is None:
            result = await operation(**arguments)
        else:
            content = (method.name, asked.arguments)
            result = await repeats.once(caller.who, asked.idempotency_key, content, partial(operation, **arguments))
        if method.scope is Scope.NONE:
            access.look_at(result, caller.peer)
        return result if shape is None else await shape(result)

    return carry_out


def _audited(carry_out: _Work, trail: Trail, method: str) -> _Work:
    """Return work that is written down when it has ended, if it could be read what was asked."""

    async def note(request: _Request, began_s: float, error: Exception | None = None) -> None:
        if request.arguments is not None:
            took_s = time.monotonic() - began_s
            await trail.done(method, request.caller, request.arguments, took_s=took_s, error=error)

    async def work(request: _Request) -> object:
        began_s = time.monotonic()
        try:
            result = await carry_out(request)
        except Exception as exc:
            await note(request, began_s, exc)
            raise
        await note(request, began_s)
        return result

    return work


async def _discover(request: _Request) -> Result:  # it takes no params, and minds none
    document = await asyncio.to_thread(discovery)  # the first time it takes a while
    return Success(msgspec.Raw(document.body))


def _failure(id: object, method: str, error: Any) -> Response:
    if error.code == codes.METHOD_NOT_FOUND:
        return _error(id, error.code, f"cannot find method {method[:80]!r}", {"kind": "method-not-found"})
    return _error(id, error.code, error.message, error.data)


def _error(id: object, code: int, message: str, data: object = None) -> Response:
    error = {"code": code, "message": message, **({} if data is None else {"data": data})}
    return {"jsonrpc": "2.0", "error": error, "id": id}


def _encode(response: object) -> bytes:
    return msgspec.json.encode(response)
