"""Calls the service's JSON-RPC methods over HTTP or its unix socket, one at a time; ``herosup`` talks through this.

It needs the standard library only, because a command line program is started for every word it completes.
What arrives is not trusted: whoever listens on the address may send too much, too slowly, or something else entirely.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import ssl
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

from .errors import Fault, HeroError, InvalidInput

DEFAULT_URL: Final = "http://127.0.0.1:3030"
#: The system's service; a user's is in the directory of this name in ``$XDG_RUNTIME_DIR``.
LOCAL_SOCKET: Final = Path("/run/hero-supervisor/api.sock")
DEFAULT_TIMEOUT_S: Final = 60.0
#: Most bytes of one answer; logs and results are limited far below this by the service.
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

_PORTS: Final = {"http": 80, "https": 443}
_CHUNK_BYTES: Final = 64 * 1024

#: Kinds of the errors that JSON-RPC itself defines, for answers without ``data``. Source: JSON-RPC 2.0, section 5.1.
_STANDARD_KINDS: Final = {
    -32700: "invalid-json",
    -32600: "invalid-request",
    -32601: "method-not-found",
    -32602: "invalid-params",
    -32603: "internal-error",
}


class RpcError(HeroError):
    """The service answered a call with an error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        facts = data if isinstance(data, dict) else {}
        hint, kind = facts.get("hint"), facts.get("kind")
        super().__init__(message, hint=hint if isinstance(hint, str) else None)
        # Not passed as keyword arguments: the names in it are the service's choice.
        self.facts = {name: value for name, value in facts.items() if name not in {"hint", "kind"}}
        self.code = code
        own_kind = kind if isinstance(kind, str) else _STANDARD_KINDS.get(code, "error")
        self.kind = own_kind  # type: ignore[misc]  # the service names the condition, not this class


class ServiceUnreachable(HeroError):
    """No usable answer came from the service's address."""

    kind = "service-unreachable"


class RpcClient:
    """Calls methods of one service.

    Args:
        url: ``http://host[:port][/path]``, ``https://…``, or ``unix:///path/of/socket``. Ports are 80 and 443 when
            none is given, as everywhere.
        token: Sent as ``Authorization: Bearer``; nothing is sent when it is empty.
        timeout_s: Longest time for connecting, and again for the answer; more than 0.

    Raises:
        InvalidInput: The URL or the token cannot be used.
    """

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S):
        self._address = _address_in(url)
        self._headers = {"Content-Type": "application/json", "Connection": "close", **_authorization(token)}
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)

    def call(self, method: str, params: object = None, *, timeout_s: float | None = None) -> Any:
        """Call a method and return its result.

        Args:
            method: Name of the method.
            params: A mapping (by name) or a list (by position), ready to be encoded as JSON; none are sent for None.
            timeout_s: In place of the client's, for a method that takes long.

        Returns:
            The decoded result.

        Raises:
            RpcError: The service answered with an error.
            ServiceUnreachable: It did not answer, not in time, or not in JSON-RPC.
        """
        request_id = next(self._ids)
        request = {"jsonrpc": "2.0", "id": request_id, "method": method}
        if params is not None:
            request["params"] = params
        status, body = self._post(json.dumps(request).encode(), timeout_s or self._timeout_s)
        answer = self._decoded(status, body)
        if answer.get("error") is not None:
            raise self._error_in(answer, request_id)
        # Compared with its type: in Python, True equals 1.
        if (type(answer.get("id")), answer.get("id")) != (int, request_id) or "result" not in answer:
            self._fail("its answer does not belong to the request")
        return answer["result"]

    def _post(self, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        connection = self._address.connection(timeout_s)
        try:
            _send(connection, self._address.path, body, self._headers)
            with connection.getresponse() as response:
                return response.status, self._body_of(response, timeout_s)
        except TimeoutError as exc:
            self._fail(f"no answer within {timeout_s:g} s", hint="allow more with --timeout SECONDS", cause=exc)
        # UnicodeError: a host name that cannot be encoded, such as one with an empty label.
        except (OSError, HTTPException, UnicodeError) as exc:
            self._fail(_text_of(exc), hint=_hint_for(exc), cause=exc)
        finally:
            connection.close()

    def _body_of(self, response: HTTPResponse, timeout_s: float) -> bytes:
        # The socket's timeout starts anew with every byte; this one does not.
        deadline = time.monotonic() + timeout_s
        body = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                self._fail(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError
        return bytes(body)

    def _decoded(self, status: int, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body, parse_constant=_refuse_constant)
        # RecursionError: brackets nested deeper than Python's stack.
        except (ValueError, RecursionError) as exc:
            self._fail(f"it answered HTTP {status} without JSON", cause=exc)
        if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0":
            self._fail(f"it answered HTTP {status} without JSON-RPC 2.0")
        return answer

    def _error_in(self, answer: dict[str, Any], request_id: int) -> HeroError:
        error, answer_id = answer["error"], answer.get("id")
        # An error that came up before the request was read has no id.
        if "result" in answer or (answer_id is not None and (type(answer_id), answer_id) != (int, request_id)):
            self._fail("its answer does not belong to the request")
        if not isinstance(error, dict):
            self._fail("its error is malformed")
        code, message = error.get("code"), error.get("message")
        if not isinstance(code, int) or not isinstance(message, str):
            self._fail("its error is malformed")
        return RpcError(code, message, error.get("data"))

    def _fail(self, reason: str, *, hint: str | None = None, cause: Exception | None = None) -> NoReturn:
        url = str(self._address)
        hint = hint or "is this the supervisor's address? see --url"
        raise ServiceUnreachable(f"cannot reach the supervisor at {url}: {reason}", hint=hint, url=url) from cause


class _Address(NamedTuple):
    host: str
    port: int
    path: str
    scheme: str = "http"
    #: Path of a unix socket; '' when it is TCP.
    socket_path: str = ""

    def connection(self, timeout_s: float) -> HTTPConnection:
        """Return a connection, not yet made."""
        if self.socket_path:
            return _UnixConnection(self.socket_path, timeout=timeout_s)
        if self.scheme == "https":
            return HTTPSConnection(self.host, self.port, timeout=timeout_s, context=ssl.create_default_context())
        return HTTPConnection(self.host, self.port, timeout=timeout_s)

    def __str__(self) -> str:
        if self.socket_path:
            return f"unix://{self.socket_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def default_url() -> str:
    """Return where a service of this machine can be reached, best with all rights: its unix socket, or else TCP.

    Root looks for the system's service first, others for their own.
    """
    own = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent") / LOCAL_SOCKET.relative_to("/run")
    candidates = [LOCAL_SOCKET, own] if os.geteuid() == 0 else [own, LOCAL_SOCKET]
    return next((f"unix://{path}" for path in candidates if _can_connect(path)), DEFAULT_URL)


def _can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _address_in(url: str) -> _Address:
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _invalid("url", "must be printable ASCII without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise _invalid("url", str(exc)) from exc
    if parts.scheme == "unix":
        return _unix_address(parts)
    if parts.scheme not in _PORTS or not host:
        raise _invalid("url", "must begin with http:// or https:// and a host, or with unix:///")
    # A password would be shown in every message that names the URL; a query has no meaning here.
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise _invalid("url", "must have neither user, query nor fragment")
    return _Address(host, _PORTS[parts.scheme] if port is None else port, parts.path or "/", parts.scheme)


def _unix_address(parts: SplitResult) -> _Address:
    path = unquote(parts.path)
    if parts.netloc or parts.query or parts.fragment or not path.startswith("/"):
        raise _invalid("url", "must be unix:/// and the absolute path of a socket, and nothing more")
    return _Address("localhost", 0, "/", socket_path=path)


def _authorization(token: str | None) -> dict[str, str]:
    if token and not (token.isascii() and token.isprintable()):
        raise _invalid("token", "must be printable ASCII")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _invalid(name: str, message: str) -> InvalidInput:
    return InvalidInput([Fault(name, message)], hint=f"like {DEFAULT_URL}" if name == "url" else None)


def _send(connection: HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> None:
    try:
        connection.request("POST", path, body, headers)
    except BrokenPipeError:
        # A service that refuses the request by its size answers and closes before all of it is sent.
        return


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _hint_for(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "name the file of its authority: SSL_CERT_FILE=/path/of/ca.pem"
    if isinstance(error, PermissionError):
        return "only root and the group hero-supervisor may use the socket; use the address with a key: --url, --token"
    return "start it with `systemctl start hero-supervisor`"


def _text_of(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:200]
