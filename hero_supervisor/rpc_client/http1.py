"""HTTP/1.1 as far as a client of JSON-RPC needs it: a request as bytes, an answer from bytes. No connection is here.

Not ``http.client``, which only blocks, and loads the e-mail package: a fifth of what ``herosup`` loads. What comes is
not trusted: heads and bodies have a longest length, and whatever is not clear is no answer. An answer may have a
length, come in chunks, or end with the connection. Source: RFC 9112.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .failures import BadAnswer, ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .address import Address

#: Most bytes of one answer; logs and results are limited far below this by the service.
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
#: Most bytes before a body, and of what stands between its chunks.
MAX_HEAD_BYTES: Final = 64 * 1024

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: .*)?")
_NOT_HTTP: Final = "it does not speak HTTP/1.1"


def request_to(address: Address, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a POST request."""
    fields = {"Host": address.authority, "Content-Length": str(len(body)), **headers}
    lines = [f"POST {address.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


class Response:
    """An answer, fed with bytes as they come."""

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.status = 0
        self.body = bytearray()
        self.is_complete = False
        self._max_body_bytes = max_body_bytes
        self._keeps_alive = False
        self._buffer = bytearray()
        self._left = 0
        # Reads a part from the buffer; False when that needs more bytes.
        self._read: Callable[[], bool] = self._read_head

    @property
    def is_reusable(self) -> bool:
        """Whether the connection may carry another request: the answer is complete, and nothing came behind it."""
        return self.is_complete and self._keeps_alive and not self._buffer

    def feed(self, data: bytes) -> None:
        """Take bytes.

        Raises:
            BadAnswer: They are no HTTP, or too many.
        """
        self._buffer += data
        while not self.is_complete and self._read():
            pass

    def end(self) -> None:
        """Take that no more bytes come.

        Raises:
            ConnectionClosed: The answer is not complete.
        """
        if self._read != self._read_to_the_end:
            where = "in the middle of an answer" if self.status else "without an answer"
            raise ConnectionClosed(f"it closed the connection {where}")
        self.is_complete = True

    # -- parts, in the order in which they come --------------------------------------------------------------------

    def _read_head(self) -> bool:
        if not b"HTTP/1.".startswith(bytes(self._buffer[:7])):
            raise BadAnswer(_NOT_HTTP)
        head = self._until(b"\r\n\r\n")
        if head is None:
            return False
        status_line, *lines = head.split(b"\r\n")
        found = _STATUS_LINE.fullmatch(status_line)
        if not found:
            raise BadAnswer(_NOT_HTTP)
        status = int(found[2])
        if status >= 200:  # what is below is followed by another head
            self.status = status
            self._read = self._reader_for(_fields_in(lines), is_old=found[1] == b"0")
        return True

    def _reader_for(self, fields: Mapping[bytes, bytes], *, is_old: bool) -> Callable[[], bool]:
        connection = fields.get(b"connection", b"").lower()
        self._keeps_alive = b"keep-alive" in connection if is_old else b"close" not in connection
        if self.status in {204, 304}:
            return self._read_sized
        if (encoding := fields.get(b"transfer-encoding")) is not None:
            if encoding.lower() != b"chunked" or b"content-length" in fields:
                raise BadAnswer("its answer has an unknown encoding")
            return self._read_chunk_head
        if (length := fields.get(b"content-length")) is not None:
            self._left = _number_in(length, base=10)
            return self._read_sized
        self._keeps_alive = False
        return self._read_to_the_end

    def _read_sized(self) -> bool:
        self._check(self._left)
        self._take()
        self.is_complete = not self._left
        return False

    def _read_to_the_end(self) -> bool:
        self._check(len(self._buffer))
        self._left = len(self._buffer)
        self._take()
        return False

    def _read_chunk_head(self) -> bool:
        line = self._until(b"\r\n")
        if line is None:
            return False
        self._left = _number_in(line.partition(b";")[0].strip(), base=16)
        self._check(self._left)
        self._read = self._read_chunk if self._left else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        self._take()
        if self._left or len(self._buffer) < 2:
            return False
        if self._until(b"\r\n") != b"":
            raise BadAnswer("its answer has chunks of another length than it says")
        self._read = self._read_chunk_head
        return True

    def _read_trailer(self) -> bool:
        line = self._until(b"\r\n")
        self.is_complete = line == b""
        return bool(line)

    # -- the buffer --------------------------------------------------------------------------------------------------

    def _until(self, mark: bytes) -> bytes | None:
        """Take what stands before a mark, and the mark; None when it has not come yet."""
        at = self._buffer.find(mark, 0, MAX_HEAD_BYTES)
        if at >= 0:
            before = bytes(self._buffer[:at])
            del self._buffer[: at + len(mark)]
            return before
        if len(self._buffer) >= MAX_HEAD_BYTES:
            raise BadAnswer(f"its answer has more than {MAX_HEAD_BYTES} bytes beside its body")
        return None

    def _take(self) -> None:
        part = self._buffer[: self._left]
        del self._buffer[: len(part)]
        self.body += part
        self._left -= len(part)

    def _check(self, more_bytes: int) -> None:
        if len(self.body) + more_bytes > self._max_body_bytes:
            raise BadAnswer(f"its answer is longer than {self._max_body_bytes} bytes")


def _fields_in(lines: list[bytes]) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or name != name.strip() or not name:
            raise BadAnswer(_NOT_HTTP)
        key, value = name.lower(), value.strip()
        if fields.get(key, value) != value and key in {b"content-length", b"transfer-encoding"}:
            raise BadAnswer("its answer has two lengths")
        fields[key] = value
    return fields


def _number_in(text: bytes, *, base: int) -> int:
    if not re.fullmatch(rb"[0-9]{1,15}" if base == 10 else rb"[0-9A-Fa-f]{1,12}", text):
        raise BadAnswer("its answer has no length that can be read")
    return int(text, base)
