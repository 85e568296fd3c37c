"""TLS for TCP: the files of the settings into what the server needs, or a fault that names the file."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

from hero_supervisor.errors import Fault, InvalidSettings


class TlsFiles(NamedTuple):
    """Files in PEM form."""

    #: Our certificate, with the chain up to its authority.
    cert: str
    key: str
    #: The authorities whose certificates callers need; ``None``: they need none.
    client_ca: str | None = None


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the server's side of TLS, 1.2 or newer.

    Raises:
        InvalidSettings: A file cannot be read, or is not what it should be.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _check_readable("tls_cert", files.cert)
    _check_readable("tls_key", files.key)
    try:
        # An encrypted key would have it ask for its passphrase on the terminal.
        context.load_cert_chain(files.cert, files.key, password=_no_passphrase)
    except (ssl.SSLError, ValueError) as exc:
        raise InvalidSettings([Fault("tls_cert", _explained(exc, files))]) from exc
    if files.client_ca is not None:
        _check_readable("tls_client_ca", files.client_ca)
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as exc:
            text = f"{files.client_ca} has no certificate in PEM form"
            raise InvalidSettings([Fault("tls_client_ca", text)]) from exc
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_readable(setting: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as exc:
        raise InvalidSettings([Fault(setting, f"{path} cannot be read: {exc.strerror}")]) from exc


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted")


def _explained(error: Exception, files: TlsFiles) -> str:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"{files.cert} is not the certificate of the key in tls_key, {files.key}"
    if isinstance(error, ssl.SSLError):
        return f"{files.cert} and {files.key} are not a certificate and its key in PEM form"
    return f"{files.key} needs a passphrase; store the key without one, readable for this service only"
