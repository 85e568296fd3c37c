"""Certificates for tests, made with openssl."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from tests.conftest import missing

if TYPE_CHECKING:
    from pathlib import Path


class Certificate(NamedTuple):
    """A certificate that is its own authority, and its key."""

    cert: str
    key: str


def self_signed(directory: Path, name: str = "localhost") -> Certificate:
    """Make a certificate for a name of this machine."""
    if not shutil.which("openssl"):
        missing("openssl is not installed")
    made = Certificate(str(directory / f"{name}.pem"), str(directory / f"{name}.key"))
    names = f"subjectAltName=DNS:{name},IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    of_whom = ["-subj", f"/CN={name}", "-addext", names, "-days", "1", "-out", made.cert, "-keyout", made.key]
    subprocess.run([*command, *of_whom], check=True, timeout=20, capture_output=True)
    return made
