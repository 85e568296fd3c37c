"""Journal export format into entries.

**Not JSON**: the fields of this format carry their length, so a field of any size can be skipped without being held in
memory, bytes that are no UTF-8 come as they are, and the cursor stands first. As JSON such a field is a number per
byte, or null, and a line has to be complete before anything in it can be used. It is also cheaper to write and read.
Source: https://systemd.io/JOURNAL_EXPORT_FORMATS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Bytes of a field that are kept.
MAX_MESSAGE_BYTES: Final = 64 * 1024


class ExportParser:
    """Turns journal export format, fed in chunks of any size, into entries, holding only what is kept of a field.

    An entry is a mapping from field names to values; of a field that occurs more than once the first value counts.
    A value longer than the limit is cut, with a marker at its end.
    """

    def __init__(self, max_value_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_value_bytes = max_value_bytes
        self._buffer = bytearray()
        self._entry: dict[str, bytes] = {}
        # The field whose value is being read, how much of it was cut off, and for one with a length what is left.
        self._name = ""
        self._value = bytearray()
        self._cut = 0
        self._left: int | None = None

    def feed(self, chunk: bytes) -> Iterator[Mapping[str, bytes]]:
        """Take the next bytes and yield the entries that are now complete."""
        self._buffer += chunk
        while True:
            entry = self._entry
            if not self._step():
                return
            if entry and entry is not self._entry:
                yield entry

    def _step(self) -> bool:
        """Use up some of the buffer; return whether there may be more to do."""
        if self._left is not None:
            return self._take_sized()
        if self._name:
            return self._take_line()
        return self._start_field()

    def _start_field(self) -> bool:
        """Read a name: with ``=`` the value follows up to the line's end, else its length and then the value."""
        end = self._buffer.find(b"\n")
        equals = self._buffer.find(b"=", 0, None if end < 0 else end)
        if 0 < equals < end <= equals + self._max_value_bytes:
            # The usual case, a short value that is here already, in one go.
            name, _, value = self._pop(end, skip=1).partition(b"=")
            self._entry.setdefault(name.decode(errors="replace"), value)
            return True
        if equals > 0:
            self._name = self._pop(equals, skip=1).decode(errors="replace")
            return True
        if end == 0:
            del self._buffer[:1]
            return self._end_entry()
        if end < 0 or len(self._buffer) < end + 9:
            return False
        self._name = self._pop(end, skip=1).decode(errors="replace")
        self._left = int.from_bytes(self._pop(8), "little")
        return True

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\n")
        if end < 0:
            self._keep(self._pop(len(self._buffer)))
            return False
        self._keep(self._pop(end, skip=1))
        return self._end_field()

    def _take_sized(self) -> bool:
        taken = self._pop(min(self._left or 0, len(self._buffer)))
        self._left = (self._left or 0) - len(taken)
        self._keep(taken)
        if self._left or not self._buffer:
            return False
        del self._buffer[:1]  # the newline after the value
        self._left = None
        return self._end_field()

    def _keep(self, data: bytes) -> None:
        room = self._max_value_bytes - len(self._value)
        self._value += data[:room]
        self._cut += max(0, len(data) - room)

    def _end_field(self) -> bool:
        marker = f" […, {self._cut} more bytes]".encode() if self._cut else b""
        self._entry.setdefault(self._name, bytes(self._value) + marker)
        self._name, self._cut = "", 0
        self._value.clear()
        return True

    def _end_entry(self) -> bool:
        self._entry = {}
        return True

    def _pop(self, size: int, *, skip: int = 0) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[: size + skip]
        return data
