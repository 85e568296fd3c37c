"""What both kinds of clients share: settings, checked once; whether a connection is still quiet; what failures mean."""

from __future__ import annotations

import select
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from hero_supervisor.errors import Fault, InvalidInput

from .address import DEFAULT_URL, Address, address_in
from .failures import BadAnswer, ConnectionClosed, ServiceUnreachable
from .http1 import MAX_BODY_BYTES, Response, request_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLContext

DEFAULT_TIMEOUT_S: Final = 60.0
#: Connections that a client keeps open for its next calls.
MAX_IDLE: Final = 8


class Target(NamedTuple):
    """Where a service is and how it is spoken to."""

    address: Address
    headers: dict[str, str]
    tls: SSLContext | None
    max_answer_bytes: int

    @classmethod
    def of(
        cls, url: str = DEFAULT_URL, token: str | None = None, *, ca_file: str | None, max_answer_bytes: int | None
    ) -> Target:
        """Check what a caller says of a service.

        Raises:
            InvalidInput: The URL, the token or the file cannot be used.
        """
        address = address_in(url)
        tls = _tls_context(ca_file) if address.is_tls else None
        headers = {"Content-Type": "application/json", **_authorization(token)}
        return cls(address, headers, tls, max_answer_bytes or MAX_BODY_BYTES)

    def request(self, body: bytes) -> bytes:
        """Return what is sent for a body."""
        return request_to(self.address, self.headers, body)

    def response(self) -> Response:
        """Return an answer that is to be read."""
        return Response(self.max_answer_bytes)

    @contextmanager
    def explained(self, timeout_s: float) -> Iterator[None]:
        """Say of whatever goes wrong with a connection which service it was, and what to do.

        Raises:
            ServiceUnreachable: Something went wrong.
        """
        try:
            yield
        except BadAnswer as exc:
            hint = "is this the supervisor's address?"
            raise self._unreachable(str(exc), hint) from exc.__cause__ or exc
        except TimeoutError as exc:
            hint = "allow more with timeout_s, or --timeout SECONDS"
            raise self._unreachable(f"no answer within {timeout_s:g} s", hint) from exc
        except (ConnectionResetError, BrokenPipeError) as exc:
            text = str(exc) if isinstance(exc, ConnectionClosed) else _text_of(exc)
            raise self._unreachable(text, "what was asked for may have been done all the same") from exc
        # UnicodeError: a host name that cannot be encoded, such as one with an empty label.
        except (OSError, UnicodeError) as exc:
            raise self._unreachable(_text_of(exc), _hint_for(exc)) from exc

    def _unreachable(self, reason: str, hint: str) -> ServiceUnreachable:
        url = str(self.address)
        return ServiceUnreachable(f"cannot reach the supervisor at {url}: {reason}", hint=hint, url=url)


def is_quiet(descriptor: int) -> bool:
    """Whether nothing has come over a connection that nothing is due on: no end of it, either."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return not poll.poll(0)


def _tls_context(ca_file: str | None) -> SSLContext:
    import ssl  # takes a while, and most services are on this machine

    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as exc:
        raise InvalidInput([Fault("ca_file", _text_of(exc))], hint="it is a file of certificates in PEM form") from exc


def _authorization(token: str | None) -> dict[str, str]:
    if token and not (token.isascii() and token.isprintable()):
        raise InvalidInput([Fault("token", "must be printable ASCII")])
    return {"Authorization": f"Bearer {token}"} if token else {}


def _hint_for(error: Exception) -> str:
    if type(error).__name__ == "SSLCertVerificationError":  # of a module that is not loaded without need
        return "name the file of its authority: SSL_CERT_FILE=/path/of/ca.pem"
    if isinstance(error, PermissionError):
        return "only root and the group hero-supervisor may use the socket; use the address with a key: --url, --token"
    return "start it with `systemctl start hero-supervisor`"


def _text_of(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:200]
