"""Pure: what a script prints, kept in bounded memory however much it is."""

from __future__ import annotations

from typing import Final

#: Longest piece of a line that is logged at once, in bytes; journald's own limit for lines.
MAX_LINE_BYTES: Final = 48 * 1024


class Lines:
    """Cuts a stream of bytes into lines; a longer line comes in several pieces."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines, without their ends, that ``data`` completes."""
        *complete, rest = (self._rest + data).split(b"\n")
        pieces = [piece for line in complete for piece in self._cut(line.removesuffix(b"\r"))]
        *full, self._rest = self._cut(rest)
        return pieces + full

    def end(self) -> list[bytes]:
        """Return what came after the last line end, if anything."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []

    def _cut(self, line: bytes) -> list[bytes]:
        pieces = []
        start = 0
        while len(line) - start > self._limit:
            end = start + self._limit
            # Not within a character: journald would take the piece for binary data.
            while end > start + self._limit - 4 and line[end] & 0xC0 == 0x80:
                end -= 1
            pieces.append(line[start:end])
            start = end
        return [*pieces, line[start:]]


class Head:
    """The beginning of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._total = 0

    def add(self, data: bytes) -> None:
        """Take more of the stream."""
        self._total += len(data)
        self._kept += data[: self._limit - len(self._kept)]

    def text(self) -> str:
        """Return it as at most ``limit`` bytes of UTF-8; what is missing is told at the end."""
        encoded = self._kept.decode(errors="replace").encode()
        if len(encoded) <= self._limit and self._total == len(self._kept):
            return encoded.decode()
        marker = f"\n… [truncated: {self._total} bytes in all]"
        room = self._limit - len(marker.encode())
        return encoded[:room].decode(errors="ignore") + marker


class Tail:
    """The end of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._total = 0

    def add(self, data: bytes) -> None:
        """Take more of the stream."""
        self._total += len(data)
        self._kept += data
        del self._kept[: -self._limit]

    def text(self) -> str:
        """Return it, from a line's beginning if something is missing before."""
        kept = bytes(self._kept)
        if self._total > len(kept):
            kept = kept.partition(b"\n")[2] or kept
        return kept.decode(errors="replace")
